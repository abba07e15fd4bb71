#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "settings.h"

/// The GPU's convolutions, alone and with what goes into a pool, at sizes around their tiles.
namespace gg = gradgraph;
using gg::Output;
using gg::Shape;
using gg::Tensor;
using gg::tests::close;
using gg::tests::contains;
using gg::tests::noise;
using gg::tests::same_bits;

namespace {

struct Case {
  Shape image, filter;
  gg::Conv2dOptions options = {};
  gg::Pair pool = {2, 2};
  bool is_fused = true;
};

struct Network {
  gg::Graph graph;
  std::vector<Output> fetches;

  Network(const Case& c, bool pools, gg::DType dtype = gg::float32) {
    const auto value = [&](const Shape& shape, int seed, const char* name) {
      return gg::variable(gg::constant(graph, noise(shape, seed).cast(dtype)), name);
    };
    const Output image = value(c.image, 1, "image"), filter = value(c.filter, 2, "filter");
    Output y = gg::conv2d(image, filter, c.options);
    std::vector<Output> xs = {filter, image};
    if (pools) {
      xs.push_back(value({c.filter[3]}, 3, "bias"));
      y = gg::max_pool2d(gg::relu(gg::bias_add(y, xs.back())),
                         {.window = c.pool, .strides = c.pool});
    }
    fetches = gg::gradients({gg::sum(gg::square(y))}, xs);
    fetches.push_back(y);
  }

  void check(const std::vector<std::string>& disabled_passes = {}) {
    gg::Session plain(graph, {.device = "cpu", .disabled_passes = {"fuse_pooling"}});
    const auto expected = plain.run({}, fetches);
    std::vector<Tensor> first;
    gg::tests::in_every_setting([&] {
      gg::Session session(graph,
                          {.device = "cuda:0", .threads = 1, .disabled_passes = disabled_passes});
      const auto values = session.run({}, fetches);
      for (std::size_t i = 0; i < values.size(); ++i) {
        CAPTURE(i);
        CHECK(close(values[i], expected[i], 1e-3));
        if (!first.empty()) CHECK(same_bits(values[i], first[i]));
      }
      first = values;
    });
  }
};

}  // namespace

