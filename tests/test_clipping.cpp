#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "gradgraph/gradgraph.h"

/// Norms at the ends of the range, and gradients of what NaN wins.
using namespace gradgraph;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

std::vector<double> numbers(const Tensor& tensor) {
  const Tensor wide = tensor.cast(float64);
  return {wide.span<double>().begin(), wide.span<double>().end()};
}

Tensor floats(const std::vector<double>& values, DType dtype = float32) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())}).cast(dtype);
}

/// With the passes, without them, and by the reference kernels.
std::vector<SessionOptions> modes() {
  return {{.threads = 2},
          {.threads = 1,
           .disabled_passes = {"simplify", "fuse_elementwise", "merge_elementwise",
                               "fuse_reductions"}},
          {.threads = 1, .reference_kernels = true}};
}

/// What is fetched for one value of x, in every mode.
std::vector<std::vector<double>> results(Graph& graph, const Output& x, const Output& fetch,
                                         const Tensor& value) {
  std::vector<std::vector<double>> found;
  for (const SessionOptions& options : modes())
    found.push_back(numbers(Session(graph, options).run({{x, value}}, fetch)));
  return found;
}

bool all_nan(const std::vector<double>& values) {
  bool all = !values.empty();
  for (const double value : values) all = all && std::isnan(value);
  return all;
}

}  // namespace

TEST_CASE("clip_by_norm: the direction is right at any scale") {
  for (const DType dtype : {float32, float64}) {
    const double far = dtype == float32 ? 1e19 : 1e200, near = dtype == float32 ? 1e-30 : 1e-200;
    const double epsilon = dtype == float32 ? 3e-7 : 1e-15;
    for (const double scale : {1.0, far, 6 * far, 1e-3 / far, 1e5, 1e-5, near, 1e3 * near}) {
      // Limits that bite: some fit, others would overflow or vanish as squares.
      for (const double limit : {scale, 3 * scale, scale * 1e-5}) {
        CAPTURE(dtype);
        CAPTURE(scale);
        CAPTURE(limit);
        Graph graph;
        const Output x = placeholder(graph, dtype, {3});
        const Tensor value = floats({3 * scale, -4 * scale, 0}, dtype);
        for (const auto& found : results(graph, x, clip_by_norm(x, limit), value)) {
          CHECK(std::fabs(found[0] / limit - 0.6) <= epsilon);
          CHECK(std::fabs(found[1] / limit + 0.8) <= epsilon);
          CHECK(found[2] == 0);
        }
      }
      // What is short enough stays as it is.
      Graph graph;
      const Output x = placeholder(graph, dtype, {3});
      const Tensor value = floats({3 * scale, -4 * scale, 0}, dtype);
      for (const double limit : {5.001 * scale, scale * 1e10, 1e300})
        for (const auto& found : results(graph, x, clip_by_norm(x, limit), value))
          CHECK(found == numbers(value));
    }
  }
}

TEST_CASE("clip_by_norm: a length beyond the range is none of infinity") {
  Graph graph;
  const Output x = placeholder(graph, float32, {4});
  constexpr double kMost = std::numeric_limits<float>::max();
  for (const auto& found :
       results(graph, x, clip_by_norm(x, 2), floats({kMost, kMost, -kMost, kMost})))
    for (const double value : found) CHECK(std::fabs(value) == doctest::Approx(1));
}

TEST_CASE("clipping: of a norm that is not finite comes NaN throughout") {
  for (const DType dtype : {float32, float64})
    for (const double bad : {kInfinity, -kInfinity, kNoNumber}) {
      Graph graph;
      const Output x = placeholder(graph, dtype, {3}), y = placeholder(graph, dtype, {2});
      const Tensor value = floats({bad, 1, 0}, dtype), other = floats({1, 2}, dtype);
      for (const double limit : {0.1, 1e30})
        for (const SessionOptions& options : modes()) {
          Session session(graph, options);
          CHECK(all_nan(numbers(session.run({{x, value}}, clip_by_norm(x, limit)))));
          const auto both =
              session.run({{x, value}, {y, other}}, clip_by_global_norm({y, x}, limit));
          CHECK(all_nan(numbers(both[0])));
          CHECK(all_nan(numbers(both[1])));
        }
    }
}

