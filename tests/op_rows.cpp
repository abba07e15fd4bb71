#include "op_rows.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string_view>

#include "gradgraph/op.h"

namespace gradgraph::tests {
namespace {

using Family = void (*)(std::vector<OpRow>&);
constexpr std::pair<const char*, Family> kFamilies[] = {
    {"elementwise", add_elementwise_rows},
    {"activation", add_activation_rows},
    {"reduction", add_reduction_rows},
    {"matmul", add_matmul_rows},
    {"convolution", add_convolution_rows},
    {"nn", add_nn_rows},
    {"array", add_array_rows},
    {"along axes", add_along_axes_rows},
    {"linalg", add_linalg_rows},
    {"losses", add_loss_rows},
    {"edge cases", add_edge_case_rows},
    {"control flow", add_control_flow_rows},
};

Tensor as_float64(const Tensor& tensor) { return tensor.cast(float64); }

bool same_values(const Tensor& a, const Tensor& b) {
  const Tensor x = as_float64(a), y = as_float64(b);
  return std::ranges::equal(x.span<double>(), y.span<double>(), [](double u, double v) {
    return u == v || (std::isnan(u) && std::isnan(v));
  });
}

/// `tensors` with their float32 ones as `dtype`; false when a value does not survive that.
bool convert_floats(const std::vector<Tensor>& tensors, DType dtype,
                    std::vector<Tensor>& result) {
  result.clear();
  bool survives = true;
  for (const Tensor& tensor : tensors) {
    result.push_back(tensor.dtype() == float32 ? tensor.cast(dtype) : tensor);
    survives = survives && same_values(tensor, result.back());
  }
  return survives;
}

enum class Dims { known, unknown };

/// A row's graph for given inputs, fed through placeholders.
struct Built {
  Built(const OpRow& row, const std::vector<Tensor>& values, Dims dims) {
    for (const Tensor& value : values) {
      Shape shape = value.shape();
      if (dims == Dims::unknown)
        for (int axis = 0; axis < shape.rank(); ++axis) shape.set(axis, any);
      inputs.push_back(placeholder(graph, value.dtype(), shape));
      feeds.emplace_back(inputs.back(), value);
    }
    outputs = row.build(inputs);
  }
  std::vector<Tensor> run(const std::vector<Output>& fetches) {
    verify(graph);
    return Session(graph).run(feeds, fetches);
  }

  Graph graph;
  std::vector<Output> inputs, outputs;
  Feeds feeds;
};

void check_forward(const OpRow& row, DType dtype) {
  std::vector<Tensor> inputs, expected;
  if (!convert_floats(row.inputs, dtype, inputs)) return;
  const bool exact = convert_floats(row.expected, dtype, expected);
  if (!exact && !is_half(dtype)) return;
  for (const Dims dims : {Dims::known, Dims::unknown}) {
    if (dims == Dims::unknown && !row.unknown_dims) continue;
    CAPTURE(dtype);
    CAPTURE((dims == Dims::unknown));
    Built built(row, inputs, dims);
    REQUIRE(built.outputs.size() == expected.size());
    const std::vector<Tensor> actual = built.run(built.outputs);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(i);
      const bool exact_digits =
          row.expected[i].dtype() == float64 && row.tolerance == OpRow().tolerance;
      const bool in_double = expected[i].dtype() == float64 && exact_digits;
      const double rounding = dtype == float16 ? 0x1p-9 : (dtype == bfloat16 ? 0x1p-6 : 0);
      check_close(actual[i], expected[i], in_double ? 1e-12 : row.tolerance + rounding);
      CHECK(built.outputs[i].shape().compatible_with(actual[i].shape()));
    }
  }
}

/// Positive and negative weights away from 0, the same in every run of the tests.
Tensor weights(const Shape& shape, std::mt19937_64& generator) {
  Tensor values(float64, shape);
  for (double& value : values.span<double>()) {
    const std::uint64_t bits = generator();
    value = (bits & 1u ? 1 : -1) * (0.5 + static_cast<double>(bits >> 11) * 0x1p-53);
  }
  return values;
}

/// sum(weights * values): every element counts, each differently.
Output weighted_sum(const std::vector<Output>& values, const std::vector<Shape>& shapes) {
  std::mt19937_64 generator(7);
  Output total;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!is_floating(values[i].dtype())) continue;
    const Output part =
        sum(mul(values[i], weights(shapes[i], generator).cast(values[i].dtype())));
    total = total ? total + part : part;
  }
  return total;
}

