#include "device/cpu/convolution/line_loops.h"
#include "kernel_helpers.h"
#include "ops/nn/pooled_convolution.h"

/// Convolutions that are pooled right away: the pass that makes them, and their kernels.
using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

Attributes pooled_attributes(const Conv2dOptions& options, Pair window) {
  return {{"strides", to_attribute(options.strides)},
          {"padding", to_attribute(options.padding)},
          {"border", to_attribute(options.border)},
          {"dilations", to_attribute(options.dilations)},
          {"groups", options.groups},
          {"layout", to_attribute(options.layout)},
          {"window", to_attribute(window)}};
}

/// The fast kernel against the reference, with any number of threads.
std::vector<Tensor> check_kernels(const Node& node) {
  const auto expected = compute_all(node, 1, true), results = compute_all(node, 1, false);
  for (std::size_t i = 0; i < results.size(); ++i)
    CHECK_MESSAGE(close(results[i], expected[i], 2e-5), node.op().name << " output " << i);
  for (const int threads : {1, 2, 3, 5, 16}) {
    const auto again = compute_all(node, threads, false);
    for (std::size_t i = 0; i < results.size(); ++i)
      CHECK_MESSAGE(same_bits(results[i], again[i]),
                    node.op().name << " output " << i << ", " << threads << " threads");
  }
  return expected;
}

struct PooledCase {
  Shape image, filter;
  Conv2dOptions options = {};
  Pair window = 2;
};

/// A network of one such layer, and the loss's gradients by all that is in it.
struct Network {
  Graph graph;
  Output image, filter, bias, pooled;
  std::vector<Output> fetches;

  Network(const PooledCase& c, bool input_grad) {
    image = variable(constant(graph, noise(c.image, 1).cast(float32)), "image");
    filter = variable(constant(graph, noise(c.filter, 2).cast(float32)), "filter");
    bias = variable(constant(graph, noise({c.filter[3]}, 3).cast(float32)), "bias");
    pooled = max_pool2d(relu(bias_add(conv2d(image, filter, c.options), bias)),
                        {.window = c.window, .strides = c.window});
    std::vector<Output> xs = {filter, bias};
    if (input_grad) xs.push_back(image);
    fetches = gradients({sum(square(pooled))}, xs);
    fetches.push_back(pooled);
  }
};

const PooledCase kCases[] = {
    {{3, 28, 28, 1}, {5, 5, 1, 24}},
    {{5, 12, 12, 24}, {5, 5, 24, 48}},
    {{2, 9, 11, 3}, {3, 3, 3, 5}, {.padding = Padding::same}, {3, 2}},
    {{1, 20, 17, 2}, {2, 4, 2, 20}, {.strides = {2, 1}}},
    {{4, 7, 7, 16}, {3, 3, 16, 17}, {.padding = Padding::explicit_, .border = {2, 1, 0, 2}}, 3},
    {{2, 8, 8, 40}, {3, 3, 40, 1}, {.padding = Padding::same}},
    {{1, 70, 66, 4}, {3, 3, 4, 33}, {.padding = Padding::same}},
    // A filter in blocks; images one pixel wide, and high.
    {{2, 6, 4, 90}, {3, 3, 90, 330}, {.padding = Padding::same}},
    {{3, 40, 1, 8}, {5, 1, 8, 12}, {.padding = Padding::same}, {2, 1}},
    {{3, 1, 40, 8}, {1, 5, 8, 12}, {.padding = Padding::same}, {1, 2}},
};

}  // namespace

TEST_CASE("fuse_pooling: the same results and gradients as without it") {
  for (const PooledCase& c : kCases)
    for (const bool input_grad : {false, true}) {
      Network network(c, input_grad);
      Session fused(network.graph, {.threads = 2});
      Session plain(network.graph, {.threads = 2, .disabled_passes = {"fuse_pooling"}});
      CHECK(fused.explain_passes({}, network.fetches).find("fuse_pooling") != std::string::npos);
      const auto a = fused.run({}, network.fetches), b = plain.run({}, network.fetches);
      for (std::size_t i = 0; i < a.size(); ++i) CHECK(close(a[i], b[i], 1e-3));
    }
}

TEST_CASE("fuse_pooling: kernels against the reference") {
  for (const PooledCase& c : kCases) {
    Graph graph;
    const Output image = constant(graph, noise(c.image, 1).cast(float32));
    const Output filter = constant(graph, noise(c.filter, 2).cast(float32));
    const Output bias = constant(graph, noise({c.filter[3]}, 3).cast(float32));
    const Attributes attributes = pooled_attributes(c.options, c.window);
    const auto make = [&](const char* op, std::vector<Output> inputs) -> const Node& {
      return graph.add(op_registry().at(op), inputs, attributes, {});
    };
    const auto forward = check_kernels(make("conv2d_relu_pool", {image, filter, bias}));
    const Output grad = constant(graph, noise(forward[0].shape(), 4).cast(float32));
    const Output choice = constant(graph, forward[1]);
    const auto shape = [&](const Shape& s) {
      return constant(graph,
                      Tensor::from(std::vector<std::int64_t>(s.begin(), s.end()), {s.rank()}));
    };
    check_kernels(make("conv2d_relu_pool_input_grad", {shape(c.image), filter, grad, choice}));
    check_kernels(make("conv2d_relu_pool_filter_grad", {image, shape(c.filter), grad, choice}));
  }
}

