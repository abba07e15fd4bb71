#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "noise.h"

/// Same seed, same bits, with any number of threads: after many steps, in a session of its own
/// each time. bench/determinism.cpp does the same at full length, test_thread_counts.cpp for
/// every op.
namespace gradgraph {
namespace {

/// All that kernels do in more than one way: large products, convolutions, pools, reductions,
/// dropout, clipping and fused updates.
struct Network {
  Graph graph;
  Output images = placeholder(graph, float32, {any, 20, 20, 3}, "images");
  Output labels = placeholder(graph, int64, {any}, "labels");
  Output training = placeholder(graph, boolean, {}, "training");
  Output loss, train;
  std::vector<Output> variables;

  Network() {
    Output x = nn::conv2d(images, {.filters = 24, .kernel = 5, .activation = relu}, "conv");
    x = nn::max_pool2d(x);
    x = nn::dense(flatten(x), {.units = 128, .activation = relu}, "hidden");
    x = nn::dropout(x, 0.2, training);
    loss = mean(sparse_softmax_cross_entropy(nn::dense(x, {.units = 10}, "logits"), labels));
    train = Adam{.clip = {.by_global_norm = 1}}.minimize(loss);
    for (Node& node : graph.nodes())
      if (node.op().name == "variable") variables.push_back(node.output());
  }

  /// The bytes of all variables after `steps` steps.
  std::vector<char> trained(int steps, int threads) {
    Session session(graph, {.seed = 7, .threads = threads});
    Callable step = session.prepare({images, labels, training}, {loss, train});
    Tensor classes(int64, {64});
    for (std::int64_t i = 0; i < 64; ++i) classes.data<std::int64_t>()[i] = i % 10;
    for (int i = 0; i < steps; ++i)
      step(tests::noise({64, 20, 20, 3}, static_cast<unsigned>(i + 1), float32), classes,
           Tensor(true));
    std::vector<char> bytes;
    for (const Output& variable : variables) {
      const Tensor value = session.value(variable);
      const char* begin = static_cast<const char*>(value.raw());
      bytes.insert(bytes.end(), begin, begin + value.bytes());
    }
    return bytes;
  }
};

}  // namespace

TEST_CASE("training repeats to the bit at every thread count") {
  Network network;
  const std::vector<char> first = network.trained(6, 1);
  CHECK(first != network.trained(5, 1));  // the comparison can fail
  for (const int threads : {1, 2, 3}) {
    CAPTURE(threads);
    for (int repeat = 0; repeat < 3; ++repeat) CHECK(first == network.trained(6, threads));
  }
}

}  // namespace gradgraph
