#include "op_row_graph.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

namespace gradgraph::tests {
namespace {

Tensor as_float64(const Tensor& tensor) { return tensor.cast(float64); }

}  // namespace

const std::vector<OpRow>& op_rows() {
  static const std::vector<OpRow> rows = [] {
    std::vector<OpRow> all;
    for (const RowFamily& family : kRowFamilies) family.add(all);
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

RowGraph::RowGraph(const OpRow& row, const std::vector<Tensor>& values, Dims dims) {
  for (const Tensor& value : values) {
    Shape shape = value.shape();
    if (dims == Dims::unknown)
      for (int axis = 0; axis < shape.rank(); ++axis) shape.set(axis, any);
    inputs.push_back(placeholder(graph, value.dtype(), shape));
    feeds.emplace_back(inputs.back(), value);
  }
  outputs = row.build(inputs);
}

std::vector<Tensor> RowGraph::run(const std::vector<Output>& fetches) {
  verify(graph);
  return Session(graph).run(feeds, fetches);
}

Tensor weights(const Shape& shape, std::mt19937_64& generator) {
  Tensor values(float64, shape);
  for (double& value : values.span<double>()) {
    const std::uint64_t bits = generator();
    value = (bits & 1u ? 1 : -1) * (0.5 + static_cast<double>(bits >> 11) * 0x1p-53);
  }
  return values;
}

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

std::vector<Tensor> row_values(const OpRow& row, DType dtype, const SessionOptions& options) {
  std::vector<Tensor> inputs;
  for (const Tensor& input : row.inputs)
    inputs.push_back(input.dtype() == float32 ? input.cast(dtype) : input);
  RowGraph built(row, inputs, Dims::known);
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

}  // namespace gradgraph::tests