TEST_CASE("clip_by_global_norm: one factor for all, at any scale and of both dtypes") {
  for (const double scale : {1.0, 1e19, 1e-30, 1e30}) {
    CAPTURE(scale);
    Graph graph;
    const Output x = constant(graph, floats({2 * scale, 3 * scale}));
    const Output y = constant(graph, floats({6 * scale}, float64));
    const Output z = constant(graph, floats({}));
    Session session(graph, {.disabled_passes = {"fold_constants"}});
    const auto clipped = clip_by_global_norm({x, Output(), y, z}, 7e-3 * scale);
    CHECK_FALSE(clipped[1]);
    CHECK(clipped[0].dtype() == float32);
    CHECK(clipped[2].dtype() == float64);
    const auto found = session.run({}, {clipped[0], clipped[2], clipped[3]});
    CHECK(numbers(found[0])[0] / scale == doctest::Approx(2e-3).epsilon(1e-6));
    CHECK(numbers(found[0])[1] / scale == doctest::Approx(3e-3).epsilon(1e-6));
    CHECK(numbers(found[1])[0] / scale == doctest::Approx(6e-3).epsilon(1e-6));
    CHECK(found[2].num_elements() == 0);
  }
  // Values that only float64 has do not vanish beside float32's, nor make them NaN.
  Graph graph;
  const Output x = constant(graph, floats({0, 1})), y = constant(graph, floats({3e200}, float64));
  const auto found = Session(graph).run({}, clip_by_global_norm({x, y}, 6));
  CHECK(numbers(found[0]) == std::vector<double>{0, 0});
  CHECK(numbers(found[1])[0] == doctest::Approx(6));
}

TEST_CASE("clipping: elements of 16 bits, whose squares none of them holds") {
  for (const DType dtype : {float16, bfloat16})
    for (const double scale : {1.0, 1e4, 1e-4, 0.0}) {
      CAPTURE(dtype);
      CAPTURE(scale);
      Graph graph;
      const Output x = placeholder(graph, dtype, {3}), y = placeholder(graph, float32, {3});
      const Output one = clip_by_norm(x, scale == 0 ? 1 : scale);
      const std::vector<Output> both = clip_by_global_norm({x, y}, 13 * scale + 1);
      const Tensor value = Tensor{3 * scale, 0., 4 * scale}.cast(dtype);
      const auto results = Session(graph).run(
          {{x, value}, {y, Tensor{0.f, static_cast<float>(12 * scale), 0.f}}},
          {one, gradients({sum(cast(one, float32))}, {x})[0], both[0], both[1]});
      CHECK(results[0].dtype() == dtype);
      CHECK(results[2].dtype() == dtype);
      const auto at = [&](std::size_t i, std::int64_t element) {
        return results[i].cast(float64).at<double>({element});
      };
      const double epsilon = dtype == float16 ? 1e-3 : 8e-3;
      CHECK(at(0, 0) == doctest::Approx(0.6 * scale).epsilon(epsilon));
      CHECK(at(0, 2) == doctest::Approx(0.8 * scale).epsilon(epsilon));
      CHECK(std::isfinite(at(1, 0)));
      if (scale == 0) CHECK(at(1, 0) == 1);
      CHECK(at(2, 2) == value.cast(float64).at<double>({2}));
      CHECK(at(3, 1) == doctest::Approx(12 * scale));
    }
}

