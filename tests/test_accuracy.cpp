#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "gradgraph/gradgraph.h"

/// What float32 gives for numbers that lie close together and far from 0, and for very many of
/// them, against long double calculated from the same float32 numbers.
using namespace gradgraph;

namespace {

using Real = long double;

constexpr double kOffsets[] = {0, 1e2, 1e4, 1e6, 1e8, -1e8};

/// offset + spread * [-1, 1), rounded to float32.
Tensor around(double offset, double spread, const Shape& shape, unsigned seed = 5) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> uniform(-1, 1);
  Tensor tensor(float32, shape);
  for (float& x : tensor.span<float>())
    x = static_cast<float>(offset + spread * uniform(generator));
  return tensor;
}

/// A spread that float32 has some hundred steps for at this offset.
double spread_at(double offset) { return std::max(1.0, std::fabs(offset) * 3e-5); }

struct Moments {
  Real mean = 0, variance = 0;
};
/// Of every `step`-th element from `first` on.
Moments moments(const Tensor& x, std::int64_t first, std::int64_t step, std::int64_t count) {
  Moments result;
  const float* values = x.data<float>() + first;
  for (std::int64_t i = 0; i < count; ++i) result.mean += static_cast<Real>(values[i * step]);
  result.mean /= static_cast<Real>(count);
  for (std::int64_t i = 0; i < count; ++i) {
    const Real distance = static_cast<Real>(values[i * step]) - result.mean;
    result.variance += distance * distance;
  }
  result.variance /= static_cast<Real>(count);
  return result;
}

double relative_error(float actual, Real expected) {
  if (!std::isfinite(actual)) return std::numeric_limits<double>::infinity();
  return static_cast<double>(std::fabs(static_cast<Real>(actual) - expected) /
                             std::fabs(expected));
}

/// As it comes, and op by op.
std::vector<SessionOptions> modes() {
  return {{.threads = 2},
          {.threads = 1,
           .disabled_passes = {"fuse_elementwise", "merge_elementwise", "fuse_reductions",
                               "fuse_epilogue"}}};
}

}  // namespace

