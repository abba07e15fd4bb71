#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "pass_drawing.h"

/// One softmax for a cross entropy and its gradient.
using namespace gradgraph;
using tests::draw;

namespace {

const std::vector<std::string> kAll = tests::all_passes_but({});
const std::vector<std::string> kBefore = tests::all_passes_but({"fuse_cross_entropy"});

Tensor draw_logits(const Shape& shape, double scale = 1) {
  Tensor tensor(float64, shape);
  double phase = 0.3;
  for (double& x : tensor.span<double>()) x = scale * std::sin(phase += 1.7);
  return tensor;
}

void check_same(Graph& graph, const Feeds& feeds, const std::vector<Output>& fetches) {
  Session with(graph, {.threads = 2});
  Session without(graph, {.threads = 2, .disabled_passes = kAll});
  const auto actual = with.run(feeds, fetches), expected = without.run(feeds, fetches);
  for (std::size_t i = 0; i < fetches.size(); ++i) {
    REQUIRE(actual[i].shape() == expected[i].shape());
    const Tensor a = actual[i].cast(float64), b = expected[i].cast(float64);
    for (std::int64_t k = 0; k < a.num_elements(); ++k) {
      const double x = a.data<double>()[k], y = b.data<double>()[k];
      if (!std::isfinite(y))
        CHECK((x == y || (std::isnan(x) && std::isnan(y))));
      else
        CHECK(x == doctest::Approx(y).epsilon(1e-10));
    }
  }
}

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("fuse_cross_entropy: class numbers, loss and gradient") {
    Graph graph;
    const Output x = placeholder(graph, float64, {4, 3}, "x");
    const Output labels = placeholder(graph, int64, {4}, "labels");
    const Output loss = sum(sparse_softmax_cross_entropy(x, labels), {}, false);
    const std::vector<Output> fetches = {loss, gradients({loss}, {x})[0]};
    const auto lines = [](const std::string& text) { return std::ranges::count(text, '\n'); };
    const std::string before = draw(graph, fetches, kBefore), after = draw(graph, fetches, kAll);
    CHECK(before.find("= sparse_softmax_cross_entropy(x, labels)\n") != std::string::npos);
    CHECK(before.find("= softmax(x) axis=1\n") != std::string::npos);
    CHECK(before.find("= check_indices(labels) size=3\n") != std::string::npos);
    CHECK(before.find("= one_hot(gradients/") != std::string::npos);
    CHECK(lines(before) == 9);  // with two fused nodes, a sum and two fetches
    CHECK(after.find("= sparse_softmax_cross_entropy_grad(x, labels, 1) with_loss=true "
                     "checks_labels=true\n") != std::string::npos);
    CHECK(lines(after) == 4);
    // The same as one writes it.
    const std::string written = draw(graph, {softmax(x) - one_hot(labels, 3, float64)}, kAll);
    CHECK(written.find("= sparse_softmax_cross_entropy_grad(x, labels, 1)") != std::string::npos);
  }

  TEST_CASE("fuse_cross_entropy: values agree, of any shape") {
    for (const Shape& shape : {Shape{4, 3}, Shape{1, 1}, Shape{70, 10}, Shape{2, 3, 5}, Shape{7},
                               Shape{0, 4}, Shape{300, 33}}) {
      CAPTURE(shape);
      Graph graph;
      const Shape rows(shape.dims().first(shape.dims().size() - 1));
      const Output x = placeholder(graph, float64, shape, "x");
      const Output labels = placeholder(graph, int32, rows, "labels");
      const Output weight = placeholder(graph, float64, rows, "weight");
      Tensor classes(int32, rows), weights = draw_logits(rows);
      std::int32_t next = 0;
      for (std::int32_t& label : classes.span<std::int32_t>())
        label = next++ % static_cast<std::int32_t>(shape[shape.rank() - 1]);
      const std::int64_t depth = shape[shape.rank() - 1];
      const Output sparse = sparse_softmax_cross_entropy(x, labels);
      const Output hot = one_hot(labels, depth, float64) * 0.7 + 0.01;
      const Output dense = softmax_cross_entropy(x, hot);
      const Output written = -sum(hot * log_softmax(x), -1);
      const Feeds feeds = {{x, draw_logits(shape, 3)}, {labels, classes}, {weight, weights}};
      for (const Output& losses : {sparse, dense, written}) {
        for (const Output& loss : {sum(losses * weight), mean(losses), sum(square(losses))}) {
          const Output grad = gradients({loss}, {x})[0];
          check_same(graph, feeds, {loss, grad});
          check_same(graph, feeds, {grad});
        }
      }
    }
  }

  TEST_CASE("fuse_cross_entropy: labels out of range and infinite logits mean what they meant") {
    Graph graph;
    const Output x = placeholder(graph, float64, {2, 2}, "x");
    const Output labels = placeholder(graph, int64, {2}, "labels");
    const Output losses = sparse_softmax_cross_entropy(x, labels);
    const Output grad = gradients({sum(losses)}, {x})[0];
    const Tensor logits{{0.5, 1.0}, {-1.0, 2.0}};
    const Feeds feeds = {{x, logits}, {labels, Tensor{std::int64_t{1}, std::int64_t{2}}}};
    for (const std::vector<Output>& fetches : {std::vector{grad}, {losses, grad}})
      CHECK_THROWS_WITH_AS(Session(graph).run(feeds, fetches),
                           doctest::Contains("index 2 (number 1) is outside [0,2)"), RunError);
    // One's own one_hot gives no class.
    check_same(graph, feeds, {softmax(x) - one_hot(labels, 2, float64)});

    const Output hot = one_hot(labels, 2, float64);
    const Output written = -sum(hot * log_softmax(x), -1), given = softmax_cross_entropy(x, hot);
    constexpr double kInf = std::numeric_limits<double>::infinity();
    const Feeds infinite = {{x, Tensor{{0.5, -kInf}, {-kInf, 2.0}}},
                            {labels, Tensor{std::int64_t{0}, std::int64_t{0}}}};
    for (const Output& loss : {written, given})
      check_same(graph, infinite, {loss, gradients({sum(loss)}, {x})[0]});
  }
}