TEST_SUITE("cuda convolution") {
  TEST_CASE("what goes into a pool is one node, and has the CPU's values and gradients") {
    const Case cases[] = {
        {{2, 12, 12, 1}, {5, 5, 1, 24}},
        {{3, 12, 12, 8}, {5, 5, 8, 48}},
        {{2, 9, 11, 4}, {3, 3, 4, 32}, {.padding = gg::Padding::same}},
        {{3, 8, 8, 3}, {3, 3, 3, 5}, {.padding = gg::Padding::same}, {4, 1}},
        {{1, 13, 17, 4}, {2, 4, 4, 36}, {.strides = {2, 1}}, {1, 4}},
        {{2, 7, 7, 12},
         {3, 3, 12, 68},
         {.padding = gg::Padding::explicit_, .border = {2, 1, 0, 2}}},
        {{1, 9, 9, 4}, {3, 3, 4, 8}, {}, {3, 3}, false},
    };
    for (const Case& c : cases) {
      CAPTURE(c.filter);
      Network network(c, true);
      gg::Session session(network.graph, {.device = "cuda:0"});
      CHECK(contains(session.explain_passes({}, network.fetches), "fuse_pooling") == c.is_fused);
      network.check();
    }
  }

  TEST_CASE("convolutions of more than one tile, with groups, dilations and many taps") {
    const Case cases[] = {
        {{2, 9, 9, 8}, {3, 3, 8, 72}},
        {{1, 12, 12, 4}, {3, 3, 4, 8}, {.strides = {3, 2}, .dilations = {2, 1}}},
        {{2, 6, 6, 16}, {3, 3, 8, 8}, {.padding = gg::Padding::same, .groups = 2}},
        {{2, 6, 6, 6}, {3, 3, 2, 9}, {.groups = 3}},
        {{1, 18, 19, 1}, {17, 16, 1, 2}, {.padding = gg::Padding::same}},
        {{40, 5, 5, 4}, {2, 2, 4, 4}},
    };
    for (const Case& c : cases) {
      CAPTURE(c.filter);
      Network(c, false).check();
    }
    Network(cases[3], false, gg::float64).check();
    // Where images stay as they are.
    Case planes = cases[2];
    planes.image = {2, 16, 6, 6};
    planes.options.layout = gg::Layout::nchw;
    Network(planes, false).check({"assign_layout"});
  }

  TEST_CASE("depthwise convolutions, with strides, dilations and several filters a channel") {
    const Case cases[] = {
        {{3, 17, 19, 36}, {3, 3, 1, 36}, {.padding = gg::Padding::same, .groups = 36}},
        {{2, 9, 11, 5}, {4, 3, 1, 15}, {.strides = {2, 3}, .groups = 5}},
        {{2, 13, 12, 4},
         {3, 2, 1, 8},
         {.strides = {2, 2},
          .padding = gg::Padding::explicit_,
          .border = {2, 0, 3, 1},
          .dilations = {2, 3},
          .groups = 4}},
        {{1, 9, 9, 3}, {2, 2, 1, 3}, {.strides = 4, .groups = 3}},
    };
    for (const Case& c : cases) {
      CAPTURE(c.filter);
      Network(c, false).check();
    }
    Network(cases[2], false, gg::float64).check();
    Case planes = cases[1];
    planes.image = {2, 5, 9, 11};
    planes.options.layout = gg::Layout::nchw;
    Network(planes, false).check({"assign_layout"});
    // Sums in float32 of what 16 bits hold: half an ulp of the larger ones.
    gg::Graph graph;
    const Output x = gg::constant(graph, noise({2, 8, 8, 8}, 1).cast(gg::float16)),
                 w = gg::constant(graph, noise({3, 3, 1, 8}, 2).cast(gg::float16));
    const Output y = gg::conv2d(x, w, {.groups = 8});
    std::vector<Output> fetches = gg::gradients({gg::sum(gg::square(y))}, {x, w});
    fetches.push_back(y);
    const auto on = [&](const char* device) {
      return gg::Session(graph, {.device = device, .threads = 1}).run({}, fetches);
    };
    const auto expected = on("cpu"), values = on("cuda:0");
    for (std::size_t i = 0; i < values.size(); ++i)
      CHECK(close(values[i].cast(gg::float64), expected[i].cast(gg::float64), 5e-3));
  }

  TEST_CASE("ties, relu's zeros, NaN and infinities choose as max_pool2d does") {
    const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
    const Tensor image = Tensor::from(
        std::vector<float>{3, 3, -1, -2, 1, nan, nan, 2, inf, 1, -inf, -inf, 0, 0, -0.f, -5},
        {1, 4, 4, 1});
    gg::Graph graph;
    const Output x = gg::placeholder(graph, gg::float32, {1, 4, 4, 1}, "x");
    const Output w = gg::constant(graph, Tensor::full(gg::float32, {1, 1, 1, 3}, 1));
    const Output b = gg::constant(graph, Tensor::zeros(gg::float32, {3}));
    const Output y = gg::max_pool2d(gg::relu(gg::bias_add(gg::conv2d(x, w), b)),
                                    {.window = {1, 4}, .strides = {1, 4}});
    const auto grad = gg::gradients({gg::sum(y)}, {b});
    for (const auto& disabled : {std::vector<std::string>{}, {"fuse_pooling"}}) {
      gg::Session session(graph, {.device = "cuda:0", .disabled_passes = disabled});
      const Tensor value = session.run({{x, image}}, {y})[0];
      const float expected[] = {3, nan, inf, 0};
      for (std::size_t row = 0; row < 4; ++row)
        for (std::size_t f = 0; f < 3; ++f) {
          const float own = value.data<float>()[row * 3 + f];
          CHECK((std::isnan(expected[row]) ? std::isnan(own) : own == expected[row]));
        }
      // A maximum that is not above zero passes nothing on.
      for (const float own : session.run({{x, image}}, grad)[0].span<float>()) CHECK(own == 3);
    }
  }
}