TEST_SUITE("accuracy") {
  TEST_CASE("layer_norm: rows far from 0 are normalised as if they were not") {
    constexpr std::int64_t kRows = 7, kFeatures = 300;
    for (const double offset : kOffsets) {
      CAPTURE(offset);
      const Tensor x = around(offset, spread_at(offset), {kRows, kFeatures});
      Graph graph;
      const Output input = placeholder(graph, float32, {any, kFeatures});
      const Output y = nn::layer_norm(input);
      for (const SessionOptions& options : modes()) {
        const Tensor found = Session(graph, options).run({{input, x}}, y);
        double worst = 0;
        for (std::int64_t row = 0; row < kRows; ++row) {
          const Moments m = moments(x, row * kFeatures, 1, kFeatures);
          for (std::int64_t i = row * kFeatures; i < (row + 1) * kFeatures; ++i) {
            const Real expected = (static_cast<Real>(x.data<float>()[i]) - m.mean) /
                                  std::sqrt(m.variance + static_cast<Real>(1e-5));
            // Beside the standard deviation: the mean itself is among what is normalised.
            worst = std::max(worst, static_cast<double>(std::fabs(
                                        static_cast<Real>(found.data<float>()[i]) - expected)));
          }
        }
        CHECK(worst <= 1e-6);
      }
    }
  }

  TEST_CASE("batch_norm: channels far from 0, output and running statistics") {
    constexpr std::int64_t kImages = 60, kChannels = 5;
    for (const double offset : kOffsets) {
      CAPTURE(offset);
      const Tensor x = around(offset, spread_at(offset), {kImages, kChannels});
      for (const SessionOptions& options : modes()) {
        Graph graph;
        const Output input = placeholder(graph, float32, {any, kChannels});
        const Output training = placeholder(graph, boolean, {});
        const auto norm = nn::batch_norm(input, {.training = training, .momentum = 0});
        Session session(graph, options);
        const auto found =
            session.run({{input, x}, {training, Tensor(true)}}, {norm.output, norm.update});
        double worst = 0;
        for (std::int64_t c = 0; c < kChannels; ++c) {
          const Moments m = moments(x, c, kChannels, kImages);
          for (std::int64_t i = c; i < kImages * kChannels; i += kChannels) {
            const Real expected = (static_cast<Real>(x.data<float>()[i]) - m.mean) /
                                  std::sqrt(m.variance + static_cast<Real>(1e-3));
            worst = std::max(
                worst, static_cast<double>(
                           std::fabs(static_cast<Real>(found[0].data<float>()[i]) - expected)));
          }
          const Tensor mean = session.value(graph.find("batch_norm/running_mean")->output());
          const Tensor variance =
              session.value(graph.find("batch_norm/running_variance")->output());
          if (offset != 0) CHECK(relative_error(mean.data<float>()[c], m.mean) <= 1e-7);
          CHECK(relative_error(variance.data<float>()[c], m.variance) <= 1e-6);
        }
        CHECK(worst <= 1e-6);
      }
    }
  }

  TEST_CASE("rms_prop: the spread of gradients that hardly change is never negative") {
    Graph graph;
    const Output x = variable(graph, Tensor{0.f}, "x");
    const Output slope = placeholder(graph, float32, {1});
    const Output train =
        RmsProp{.learning_rate = 1e-3, .alpha = 0.9, .epsilon = 1e-3, .centered = true}.minimize(
            sum(x * slope));
    Session session(graph);
    Callable step = session.prepare({slope}, {train});
    double at = 0, mean = 0, variance = 0;
    for (int i = 0; i < 200; ++i) {
      step(Tensor{1e4f});
      const double distance = 1e4 - mean;
      variance = 0.9 * (variance + 0.1 * distance * distance);
      mean += 0.1 * distance;
      at -= 10 / (std::sqrt(variance) + 1e-3);
      REQUIRE(std::fabs(session.value(x).item<float>() - at) <= 1e-3 * std::fabs(at));
    }
  }

  TEST_CASE("sum and mean: very many numbers, alone and with what they are made of") {
    const std::vector<std::pair<Shape, Axes>> cases = {
        {{1000000}, {}},  {{1000, 1000}, 0},       {{1000, 1000}, 1}, {{300000, 3}, 0},
        {{3, 300000}, 1}, {{500, 2, 500}, {0, 2}}, {{100000, 8}, 0}};
    for (const auto& [case_shape, axes] : cases)
      for (const double offset : {1.0, 1e8}) {
        const Shape& shape = case_shape;  // lambdas cannot capture bindings
        CAPTURE(shape);
        CAPTURE(offset);
        const Tensor x = around(offset, 0.3 * offset, shape);
        Graph graph;
        const Output input = placeholder(graph, float32, shape);
        const Output wide = cast(input, float64);
        const std::vector<Output> found = {sum(input, axes), mean(input, axes),
                                           sum(square(input), axes),
                                           mean(input * 0.3f + input * 0.7f, axes)};
        const std::vector<Output> expected = {sum(wide, axes), mean(wide, axes),
                                              sum(square(wide), axes), mean(wide, axes)};
        const auto exact = Session(graph, {.threads = 2}).run({{input, x}}, expected);
        for (const SessionOptions& options : modes()) {
          const auto results = Session(graph, options).run({{input, x}}, found);
          for (std::size_t k = 0; k < found.size(); ++k) {
            double worst = 0;
            for (std::int64_t i = 0; i < results[k].num_elements(); ++i)
              worst = std::max(
                  worst, relative_error(results[k].data<float>()[i], exact[k].data<double>()[i]));
            CAPTURE(k);
            CHECK(worst <= 1e-6);
          }
        }
      }
  }

  TEST_CASE("prod: very many numbers, and products on whose way float32 ends") {
    const std::vector<std::pair<Shape, Axes>> cases = {{{100000}, {}},          {{100000, 3}, 0},
                                                       {{3, 100000}, 1},        {{100000, 70}, 0},
                                                       {{500, 2, 400}, {0, 2}}, {{2000, 50}, {}}};
    for (const auto& [case_shape, axes] : cases) {
      const Shape& shape = case_shape;  // lambdas cannot capture bindings
      CAPTURE(shape);
      Graph graph;
      const Output x = constant(graph, around(1, 0.02, shape));
      for (const SessionOptions& options : modes()) {
        Session session(graph, options);
        const auto found = session.run({}, {prod(x, axes), prod(cast(x, float64), axes)});
        for (std::int64_t i = 0; i < found[0].num_elements(); ++i)
          CHECK(relative_error(found[0].data<float>()[i], found[1].data<double>()[i]) <= 1e-7);
      }
    }
    Graph graph;
    const Output x = constant(graph, Tensor{1e30f, 1e30f, 1e-30f, 1e-30f, 3.f});
    CHECK(Session(graph).run(prod(x)).item<float>() == doctest::Approx(3).epsilon(1e-6));
  }
}
