#include <cstring>

#include "core/text.h"
#include "gradgraph/data.h"
#include "gradgraph/ops.h"
#include "io/data/array_names.h"

namespace gradgraph::data {
namespace {

/// One behind the other, along the first axis.
Tensor joined(const std::vector<Tensor>& parts, const std::string& what, SourceLocation where) {
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

Output GraphBatch::operator[](ArrayName name) const {
  std::vector<std::string> names;
  for (const auto& array : arrays) names.push_back(array.first);
  return arrays[find_array(names, name, "the batch")].second;
}

GraphBatch graph_batch(Graph& graph, const std::vector<Dataset>& datasets, SourceLocation where) {
  if (datasets.empty()) throw BuildError("graph_batch: there is no data set", where);
  const std::vector<std::string>& names = datasets.front().names();
  for (const Dataset& dataset : datasets)
    if (dataset.names() != names || names.empty())
      throw BuildError(fmt::format("graph_batch: a data set of the arrays '{}', and one of '{}'",
                                   fmt::join(names, ", "), fmt::join(dataset.names(), ", ")),
                       where);
  const auto inside = scope(graph, "data", where);
  GraphBatch batch;
  batch.samples = placeholder(graph, int64, {any}, "samples", where);
  for (const std::string& name : names) {
    std::vector<Tensor> parts;
    for (const Dataset& dataset : datasets) parts.push_back(dataset[{name, where}]);
    Output array = gather(constant(graph, joined(parts, name, where), "all_" + name, where),
                          batch.samples, 0, where);
    // As Batches does.
    if (name == "images" && array.dtype() == uint8)
      array = div(cast(array, float32, where), 255.0F, where);
    batch.arrays.emplace_back(name, named(array, name));
  }
  return batch;
}

}  // namespace gradgraph::data
