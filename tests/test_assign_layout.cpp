#include <string>

#include "kernel_helpers.h"
#include "pass_drawing.h"

using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

SessionOptions without_fusions(bool with_layout) {
  SessionOptions options{.disabled_passes = all_passes_but({"assign_layout"})};
  if (!with_layout) options.disabled_passes.push_back("assign_layout");
  return options;
}

/// Two layers of NCHW images, and what is fetched of them.
struct Network {
  Graph graph;
  Output image = input("image", {3, 4, 9, 12}), filter = input("filter", {3, 3, 4, 8});
  Output bias = input("bias", {8}), second = input("second", {2, 2, 8, 5});
  Output relu1, pooled, result;

  Output input(const char* name, const Shape& shape) {
    return variable(constant(graph, noise(shape, 1).cast(float32)), name);
  }
  Network() {
    const Layout nchw = Layout::nchw;
    relu1 = relu(
        bias_add(conv2d(image, filter, {.padding = Padding::same, .layout = nchw}), bias, nchw));
    pooled = max_pool2d(relu1, {.window = {3, 2}, .strides = {3, 2}, .layout = nchw});
    const Output y = conv2d(pooled, second, {.strides = {1, 2}, .layout = nchw});
    result = avg_pool2d(y, {.window = 2, .strides = 1, .layout = nchw});
  }
  std::vector<Output> gradients_too() {
    std::vector<Output> fetches = gradients({sum(square(result))}, {image, filter, bias, second});
    fetches.push_back(result);
    return fetches;
  }
};

std::size_t nodes_run(Graph& graph, const std::vector<Output>& fetches, bool with_layout) {
  Session session(graph, without_fusions(with_layout));
  session.run({}, fetches);
  return session.last_run().nodes_run;
}

}  // namespace

//  image ── conv2d ── bias_add ── relu ── max_pool2d ── conv2d ── avg_pool2d ── (fetched)
//  =>  the same in NHWC between two transposes
TEST_CASE("assign_layout transposes at the borders only") {
  Network network;
  Session session(network.graph, without_fusions(true));
  CHECK(session.explain_passes({}, {network.result}) ==
        "assign_layout: 'conv2d' in NHWC\nassign_layout: 'bias_add' in NHWC\n"
        "assign_layout: 'relu' in NHWC\nassign_layout: 'max_pool2d' in NHWC\n"
        "assign_layout: 'conv2d_1' in NHWC\nassign_layout: 'avg_pool2d' in NHWC");
  CHECK(nodes_run(network.graph, {network.result}, false) + 2 ==
        nodes_run(network.graph, {network.result}, true));
  // One more for a value in between that is fetched, however many read it.
  const std::vector<Output> more = {network.result, network.relu1, exp(network.relu1)};
  CHECK(nodes_run(network.graph, more, false) + 4 == nodes_run(network.graph, more, true));
}

TEST_CASE("assign_layout: the same results and gradients as without it") {
  Network network;
  const auto fetches = network.gradients_too();
  Session plain(network.graph, without_fusions(false));
  const auto expected = plain.run({}, fetches);
  for (const SessionOptions& options : {SessionOptions{}, without_fusions(true)}) {
    const auto results = Session(network.graph, options).run({}, fetches);
    for (std::size_t i = 0; i < results.size(); ++i) CHECK(close(results[i], expected[i], 1e-3));
  }
}

TEST_CASE("assign_layout makes NCHW networks fuse as NHWC ones do") {
  Network network;
  Session session(network.graph);
  CHECK(session.explain_passes({}, network.gradients_too()).find("fuse_pooling: 'max_pool2d'") !=
        std::string::npos);
}

TEST_CASE("assign_layout leaves alone what has no kernel for NHWC that is faster") {
  Graph graph;
  const Output x = variable(constant(graph, noise({2, 4, 6, 6}, 1).cast(float32)), "x");
  const Output w = variable(constant(graph, noise({3, 3, 2, 4}, 2).cast(float32)), "w");
  const Output grouped = conv2d(x, w, {.groups = 2, .layout = Layout::nchw});
  const Output biased =
      bias_add(relu(x), constant(graph, Tensor{1.f, 2.f, 3.f, 4.f}), Layout::nchw);
  Session session(graph, without_fusions(true));
  CHECK(session.explain_passes({}, {grouped, biased}) == "");
}