TEST_CASE("clipping: integers are refused") {
  Graph graph;
  const Output x = placeholder(graph, float32, {3}), n = placeholder(graph, int64, {3}, "n");
  CHECK_THROWS_WITH_AS(clip_by_norm(n, 1),
                       doctest::Contains("clip_by_norm: 'n' int64[3] is not of a floating dtype"),
                       BuildError);
  CHECK_THROWS_WITH_AS(clip_by_global_norm({x, n}, 1),
                       doctest::Contains("clip_by_global_norm: 'n' int64[3]"), BuildError);
}

TEST_CASE("clip_by_norm: its gradient does not depend on the scale") {
  // By x, of sum(w * x / |x|): (w - u (w . u)) / |x|, with u = x / |x|.
  for (const double scale : {1.0, 1e19, 1e-25}) {
    CAPTURE(scale);
    Graph graph;
    const Output x = placeholder(graph, float32, {2});
    const Output loss = sum(clip_by_norm(x, 1e-3 * scale) * Tensor{1.f, 2.f});
    const Tensor value = floats({3 * scale, 4 * scale});
    const auto grads = gradients({loss}, {x});
    for (const auto& found : results(graph, x, grads[0], value)) {
      CHECK(found[0] == doctest::Approx(1e-3 * (1 - 0.6 * 2.2) / 5).epsilon(1e-5));
      CHECK(found[1] == doctest::Approx(1e-3 * (2 - 0.8 * 2.2) / 5).epsilon(1e-5));
    }
  }
}

TEST_CASE("gradients: NaN that wins a comparison is never a gradient of 0") {
  Graph graph;
  const Output x = placeholder(graph, float32, {2, 3});
  const Tensor value = Tensor::from(std::vector<float>{1, std::nanf(""), 3, 1, 2, 2}, {2, 3});
  // As JAX and torch.amax: NaN for all that NaN was compared with, and nobody else.
  for (const Output& best : {max(x, 1), -min(-x, 1)})
    for (const auto& found : results(graph, x, gradients({best}, {x})[0], value)) {
      for (const int i : {0, 1, 2}) CHECK(std::isnan(found[static_cast<std::size_t>(i)]));
      CHECK(std::vector<double>(found.begin() + 3, found.end()) ==
            std::vector<double>{0, 0.5, 0.5});
    }
  for (const Output& best : {max(x), min(x)})
    for (const auto& found : results(graph, x, gradients({best}, {x})[0], value))
      CHECK(all_nan(found));

  for (const Output& best :
       {maximum(x, 2.f), maximum(2.f, x), minimum(x, 2.f), clip_by_value(x, -2, 2)})
    for (const auto& found : results(graph, x, gradients({best}, {x})[0], value)) {
      CHECK(std::isnan(found[1]));
      for (const int i : {0, 2, 3, 4, 5})
        CHECK(std::isfinite(found[static_cast<std::size_t>(i)]));
    }
  const Output bound = placeholder(graph, float32, {2});
  const Output sums = sum(maximum(bound, Tensor{1.f, std::nanf("")}));
  for (const auto& found : results(graph, bound, gradients({sums}, {bound})[0], floats({3, 3}))) {
    CHECK(found[0] == 1);
    CHECK(std::isnan(found[1]));
  }
}

TEST_CASE(
    "max_pool2d: a window's gradient goes to its NaN, pooled alone or with its neighbours") {
  Graph graph;
  const Output x = placeholder(graph, float32, {1, 2, 4, 1});
  const Output filter = constant(graph, Tensor::full(float32, {1, 1, 1, 1}, 1));
  const Tensor value =
      Tensor::from(std::vector<float>{1, std::nanf(""), 1, 2, 5, 0, 4, 3}, {1, 2, 4, 1});
  const Output bias = constant(graph, Tensor{0.f});
  const Output fused = max_pool2d(relu(bias_add(conv2d(x, filter), bias)));
  for (const Output& pooled : {max_pool2d(x), fused})
    for (const auto& found : results(graph, x, gradients({pooled}, {x})[0], value))
      CHECK(found == std::vector<double>{0, 1, 0, 0, 0, 0, 1, 0});
}
