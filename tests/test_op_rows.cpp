#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "gradgraph/op.h"
#include "op_row_graph.h"

/// Every op row: values, gradients by differences, unknown dimensions.
namespace gradgraph::tests {
namespace {

bool same_values(const Tensor& a, const Tensor& b) {
  const Tensor x = a.cast(float64), y = b.cast(float64);
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

void check_forward(const OpRow& row, DType dtype) {
  std::vector<Tensor> inputs, expected;
  if (!convert_floats(row.inputs, dtype, inputs)) return;
  const bool exact = convert_floats(row.expected, dtype, expected);
  if (!exact && !is_half(dtype)) return;
  for (const Dims dims : {Dims::known, Dims::unknown}) {
    if (dims == Dims::unknown && !row.unknown_dims) continue;
    CAPTURE(dtype);
    CAPTURE((dims == Dims::unknown));
    RowGraph built(row, inputs, dims);
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

/// Central differences of a scalar along directions in its inputs' space.
class Differences {
 public:
  Differences(RowGraph& built, Output scalar)
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
void check_differences(RowGraph& built, const std::vector<int>& which, Output scalar,
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

  RowGraph built(row, inputs, Dims::known);
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
    RowGraph own(row, row.inputs, Dims::known);
    const Output scalar = weighted_sum(own.outputs, shapes_of(row.expected));
    const std::vector<Tensor> actual = own.run(gradients({scalar}, pick(own.inputs, which)));
    for (std::size_t k = 0; k < which.size(); ++k)
      check_close(actual[k].cast(float64), expected[k], 1e-4);
  }
  if (!row.unknown_dims) return;
  INFO("gradient with unknown dimensions");
  RowGraph loose(row, inputs, Dims::unknown);
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
  for (const RowFamily& family : kRowFamilies)
    if (family.name == name) family.add(rows);
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

TEST_CASE("op rows: elementwise") { check_family("elementwise"); }
TEST_CASE("op rows: activation") { check_family("activation"); }
TEST_CASE("op rows: reduction") { check_family("reduction"); }
TEST_CASE("op rows: matmul") { check_family("matmul"); }
TEST_CASE("op rows: convolution") { check_family("convolution"); }
TEST_CASE("op rows: nn") { check_family("nn"); }
TEST_CASE("op rows: array") { check_family("array"); }
TEST_CASE("op rows: along axes") { check_family("along axes"); }
TEST_CASE("op rows: linalg") { check_family("linalg"); }
TEST_CASE("op rows: matrices") { check_family("matrices"); }
TEST_CASE("op rows: losses") { check_family("losses"); }
TEST_CASE("op rows: edge cases") { check_family("edge cases"); }
TEST_CASE("op rows: control flow") { check_family("control flow"); }
// A family above has a test case of its own here.
static_assert(std::size(kRowFamilies) == 13);

TEST_CASE("op rows: every op has a row") {
  std::set<std::string> covered;
  for (const OpRow& row : op_rows()) {
    const RowGraph built(row, row.inputs, Dims::known);
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