std::vector<Shape> shapes_of(const std::vector<Tensor>& values) {
  std::vector<Shape> shapes;
  for (const Tensor& value : values) shapes.push_back(value.shape());
  return shapes;
}

std::vector<int> differentiable_inputs(const OpRow& row) {
  if (!row.differentiable.empty()) return row.differentiable;
  std::vector<int> inputs;
  for (std::size_t i = 0; i < row.inputs.size(); ++i)
    if (is_floating(row.inputs[i].dtype())) inputs.push_back(static_cast<int>(i));
  return inputs;
}

std::vector<Output> pick(const std::vector<Output>& values, const std::vector<int>& indices) {
  std::vector<Output> picked;
  for (const int i : indices) picked.push_back(values[static_cast<std::size_t>(i)]);
  return picked;
}

/// Central differences of a scalar along directions in its inputs' space.
class Differences {
 public:
  Differences(Built& built, Output scalar)
      : session_(built.graph), evaluate_(session_.prepare(built.inputs, {scalar})) {
    for (const auto& [input, value] : built.feeds) values_.push_back(value.clone());
  }
  /// Along `direction` in input `which`.
  double along(int which, const Tensor& direction) {
    const double step = 1e-5;
    const double above = shifted(which, direction, step),
                 below = shifted(which, direction, -step);
    return (above - below) / (2 * step);
  }

 private:
  double shifted(int which, const Tensor& direction, double step) {
    Tensor& value = values_[static_cast<std::size_t>(which)];
    const Tensor kept = value.clone();
    for (std::int64_t i = 0; i < value.num_elements(); ++i)
      value.data<double>()[i] += step * direction.data<double>()[i];
    session_.set_step(0);  // random ops draw the same numbers every time
    const double result = evaluate_.run(values_.data(), values_.size())[0].item<double>();
    value = kept;
    return result;
  }

  Session session_;
  Callable evaluate_;
  std::vector<Tensor> values_;
};

double dot(const Tensor& a, const Tensor& b) {
  double total = 0;
  for (std::int64_t i = 0; i < a.num_elements(); ++i)
    total += a.data<double>()[i] * b.data<double>()[i];
  return total;
}

bool agree(double exact, double numeric) {
  return std::fabs(numeric - exact) <= 1e-6 * std::max(1.0, std::fabs(exact));
}

/// Compares `grads`, the gradients of `scalar` by the inputs `which`, to differences along random
/// directions, which see every element at once; then finds the element that is wrong.
void check_differences(Built& built, const std::vector<int>& which, Output scalar,
                       const std::vector<Output>& grads) {
  const std::vector<Tensor> analytic = Session(built.graph).run(built.feeds, grads);
  Differences differences(built, scalar);
  std::mt19937_64 generator(11);
  for (std::size_t k = 0; k < which.size(); ++k) {
    const Shape& shape = built.feeds[static_cast<std::size_t>(which[k])].second.shape();
    REQUIRE(analytic[k].shape() == shape);
    if (shape.num_elements() == 0) continue;
    for (int repeat = 0; repeat < 2; ++repeat) {
      const Tensor direction = weights(shape, generator);
      const double exact = dot(analytic[k], direction);
      const double numeric = differences.along(which[k], direction);
      if (agree(exact, numeric)) continue;
      FAIL_CHECK("input " << which[k] << ": along a random direction the gradient is " << exact
                          << ", differences give " << numeric);
      Tensor unit = Tensor::zeros(float64, shape);
      for (std::int64_t i = 0; i < unit.num_elements(); ++i) {
        unit.data<double>()[i] = 1;
        const double one_exact = analytic[k].data<double>()[i];
        const double one_numeric = differences.along(which[k], unit);
        unit.data<double>()[i] = 0;
        if (agree(one_exact, one_numeric)) continue;
        FAIL_CHECK("input " << which[k] << ", element " << i << ": gradient " << one_exact
                            << ", differences give " << one_numeric);
        break;
      }
      break;
    }
  }
}

