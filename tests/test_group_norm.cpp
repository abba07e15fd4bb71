#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "gradient_orders.h"
#include "noise.h"
#include "special_values.h"

/// Groups of channels, which need not be neighbours in memory, against the same in long double or
/// written out.
namespace gradgraph::tests {
namespace {

using Real = long double;
using Outputs = std::vector<Output>;

/// What an element is times, and what is added to it.
double scale_of(std::int64_t channel) { return 1 + 0.5 * static_cast<double>(channel % 3); }
double offset_of(std::int64_t channel) { return 0.25 * static_cast<double>(channel % 4) - 0.5; }

Tensor per_channel(std::int64_t channels, double (*of)(std::int64_t), DType dtype) {
  Tensor values(float64, {channels});
  for (std::int64_t c = 0; c < channels; ++c) values.data<double>()[c] = of(c);
  return values.cast(dtype);
}

/// x as [samples, before, channels, behind].
struct Sizes {
  std::int64_t samples = 1, before = 1, channels = 1, behind = 1;

  Sizes(const Shape& shape, int axis) : samples(shape[0]), channels(shape[axis]) {
    for (int i = 1; i < shape.rank(); ++i)
      if (i != axis) (i < axis ? before : behind) *= shape[i];
  }
};

/// In long double, of the numbers that x holds.
Tensor by_definition(const Tensor& x, int axis, std::int64_t groups, double epsilon) {
  const Tensor from = x.cast(float64);
  Tensor y(float64, x.shape());
  const Sizes s(x.shape(), axis);
  const std::int64_t each = s.channels / groups;
  for (std::int64_t n = 0; n < s.samples; ++n)
    for (std::int64_t group = 0; group < groups; ++group) {
      const auto visit = [&](const auto& body) {
        for (std::int64_t i = 0; i < s.before; ++i)
          for (std::int64_t c = group * each; c < (group + 1) * each; ++c)
            for (std::int64_t j = 0; j < s.behind; ++j)
              body(((n * s.before + i) * s.channels + c) * s.behind + j, c);
      };
      const auto count = static_cast<Real>(s.before * each * s.behind);
      Real mean = 0, variance = 0;
      visit([&](std::int64_t i, std::int64_t) { mean += from.data<double>()[i] / count; });
      visit([&](std::int64_t i, std::int64_t) {
        const Real distance = from.data<double>()[i] - mean;
        variance += distance * distance / count;
      });
      visit([&](std::int64_t i, std::int64_t c) {
        const Real normal = (from.data<double>()[i] - mean) / std::sqrt(variance + epsilon);
        y.data<double>()[i] = static_cast<double>(normal * scale_of(c) + offset_of(c));
      });
    }
  return y;
}

struct Layer {
  Output x, y;
  std::int64_t channels;