TEST_CASE("fuse_pooling: ties, relu's zeros, NaN and infinities choose as max_pool2d does") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const Tensor image = Tensor::from(
      std::vector<float>{3, 3, -1, -2, 1, nan, nan, 2, inf, 1, -inf, -inf, 0, 0, -0.f, -5},
      {1, 2, 8, 1});
  Graph graph;
  const Output x = constant(graph, image),
               filter = constant(graph, Tensor::full(float32, {1, 1, 1, 20}, 1));
  const Output bias = constant(graph, Tensor::zeros(float32, {20}));
  const Node& node = graph.add(op_registry().at("conv2d_relu_pool"), {x, filter, bias},
                               pooled_attributes({}, {1, 2}), {});
  for (const bool reference : {true, false}) {
    const auto results = compute_all(node, 1, reference);
    const float values[] = {3, 0, nan, nan, inf, 0, 0, 0};
    const std::uint8_t choices[] = {0, kNoChoice, 1, 0, 0, kNoChoice, kNoChoice, kNoChoice};
    for (std::size_t i = 0; i < 8; ++i)
      for (std::size_t f = 0; f < 20; ++f) {
        const float value = results[0].data<float>()[i * 20 + f];
        CHECK((std::isnan(values[i]) ? std::isnan(value) : value == values[i]));
        CHECK(results[1].data<std::uint8_t>()[i * 20 + f] == choices[i]);
      }
  }
}

TEST_CASE("fuse_pooling leaves alone what it cannot stand for") {
  const auto rewrites = [](const std::function<std::vector<Output>(Graph&)>& build) {
    Graph graph;
    const auto fetches = build(graph);
    Session session(graph);
    const std::string lines = session.explain_passes({}, fetches);
    return lines.find("fuse_pooling") != std::string::npos;
  };
  const auto layer = [](Graph& graph, Conv2dOptions conv, Pool2dOptions pool,
                        DType dtype = float32) {
    const Output x = variable(constant(graph, noise({2, 8, 8, 8}, 1).cast(dtype)), "x");
    const Output w =
        variable(constant(graph, noise({3, 3, 8 / conv.groups, 8}, 2).cast(dtype)), "w");
    const Output b = variable(constant(graph, noise({8}, 3).cast(dtype)), "b");
    const Output y = relu(bias_add(conv2d(x, w, conv), b, conv.layout));
    return std::vector<Output>{max_pool2d(y, pool), y, w};
  };
  const Pool2dOptions pairs = {.window = 2, .strides = 2};
  const auto pooled_alone = [&](const Conv2dOptions& conv, const Pool2dOptions& pool,
                                DType dtype = float32) {
    return rewrites(
        [&](Graph& graph) { return std::vector<Output>{layer(graph, conv, pool, dtype)[0]}; });
  };
  CHECK(pooled_alone({}, pairs));
  CHECK(pooled_alone({.padding = Padding::same}, pairs));
  CHECK_FALSE(pooled_alone({}, pairs, float64));
  CHECK_FALSE(pooled_alone({.dilations = 2}, pairs));
  CHECK_FALSE(pooled_alone({.groups = 2}, pairs));
  CHECK_FALSE(pooled_alone({}, {.window = 3, .strides = 2}));
  CHECK_FALSE(pooled_alone({}, {.window = 4, .strides = 4, .padding = Padding::same}));
  // Somebody else reads what would not be there any more.
  CHECK_FALSE(rewrites([&](Graph& graph) {
    const auto l = layer(graph, {}, pairs);
    return std::vector<Output>{l[0], l[1]};
  }));
  CHECK_FALSE(rewrites([&](Graph& graph) {
    const auto l = layer(graph, {}, pairs);
    return gradients({sum(l[0]) + sum(square(l[1]))}, {l[2]});
  }));
}

// The pool's gradient looks at other windows than the pool.
TEST_CASE("fuse_pooling compares all attributes of the pool's gradient") {
  Graph graph;
  Tensor pixels(float32, {1, 4, 4, 1});
  for (std::int64_t i = 0; i < 16; ++i) pixels.data<float>()[i] = static_cast<float>(i);
  const Output x = placeholder(graph, float32, {1, 4, 4, 1});
  const Output w = constant(graph, Tensor::full(float32, {1, 1, 1, 1}, 1));
  const Output r = relu(bias_add(conv2d(x, w), constant(graph, Tensor{0.f})));
  const Output p = max_pool2d(r, {.window = 2, .strides = 2});
  const Output ones = constant(graph, Tensor::full(float32, {1, 2, 2, 1}, 1));
  const auto by_filter = [&](const Pool2dOptions& options) {
    return conv2d_filter_grad(x, {1, 1, 1, 1}, relu_grad(r, max_pool2d_grad(r, ones, options)));
  };
  const auto filter_grad = [&](const Pool2dOptions& options) {
    return Session(graph).run({{x, pixels}}, {p, by_filter(options)})[1].item<float>();
  };
  CHECK(filter_grad({.window = 2, .strides = 2}) == 5 + 7 + 13 + 15);
  CHECK(filter_grad(
            {.window = 2, .strides = 2, .padding = Padding::explicit_, .border = {1, 0, 1, 0}}) ==
        0 + 2 + 8 + 10);
}
