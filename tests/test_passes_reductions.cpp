#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "pass_drawing.h"

/// Sums and means that are taken while their operand is computed.
using namespace gradgraph;
using tests::draw;

namespace {

const std::vector<std::string> kFuse = {"fuse_elementwise", "fuse_reductions"};

Tensor waves(DType dtype, const Shape& shape) {
  Tensor tensor(float64, shape);
  double phase = 0;
  for (double& x : tensor.span<double>()) x = std::sin(phase += 0.7) + 0.1;
  return tensor.cast(dtype);
}

void check_close(const Tensor& actual, const Tensor& expected, double tolerance) {
  REQUIRE(actual.shape() == expected.shape());
  const Tensor a = actual.cast(float64), e = expected.cast(float64);
  for (std::int64_t i = 0; i < a.num_elements(); ++i) {
    const double x = a.data<double>()[i], y = e.data<double>()[i];
    if (std::isnan(x) && std::isnan(y)) continue;
    if (!(std::fabs(x - y) <= tolerance * std::max(1.0, std::fabs(y))))
      FAIL_CHECK("element " << i << " is " << x << " instead of " << y);
  }
}

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("fuse_reductions: a chain and its sum, with and without the elements") {
    Graph graph;
    const Output x = placeholder(graph, float32, {5, 3}, "x");
    const Output b = placeholder(graph, float32, {3}, "b");
    const Output y = relu(x + b);
    const Output columns = sum(y, 0), rows = mean(y, 1, true);
    CHECK(draw(graph, {columns}) ==
          "add = add(x, b)\nrelu = relu(add)\nsum = sum(relu) axes=(0)\nfetch(sum)\n");
    CHECK(draw(graph, {columns}, kFuse) ==
          "relu = fused_sums(x, b) program=add(0, 1); relu(2) leading=true first=0 split=1\n"
          "fetch(relu)\n");
    CHECK(draw(graph, {rows, y}, kFuse) ==
          "relu = fused_sums(x, b) program=add(0, 1); relu(2) first=0 split=1 mean=true "
          "keeps_elements=true\n"
          "fetch(relu)\n"
          "fetch(relu:1)\n");
    const Output images = placeholder(graph, float32, {2, 20, 20, 3}, "images");
    CHECK(draw(graph, {sum(relu(images + b), {1, 2})}, kFuse) ==
          "relu_1 = fused_sums(images, b) program=add(0, 1); relu(2) leading=true first=1 "
          "split=3\nfetch(relu_1)\n");
    CHECK(tests::rewrites(graph, {columns}, {"fuse_reductions"}) ==
          "fuse_reductions: 'sum' = sum of 'relu'");
  }

  TEST_CASE("fuse_reductions: what stays a reduction of its own") {
    Graph graph;
    const Output x = placeholder(graph, float32, {5, 3, 2}, "x");
    const Output n = placeholder(graph, int32, {4}, "n");
    const auto stays = [&](Output value) {
      CHECK(draw(graph, {value}, kFuse).find("fused_sums") == std::string::npos);
    };
    stays(sum(exp(x), {0, 2}));        // axes apart from each other
    stays(sum(exp(x), 1));             // samples of few elements
    stays(gradgraph::max(exp(x), 0));  // no sum
    stays(sum(n + n));                 // integers
    stays(sum(softmax(x), 0));         // not elementwise
    stays(sum(placeholder(graph, float32, {3}), 0));
  }

  TEST_CASE("fuse_reductions: values, for all shapes and numbers of threads") {
    struct Case {
      Shape shape;
      Axes axes;
    };
    const Case cases[] = {{{7}, {}},
                          {{1}, 0},
                          {{0}, 0},
                          {{0, 3}, 0},
                          {{0, 3}, 1},
                          {{3, 0}, 0},
                          {{3, 0}, 1},
                          {{5, 3}, {}},
                          {{300, 7}, 0},
                          {{300, 7}, 1},
                          {{3, 9000}, 1},
                          {{3, 9000}, 0},
                          {{500, 130}, 0},
                          {{500, 130}, 1},
                          {{20, 30, 40}, 0},
                          {{20, 30, 40}, {0, 1}},
                          {{20, 30, 40}, {1, 2}},
                          {{20, 30, 40}, 1},
                          {{20, 30, 40}, 2},
                          {{3, 20, 30, 4}, {1, 2}},
                          {{3, 2, 5000}, 1},
                          {{2, 9000, 33}, 1},
                          {{40, 1, 7}, 1},
                          {{4, 0, 3}, 1},
                          {{0, 4, 3}, 1},
                          {{2, 3, 4}, {}},
                          {{100000}, {}}};
    for (const DType dtype : {float32, float64})
      for (const Case& c : cases)
        for (const bool keeps : {false, true})
          for (const int threads : {1, 2, 5}) {
            CAPTURE(c.shape);
            CAPTURE(threads);
            Graph graph;
            const Output x = placeholder(graph, dtype, c.shape);
            const Output y = square(x) * 0.5 + x;
            const Output total = keeps ? mean(y, c.axes, true) : sum(y, c.axes);
            std::vector<Output> fetches = {total};
            if (keeps) fetches.push_back(y);
            const Feeds feeds = {{x, waves(dtype, c.shape)}};
            Session fused(graph, {.threads = threads});
            Session plain(graph,
                          {.threads = threads, .disabled_passes = tests::all_passes_but({})});
            const auto actual = fused.run(feeds, fetches), expected = plain.run(feeds, fetches);
            const double tolerance = dtype == float32 ? 2e-6 : 1e-14;
            for (std::size_t i = 0; i < fetches.size(); ++i)
              check_close(actual[i], expected[i], tolerance * 50);
            const Tensor again = Session(graph, {.threads = 1}).run(feeds, fetches)[0];
            CHECK(std::memcmp(again.raw(), actual[0].raw(), again.bytes()) == 0);
          }
  }

  TEST_CASE("fuse_reductions: a layer's gradients share one sweep") {
    Graph graph;
    const Output x = placeholder(graph, float32, {8, 6}, "x");
    const Output y = nn::dense(x, {.units = 4, .activation = gg::relu}, "layer");
    const Output loss = mean(square(y));
    const auto grads = gradients(
        {loss}, {graph.find("layer/kernel")->output(), graph.find("layer/bias")->output()});
    const std::string text = draw(graph, grads, tests::all_passes_but({"fuse_epilogue"}));
    CHECK(text.find("= fused_sums(") != std::string::npos);
    CHECK(text.find("= sum(") == std::string::npos);
  }
}
