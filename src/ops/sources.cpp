#include "core/text.h"
#include "ops/builders.h"

/// Where values come from and where they are kept: placeholders, constants, variables.
namespace gradgraph {
namespace {

void infer_placeholder(InferContext& context) {
  context.output(context.attribute<DType>("dtype"), context.attribute<Shape>("shape"));
}

void infer_constant(InferContext& context) {
  const Tensor& value = context.attribute<Tensor>("value");
  context.require(!value.empty_handle(), "the value is an empty tensor");
  context.output(value.dtype(), value.shape());
}

std::optional<Shape> constant_vector(const Node& node) {
  const Tensor& value = node.attributes().get<Tensor>("value");
  if (value.dtype() != int64 || value.shape().rank() != 1) return std::nullopt;
  if (value.num_elements() > Shape::kMaxRank) return std::nullopt;
  for (const std::int64_t dim : value.span<std::int64_t>())
    if (dim < any) return std::nullopt;
  return Shape(value.span<std::int64_t>());
}

void infer_variable(InferContext& context) {
  infer_placeholder(context);
  if (!context.attribute<Shape>("shape").fully_known())
    context.fail("a variable's shape must be fully known, not " +
                 context.attribute<Shape>("shape").to_string());
}

void infer_assign(InferContext& context) {
  if (const Node& node = context.input(0).node(); node.op().name != "variable")
    context.fail(
        fmt::format("input 0 must be a variable, but '{}' is a {}", node.name(), node.op().name));
  context.require_same_dtype(0, 1);
  context.require(context.shape(0).compatible_with(context.shape(1)),
                  "the value's shape is not the variable's");
  context.output(context.dtype(0), context.shape(0));
}

void infer_group(InferContext&) {}

Output make_variable(Graph& graph, DType dtype, const Shape& shape, std::string_view name,
                     SourceLocation where) {
  return graph
      .add(op_registry().at("variable"), {}, {{"dtype", dtype}, {"shape", shape}}, where, name)
      .output();
}

Output make_assign(std::string_view op, Output variable, const Operand& value,
                   SourceLocation where) {
  graph_of(op, {variable}, where);
  ContextGuard guard(variable.graph());
  variable.graph().context().phase = Phase::update;
  BuildTransaction transaction(variable.graph());
  return transaction.commit(make(op, {variable, value.resolve(op, variable, where)}, where));
}

}  // namespace

Output placeholder(Graph& graph, DType dtype, const Shape& shape, std::string_view name,
                   SourceLocation where) {
  return graph
      .add(op_registry().at("placeholder"), {}, {{"dtype", dtype}, {"shape", shape}}, where, name)
      .output();
}

Output constant(Graph& graph, Tensor value, std::string_view name, SourceLocation where) {
  // Whoever still holds the tensor may write to it.
  if (!value.empty_handle() && !value.unique()) value = value.clone(where);
  return graph.add(op_registry().at("constant"), {}, {{"value", std::move(value)}}, where, name)
      .output();
}

Output variable(Graph& graph, DType dtype, const Shape& shape, std::string_view name,
                SourceLocation where) {
  return make_variable(graph, dtype, shape, name, where);
}

Output variable(Output initial_value, std::string_view name, SourceLocation where) {
  Graph& graph = graph_of("variable", {initial_value}, where);
  const Output variable =
      make_variable(graph, initial_value.dtype(), initial_value.shape(), name, where);
  graph.set_initial_value(variable.node(), initial_value);
  return variable;
}

Output variable(Graph& graph, Tensor initial_value, std::string_view name, SourceLocation where) {
  BuildTransaction transaction(graph);
  return transaction.commit(
      variable(constant(graph, std::move(initial_value), {}, where), name, where));
}

Output assign(Output variable, Operand value, SourceLocation where) {
  return make_assign("assign", variable, value, where);
}
Output assign_add(Output variable, Operand delta, SourceLocation where) {
  return make_assign("assign_add", variable, delta, where);
}
Output assign_sub(Output variable, Operand delta, SourceLocation where) {
  return make_assign("assign_sub", variable, delta, where);
}

Output group(Graph& graph, const std::vector<Output>& ops, std::string_view name,
             SourceLocation where) {
  for (const Output& op : ops)
    if (!op || &op.graph() != &graph)
      fail_to_build("group", graph,
                    op ? fmt::format("'{}' is of another graph", op.name())
                       : fmt::format("op {} is empty", &op - ops.data()),
                    where);
  ContextGuard guard = control_dependencies(graph, ops, where);
  graph.context().phase = Phase::update;
  return graph.add(op_registry().at("group"), {}, {}, where, name).output();
}

void register_source_ops(OpRegistry& registry) {
  const Traits source = {.no_kernel = true};
  registry.add({.name = "placeholder", .traits = source, .infer = infer_placeholder})
      .describe("what a run feeds", {})
      .required_attribute<DType>("dtype", "of the value")
      .required_attribute<Shape>("shape", "-1 where a run decides");
  registry
      .add({.name = "constant",
            .traits = source,
            .infer = infer_constant,
            .vector_value = constant_vector})
      .describe("a value", {})
      .required_attribute<Tensor>("value", "the value");
  registry
      .add({.name = "variable",
            .traits = {.stateful = true, .no_kernel = true},
            .infer = infer_variable})
      .describe("a value that a session keeps from run to run", {})
      .required_attribute<DType>("dtype", "of the value")
      .required_attribute<Shape>("shape", "of the value");
  Traits update = {.stateful = true, .updates_variable = true, .non_differentiable = true};
  for (const auto& [name, op] : {std::pair{"assign_add", "add"}, {"assign_sub", "sub"}}) {
    update.update_op = op;
    registry.add({.name = name, .traits = update, .infer = infer_assign})
        .describe(fmt::format("the variable becomes {}(variable, value)", op),
                  {"variable", "value"});
  }
  update.update_op = nullptr;
  update.overwrites_variable = true;
  registry.add({.name = "assign", .traits = update, .infer = infer_assign})
      .describe("the variable becomes the value", {"variable", "value"});
  registry
      .add({.name = "group",
            .traits = {.stateful = true, .no_kernel = true, .non_differentiable = true},
            .infer = infer_group})
      .describe("an order: control inputs, and no value", {"values..."});
  registry
      .add({.name = "fetch",
            .traits = {.internal = true, .moves_value = true},
            .infer = infer_group})
      .describe("moves a value to the host", {"values..."});
  registry
      .add({.name = "copy",
            .traits = {.internal = true, .moves_value = true},
            .infer = infer_same})
      .describe("a value on another device", {"x"});
}

}  // namespace gradgraph
