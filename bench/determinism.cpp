/// Trains a small network on MNIST several times from one seed and compares the weights' bits:
/// `determinism mlp|cnn [runs] [steps] [threads]`. Exits with 1 where two runs differ.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "gradgraph/gradgraph.h"
#include "weights_hash.h"

namespace gg = gradgraph;

namespace {

/// The hash of the weights after `steps` steps.
std::uint64_t trained(bool convolutional, int steps, int threads, const gg::data::Mnist& mnist) {
  gg::Graph graph;
  const auto images = gg::placeholder(graph, gg::float32, {gg::any, 28, 28, 1}, "images");
  const auto labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
  gg::Output x = images;
  if (convolutional) {
    x = gg::nn::conv2d(x, {.filters = 24, .kernel = 5, .activation = gg::relu});
    x = gg::nn::max_pool2d(x);
    x = gg::nn::conv2d(x, {.filters = 48, .kernel = 5, .activation = gg::relu});
    x = gg::nn::max_pool2d(x);
  }
  x = gg::nn::dense(gg::flatten(x), {.units = 512, .activation = gg::relu});
  x = gg::nn::dense(x, {.units = 10});
  const auto loss = gg::mean(gg::sparse_softmax_cross_entropy(x, labels));
  const auto train = gg::Adam{.learning_rate = 1e-3}.minimize(loss);
  gg::Session session(graph, {.seed = 1, .threads = threads});
  auto step = session.prepare({images, labels}, {train});

  gg::data::Batches batches(mnist.train, 128, {.seed = 1});
  std::int64_t epoch = 0;
  for (int i = 0; i < steps; ++i) {
    const gg::data::Batch* batch = batches.next();
    if (!batch) {
      batches.restart(++epoch);
      batch = batches.next();
    }
    step((*batch)["images"], (*batch)["labels"]);
  }
  return weights_hash(graph, session);
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, int otherwise) {
    return argc > i ? std::atoi(argv[i]) : otherwise;
  };
  const bool convolutional = argc > 1 && std::string_view(argv[1]) == "cnn";
  const int runs = number(2, 20), steps = number(3, 1000), threads = number(4, 0);
  const gg::data::Mnist mnist = gg::data::find_mnist();
  std::uint64_t first = 0;
  int different = 0;
  for (int run = 0; run < runs; ++run) {
    const std::uint64_t hash = trained(convolutional, steps, threads, mnist);
    if (run == 0) first = hash;
    different += hash != first;
  }
  std::printf("%d runs of %d steps: weights %016jx, %d differ\n", runs, steps,
              static_cast<std::uintmax_t>(first), different);
  return different == 0 ? 0 : 1;
}