void check_gradients(const OpRow& row) {
  std::vector<Tensor> inputs;
  for (const Tensor& input : row.inputs)
    inputs.push_back(is_floating(input.dtype()) ? input.cast(float64) : input);
  const std::vector<int> which = differentiable_inputs(row);
  REQUIRE_FALSE(which.empty());

  Built built(row, inputs, Dims::known);
  const std::vector<Output> xs = pick(built.inputs, which);
  const Output first = weighted_sum(built.outputs, shapes_of(row.expected));
  REQUIRE_MESSAGE(static_cast<bool>(first), "the row has no floating output");
  const std::vector<Output> grads = gradients({first}, xs);
  {
    INFO("first order");
    check_differences(built, which, first, grads);
  }
  std::vector<Shape> shapes;
  for (const Output& x : xs) shapes.push_back(x.shape());
  const Output second = weighted_sum(grads, shapes);
  {
    INFO("second order");
    check_differences(built, which, second, gradients({second}, xs));
  }
  const std::vector<Tensor> expected = built.run(grads);
  {
    INFO("gradient of the row's own dtype");
    Built own(row, row.inputs, Dims::known);
    const Output scalar = weighted_sum(own.outputs, shapes_of(row.expected));
    const std::vector<Tensor> actual = own.run(gradients({scalar}, pick(own.inputs, which)));
    for (std::size_t k = 0; k < which.size(); ++k)
      check_close(actual[k].cast(float64), expected[k], 1e-4);
  }
  if (!row.unknown_dims) return;
  INFO("gradient with unknown dimensions");
  Built loose(row, inputs, Dims::unknown);
  const Output scalar = weighted_sum(loose.outputs, shapes_of(row.expected));
  const std::vector<Tensor> actual = loose.run(gradients({scalar}, pick(loose.inputs, which)));
  for (std::size_t k = 0; k < which.size(); ++k) check_close(actual[k], expected[k], 1e-12);
}

void check_row(const OpRow& row) {
  INFO("row " << row.name);
  try {
    std::set<DType> dtypes = {float32};
    dtypes.insert(row.also.begin(), row.also.end());
    for (const DType dtype : dtypes) check_forward(row, dtype);
    if (row.gradient) check_gradients(row);
  } catch (const std::exception& error) {
    FAIL_CHECK(std::string(error.what()));
  }
}

void check_family(std::string_view name) {
  std::vector<OpRow> rows;
  for (const auto& [family, add_rows] : kFamilies)
    if (family == name) add_rows(rows);
  for (const OpRow& row : rows) SUBCASE(row.name.c_str()) {
      check_row(row);
    }
}

/// Sources and state have tests of their own; internal ops are never built by users.
bool needs_row(const OpDef& op) {
  static const std::set<std::string_view> kOwnTests = {"placeholder", "constant",
                                                       "custom_gradient"};
  return !op.traits.internal && !op.traits.stateful && !kOwnTests.contains(op.name);
}

}  // namespace

const std::vector<OpRow>& op_rows() {
  static const std::vector<OpRow> rows = [] {
    std::vector<OpRow> all;
    for (const auto& [family, add_rows] : kFamilies) add_rows(all);
    return all;
  }();
  return rows;
}

