#include <cmath>

#include "core/convert.h"
#include "core/text.h"
#include "ops/builders.h"

namespace gradgraph {

Graph& graph_of(std::string_view op, OutputList inputs, SourceLocation where) {
  for (const Output& input : inputs)
    if (input) return input.graph();
  throw BuildError(node_message(op, op, "input 0 is empty"), where);
}

void fail_to_build(std::string_view op, Graph& graph, const std::string& message,
                   SourceLocation where) {
  const BuildContext& context = graph.context();
  throw BuildError(node_message(op, fmt::format("{}{}", context.scope, op), message),
                   context.where.known() ? context.where : where);
}

void require_floating(std::string_view op, Output x, SourceLocation where) {
  Graph& graph = graph_of(op, {x}, where);
  if (!is_floating(x.dtype()))
    fail_to_build(op, graph, fmt::format("needs a floating dtype, not {}", x.dtype()), where);
}

Node& make_node(std::string_view op, OutputList inputs, Attributes attributes,
                SourceLocation where, std::string_view name) {
  Graph& graph = graph_of(op, inputs, where);
  return graph.add(op_registry().at(op), inputs, std::move(attributes), where, name);
}

Output make_with_vectors(std::string_view op, Graph& graph,
                         std::initializer_list<IntVector> inputs, SourceLocation where,
                         Attributes attributes) {
  BuildTransaction transaction(graph);
  std::vector<Output> resolved;
  for (const IntVector& input : inputs) resolved.push_back(input.resolve(graph, where));
  return transaction.commit(
      graph.add(op_registry().at(op), resolved, std::move(attributes), where).output());
}

Output make_binary(std::string_view op, const Operand& a, const Operand& b,
                   SourceLocation where) {
  if (!a.is_output() && !b.is_output())
    throw BuildError(node_message(op, op, "one operand must be an Output that is not empty"),
                     where);
  const Output& peer = a.is_output() ? a.output() : b.output();
  BuildTransaction transaction(peer.graph());
  return transaction.commit(
      make(op, {a.resolve(op, peer, where), b.resolve(op, peer, where)}, where));
}

Output int_vector(Graph& graph, const std::vector<std::int64_t>& values, SourceLocation where) {
  return constant(graph, Tensor::from(values, Shape{static_cast<std::int64_t>(values.size())}),
                  {}, where);
}

namespace {
/// Whether the integer is `number`. As a double, the largest int64 is 2^63, which is none.
template <class T>
bool is_value(const Tensor& integer, T number) {
  if constexpr (std::floating_point<T>)
    if (!(number >= -0x1p63 && number < 0x1p63)) return false;
  return integer.cast(dtype_of<T>).template item<T>() == number;
}
}  // namespace

std::string text_of(const Number& number) {
  return std::visit([](auto value) { return fmt::format("{}", value); }, number.value());
}

std::int64_t Number::as_integer() const {
  const Tensor value = to_tensor(int64);
  return value ? value.item<std::int64_t>() : 0;
}

Tensor Number::to_tensor(DType dtype) const {
  return std::visit(
      [&](auto number) {
        const Tensor value = Tensor(number).cast(dtype);
        return is_floating(dtype) || is_value(value, number) ? value : Tensor();
      },
      value_);
}

Output Operand::resolve(std::string_view op, const Output& peer, SourceLocation where) const {
  if (output_) return output_;
  Graph& graph = peer.graph();
  if (tensor_) return constant(graph, tensor_, {}, where);
  if (!number_)
    fail_to_build(op, graph, fmt::format("an operand beside '{}' is empty", peer.name()), where);
  const Tensor value = number_->to_tensor(peer.dtype());
  if (!value)
    fail_to_build(op, graph,
                  fmt::format("{} is no {}, the dtype of '{}' {}{}", text_of(*number_),
                              peer.dtype(), peer.name(), peer.dtype(), peer.shape()),
                  where);
  return constant(graph, value, {}, where);
}

Output IntVector::resolve(Graph& graph, SourceLocation where) const {
  return output_ ? output_ : int_vector(graph, values_, where);
}

int front_axis(const InferContext& context, std::int64_t axis, int rank) {
  const int normal = context.normalize_axis(axis, rank);
  if (axis < 0) context.fail(fmt::format("axis {} must be counted from the front here", axis));
  return normal;
}

const Tensor* constant_value(const Output& output) {
  const Node& node = output.node();
  return node.op().name == "constant" ? &node.attributes().get<Tensor>("value") : nullptr;
}

void require_entries(const InferContext& context, int i, std::int64_t lowest) {
  const Tensor* value = constant_value(context.input(i));
  if (!value || value->dtype() != int64) return;
  for (const std::int64_t entry : value->span<std::int64_t>())
    if (entry < lowest)
      context.fail(fmt::format("entry {} of input {} is below {}{}", entry, i, lowest,
                               entry == any ? "; for a dimension that only a run knows, take the "
                                              "vector that gg::shape_of gives"
                                            : ""));
}

Output unbroadcast(Output grad, Output like) {
  if (grad.shape() == like.shape() && grad.shape().fully_known()) return grad;
  return sum_to(grad, shape_of(like));
}

void infer_same(InferContext& context) { context.output(context.dtype(0), context.shape(0)); }

void infer_floating(InferContext& context) {
  context.require_floating(0);
  context.output(context.dtype(0), context.shape(0));
}

}  // namespace gradgraph
