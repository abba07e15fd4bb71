#include <cstring>

#include "core/text.h"
#include "gradgraph/data.h"
#include "gradgraph/ops.h"
#include "io/data/shuffle.h"

namespace gradgraph::data {
namespace {

/// One behind the other, along the first axis.
Tensor joined(const std::vector<Tensor>& parts, const char* what, SourceLocation where) {
  Shape shape = parts.front().shape();
  for (const Tensor& part : parts) {
    Shape others = part.shape();
    if (&part != &parts.front()) {
      if (others.rank() > 0) others.set(0, parts.front().shape()[0]);
      if (part.dtype() != parts.front().dtype() || others != parts.front().shape())
        throw BuildError(
            fmt::format("graph_batch: {} of {}{} and of {}{}", what, parts.front().dtype(),
                        parts.front().shape(), part.dtype(), part.shape()),
            where);
      shape.set(0, shape[0] + part.shape()[0]);
    }
  }
  if (parts.size() == 1) return parts.front();
  Tensor all(parts.front().dtype(), shape, where);
  auto* to = static_cast<std::byte*>(all.raw());
  for (const Tensor& part : parts) {
    if (part.bytes() > 0) std::memcpy(to, part.raw(), part.bytes());
    to += part.bytes();
  }
  return all;
}

}  // namespace

Tensor shuffled_samples(std::int64_t size, std::uint64_t seed, std::int64_t epoch,
                        SourceLocation where) {
  if (size < 0) throw BuildError(fmt::format("there are no {} samples", size), where);
  Tensor samples(int64, Shape{size}, where);
  shuffle(samples.span<std::int64_t>(), seed, epoch);
  return samples;
}

GraphBatch graph_batch(Graph& graph, const std::vector<Dataset>& datasets, SourceLocation where) {
  if (datasets.empty()) throw BuildError("graph_batch: there is no data set", where);
  std::vector<Tensor> images, labels;
  for (const Dataset& dataset : datasets) {
    if (!dataset.images || !dataset.labels || dataset.images.shape().rank() == 0 ||
        dataset.labels.shape().rank() == 0 ||
        dataset.images.shape()[0] != dataset.labels.shape()[0])
      throw BuildError("graph_batch: images and labels need a first axis, of the same samples",
                       where);
    images.push_back(dataset.images);
    labels.push_back(dataset.labels);
  }
  const auto inside = scope(graph, "data", where);
  GraphBatch batch;
  batch.samples = placeholder(graph, int64, {any}, "samples", where);
  batch.images = gather(constant(graph, joined(images, "images", where), "all_images", where),
                        batch.samples, 0, where);
  if (batch.images.dtype() == uint8)
    batch.images = div(cast(batch.images, float32, where), 255.0F, where);
  batch.images = named(batch.images, "images");
  batch.labels =
      named(gather(constant(graph, joined(labels, "labels", where), "all_labels", where),
                   batch.samples, 0, where),
            "labels");
  return batch;
}

}  // namespace gradgraph::data