  void set_variables(Session& session) const {
    Graph& graph = x.graph();
    session.set_value(graph.find("norm/scale")->output(),
                      per_channel(channels, scale_of, x.dtype()));
    session.set_value(graph.find("norm/offset")->output(),
                      per_channel(channels, offset_of, x.dtype()));
  }
};

/// Of samples of `shape`, of any number.
Layer make_layer(Graph& graph, DType dtype, Shape shape, int axis, std::int64_t groups,
                 double epsilon) {
  const std::int64_t channels = shape[axis];
  shape.set(0, any);
  const Output x = placeholder(graph, dtype, shape, "x");
  return {x, nn::group_norm(x, {.groups = groups, .epsilon = epsilon, .axis = axis}, "norm"),
          channels};
}

Tensor normalized(const Tensor& x, int axis, std::int64_t groups, double epsilon,
                  const SessionOptions& options = {}) {
  Graph graph;
  const Layer layer = make_layer(graph, x.dtype(), x.shape(), axis, groups, epsilon);
  Session session(graph, options);
  layer.set_variables(session);
  return session.run({{layer.x, x}}, layer.y);
}

/// The gradient by x of a weighted sum, and of `flow` times it.
Tensor gradient_by_x(const Tensor& x, int axis, std::int64_t groups, double epsilon,
                     double flow = 1) {
  Graph graph;
  const Layer layer = make_layer(graph, x.dtype(), x.shape(), axis, groups, epsilon);
  // Bits that any dtype has.
  const Tensor weights = noise(x.shape(), 8).cast(bfloat16).cast(x.dtype());
  const Output total = sum(layer.y * constant(graph, weights));
  const Tensor from = Tensor::full(x.dtype(), {}, flow);
  const Output by_x = gradients({total}, {layer.x}, {constant(graph, from)})[0];
  Session session(graph);
  layer.set_variables(session);
  return session.run({{layer.x, x}}, by_x);
}

Tensor times(const Tensor& x, double factor) {
  Tensor result(float64, x.shape());
  const Tensor from = x.cast(float64);
  for (std::int64_t i = 0; i < x.num_elements(); ++i)
    result.data<double>()[i] = from.data<double>()[i] * factor;
  return result;
}

double worst_difference(const Tensor& actual, const Tensor& expected) {
  REQUIRE(actual.shape() == expected.shape());
  const Tensor found = actual.cast(float64);
  double worst = 0;
  for (std::int64_t i = 0; i < found.num_elements(); ++i) {
    const double difference = std::fabs(found.data<double>()[i] - expected.data<double>()[i]);
    if (!(difference <= worst)) worst = difference;  // NaN too
  }
  return worst;
}

struct Case {
  Shape shape;
  int axis;
};
const Case kCases[] = {{{3, 4, 5, 6}, 3},   {{3, 6, 4, 5}, 1},   {{2, 3, 6, 4}, 2}, {{5, 6}, 1},
                       {{2, 40, 33, 6}, 3}, {{2, 6, 40, 33}, 1}, {{1, 7, 6}, 2}};

}  // namespace

TEST_SUITE("group_norm") {
  TEST_CASE("group_norm: is what its definition says, wherever the channels are") {
    for (const Case& c : kCases)
      for (const std::int64_t groups : {1, 2, 6})
        for (const DType dtype : {float64, float32, float16, bfloat16}) {
          CAPTURE(c.shape);
          CAPTURE(groups);
          CAPTURE(dtype);
          const Tensor x = noise(c.shape, 3, dtype);
          const double tolerance = dtype == float64   ? 1e-13
                                   : dtype == float32 ? 2e-6
                                   : dtype == float16 ? 0x1p-9
                                                      : 0x1p-6;
          CHECK(worst_difference(normalized(x, c.axis, groups, 0.01),
                                 by_definition(x, c.axis, groups, 0.01)) <= tolerance);
        }
  }

  TEST_CASE("group_norm: has gradients of first and second order, for any number of samples") {
    for (const Case& c : kCases) {
      if (c.shape.num_elements() > 1000) continue;
      for (const std::int64_t groups : {1, 2, 6})
        for (const bool batch_is_known : {true, false}) {
          CAPTURE(c.shape);
          CAPTURE(groups);
          CAPTURE(batch_is_known);
          Graph graph;
          const Tensor value = noise(c.shape, 5);
          Shape shape = c.shape;
          if (!batch_is_known) shape.set(0, any);
          const Output x = placeholder(graph, float64, shape, "x");
          const Output y =
              nn::group_norm(x, {.groups = groups, .epsilon = 1e-3, .axis = c.axis}, "norm");
          const Output scale = graph.find("norm/scale")->output(),
                       offset = graph.find("norm/offset")->output();
          const Sizes s(c.shape, c.axis);
          const Output split = reshape(x, {-1, s.before, groups, s.channels / groups, s.behind});
          const Axes others = {1, 3, 4};
          const Output normal =
              reshape((split - mean(split, others, true)) / sqrt(var(split, others, true) + 1e-3),
                      {-1, s.before, s.channels, s.behind});
          const auto line_up = [&](const Output& v) { return reshape(v, {s.channels, 1}); };
          const Output expected = reshape(normal * line_up(scale) + line_up(offset), shape_of(x));
          const Outputs by = {x, scale, offset};
          const Outputs actual = gradients_of_two_orders(y, value, by),
                        wanted = gradients_of_two_orders(expected, value, by);
          Session session(graph);
          session.set_value(scale, per_channel(6, scale_of, float64));
          session.set_value(offset, per_channel(6, offset_of, float64));
          Outputs fetches = actual;
          fetches.insert(fetches.end(), wanted.begin(), wanted.end());
          const auto values = session.run({{x, value}}, fetches);
          for (std::size_t i = 0; i < actual.size(); ++i) {
            CAPTURE(i);
            CHECK(find_difference(values[i], values[i + actual.size()], 1e-9, 1) == "");
          }
        }
    }
  }

  TEST_CASE("group_norm: groups far from 0 are normalised as if they were not") {
    for (const Case& c : kCases)
      for (const double offset : {1e2, 1e4, 1e6, 1e8, -1e8}) {
        CAPTURE(c.shape);
        CAPTURE(offset);
        // Float32 has some hundred steps for it at this offset.
        const double spread = std::max(1.0, std::fabs(offset) * 3e-5);
        Tensor x = times(noise(c.shape, 7), spread);
        for (double& value : x.span<double>()) value += offset;
        x = x.cast(float32);
        const Tensor expected = by_definition(x, c.axis, 2, 1e-5);
        CHECK(worst_difference(normalized(x, c.axis, 2, 1e-5), expected) <= 3e-6);
        CHECK(worst_difference(normalized(x, c.axis, 2, 1e-5, {.exact_rewrites = true}),
                               expected) <= 3e-6);
        CHECK(worst_difference(times(gradient_by_x(x, c.axis, 2, 1e-5), spread),
                               times(gradient_by_x(x.cast(float64), c.axis, 2, 1e-5), spread)) <=
              1e-5);
      }
  }

  TEST_CASE("group_norm: squares beyond the dtype do no harm, nor do sums") {
    const Shape shape = {2, 4, 5, 6};
    const auto check = [&](double size, DType dtype, double tolerance) {
      CAPTURE(size);
      CAPTURE(dtype);
      const Tensor x = times(noise(shape, 7), size).cast(dtype);
      CHECK(worst_difference(normalized(x, 3, 2, 0), by_definition(x, 3, 2, 0)) <= tolerance);
      // A gradient is that of x / size, divided by it.
      CHECK(worst_difference(times(gradient_by_x(x, 3, 2, 0), size),
                             gradient_by_x(times(x, 1 / size), 3, 2, 0)) <= tolerance * 10);
      if (dtype != float32) return;
      // Products of what flows in and of distances have no room either.
      const double flow = size > 1 ? 1e10 : 1e-20;
      CHECK(worst_difference(times(gradient_by_x(x, 3, 2, 0, flow), size / flow),
                             gradient_by_x(times(x, 1 / size), 3, 2, 0)) <= tolerance * 10);
    };
    check(1e30, float32, 2e-6);
    check(1e-25, float32, 2e-6);
    check(1000, float16, 0x1p-8);
  }

  TEST_CASE("group_norm: what is not finite stays in its group") {
    Tensor x = noise({2, 4, 5, 6}, 9, float32);
    x.data<float>()[7 * 6 + 4] = std::numeric_limits<float>::infinity();  // of sample 0
    x.data<float>()[(20 + 3) * 6] = std::numeric_limits<float>::quiet_NaN();
    const Tensor y = normalized(x, 3, 2, 1e-5);
    for (std::int64_t i = 0; i < y.num_elements(); ++i) {
      CAPTURE(i);
      const bool first_sample = i < 20 * 6, first_group = i % 6 < 3;
      CHECK(std::isnan(y.data<float>()[i]) == (first_sample != first_group));
    }
  }

  TEST_CASE("group_norm: no samples, no pixels, and elements that are equal") {
    for (const Case& c : kCases) {
      CAPTURE(c.shape);
      Shape none = c.shape;
      none.set(0, 0);
      Graph graph;
      const Layer layer = make_layer(graph, float32, none, c.axis, 2, 1e-5);
      const Output scale = graph.find("norm/scale")->output();
      Outputs fetches = gradients({sum(layer.y)}, {layer.x, scale});
      fetches.push_back(layer.y);
      Session session(graph);
      const auto values = session.run({{layer.x, Tensor(float32, none)}}, fetches);
      CHECK(values[0].shape() == none);
      CHECK(find_difference(values[1], Tensor::zeros(float32, {6})) == "");
      CHECK(values[2].shape() == none);

      const Tensor equal = Tensor::full(float32, c.shape, 0.1);
      const Tensor y = normalized(equal, c.axis, 2, 1e-5);
      CHECK(worst_difference(y, by_definition(equal, c.axis, 2, 1e-5)) <= 1e-7);
    }
    for (const Shape& shape : {Shape{3, 0, 4, 6}, Shape{3, 4, 4, 0}})
      CHECK(normalized(Tensor(float32, shape), 3, 2, 1e-5).shape() == shape);
  }
}

}  // namespace gradgraph::tests