void check_close(const Tensor& actual, const Tensor& expected, double tolerance) {
  REQUIRE(actual.dtype() == expected.dtype());
  REQUIRE(actual.shape() == expected.shape());
  const Tensor a = as_float64(actual), e = as_float64(expected);
  for (std::int64_t i = 0; i < e.num_elements(); ++i) {
    const double x = a.data<double>()[i], y = e.data<double>()[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (std::fabs(x - y) <= tolerance * std::max(1.0, std::fabs(y))) continue;
    FAIL_CHECK("element " << i << " is " << x << ", expected " << y << " (tolerance " << tolerance
                          << ")");
    return;
  }
}

void check_close(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected,
                 double tolerance) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    CAPTURE(i);
    REQUIRE(actual[i].empty_handle() == expected[i].empty_handle());
    if (!actual[i].empty_handle()) check_close(actual[i], expected[i], tolerance);
  }
}

std::vector<Output> with_gradients(const OpRow& row, const std::vector<Output>& inputs,
                                   std::vector<Output> outputs) {
  std::vector<Output> ys, xs;
  for (const Output& y : outputs)
    if (is_floating(y.dtype())) ys.push_back(y);
  for (const Output& x : inputs)
    if (is_floating(x.dtype())) xs.push_back(x);
  if (!row.gradient || ys.empty() || xs.empty()) return outputs;
  for (const Output& gradient : gradients(ys, xs)) outputs.push_back(gradient);
  return outputs;
}

std::vector<Tensor> row_values(const OpRow& row, DType dtype, const SessionOptions& options) {
  std::vector<Tensor> inputs;
  for (const Tensor& input : row.inputs)
    inputs.push_back(input.dtype() == float32 ? input.cast(dtype) : input);
  Built built(row, inputs, Dims::known);
  Session session(built.graph, options);
  std::vector<Tensor> values = session.run(built.feeds, built.outputs);
  if (!row.gradient) return values;
  const std::vector<Output> xs = pick(built.inputs, differentiable_inputs(row));
  std::vector<Output> grads = gradients({weighted_sum(built.outputs, shapes_of(values))}, xs);
  std::vector<Shape> shapes;
  for (const Output& x : xs) shapes.push_back(x.shape());
  for (const Output& second : gradients({weighted_sum(grads, shapes)}, xs))
    grads.push_back(second);
  for (Tensor& grad : session.run(built.feeds, grads)) values.push_back(std::move(grad));
  return values;
}

TEST_CASE("op rows: elementwise") { check_family("elementwise"); }
TEST_CASE("op rows: activation") { check_family("activation"); }
TEST_CASE("op rows: reduction") { check_family("reduction"); }
TEST_CASE("op rows: matmul") { check_family("matmul"); }
TEST_CASE("op rows: convolution") { check_family("convolution"); }
TEST_CASE("op rows: nn") { check_family("nn"); }
TEST_CASE("op rows: array") { check_family("array"); }
TEST_CASE("op rows: along axes") { check_family("along axes"); }
TEST_CASE("op rows: linalg") { check_family("linalg"); }
TEST_CASE("op rows: losses") { check_family("losses"); }
TEST_CASE("op rows: edge cases") { check_family("edge cases"); }
TEST_CASE("op rows: control flow") { check_family("control flow"); }
// A family above has a test case of its own here.
static_assert(std::size(kFamilies) == 12);

TEST_CASE("op rows: every op has a row") {
  std::set<std::string> covered;
  for (const OpRow& row : op_rows()) {
    const Built built(row, row.inputs, Dims::known);
    for (const Node& node : built.graph.nodes()) covered.insert(node.op().name);
  }
  for (const OpDef* op : op_registry().all())
    if (needs_row(*op)) CHECK_MESSAGE(covered.contains(op->name), op->name << " has no row");
}

TEST_CASE("op rows: an op has a gradient or says that it has none") {
  for (const OpDef* op : op_registry().all())
    if (needs_row(*op))
      CHECK_MESSAGE((op->gradient == nullptr) == op->traits.non_differentiable, op->name);
}

TEST_CASE("op rows: names are unique") {
  std::set<std::string> names;
  for (const OpRow& row : op_rows()) CHECK_MESSAGE(names.insert(row.name).second, row.name);
}

}  // namespace gradgraph::tests
