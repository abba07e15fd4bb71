#include "gradgraph/gradients.h"

#include <algorithm>
#include <unordered_set>

#include "core/text.h"
#include "ops/builders.h"

/// A node whose outputs are its first inputs; the rest are what the user's gradient is by.
namespace gradgraph {
namespace {

void infer_custom_gradient(InferContext& context) {
  const std::int64_t outputs = context.attribute<std::int64_t>("outputs");
  context.require(outputs >= 1, "has no output");
  context.require(outputs <= context.num_inputs(), "has fewer inputs than outputs");
  for (int i = 0; i < outputs; ++i) context.output(context.dtype(i), context.shape(i));
}

/// Without a gradient of the user's own: that of the identity.
std::vector<Output> grad_custom_gradient(const GradientContext& context) {
  std::vector<Output> grads(static_cast<std::size_t>(context.num_inputs()));
  for (int i = 0; i < context.node().num_outputs(); ++i)
    grads[static_cast<std::size_t>(i)] = context.grad(i);
  return grads;
}

/// A node whose gradient somebody may ask for.
bool is_leaf(const Node& node) {
  return is_floating(node.dtype()) &&
         (node.op().name == "variable" || node.op().name == "placeholder");
}

/// A variable or placeholder that `outputs` depend on otherwise than through `inputs`, along
/// values that carry gradients; null where there is none.
const Node* find_captured(const std::vector<Output>& outputs, const std::vector<Output>& inputs) {
  std::vector<const Node*> open;
  std::unordered_set<const Node*> seen;
  const auto visit = [&](const Output& value) {
    if (!value || value.node().num_outputs() == 0 || !is_floating(value.dtype())) return;
    if (std::ranges::find(inputs, value) != inputs.end()) return;
    if (seen.insert(&value.node()).second) open.push_back(&value.node());
  };
  for (const Output& output : outputs) visit(output);
  while (!open.empty()) {
    const Node& node = *open.back();
    open.pop_back();
    if (is_leaf(node)) return &node;
    if (node.op().name == "stop_gradient") continue;
    for (const Output& input : node.inputs()) visit(input);
  }
  return nullptr;
}

/// By the user's numbers: for the node the results are its first inputs.
void require_gradient_of(const Output& input, const Output& grad, int number, const Node& node) {
  if (!grad || !is_floating(input.dtype()) ||
      (grad.dtype() == input.dtype() && grad.shape().compatible_with(input.shape())))
    return;
  throw GradientError(
      node_message("custom_gradient", node.name(),
                   fmt::format("its gradient by input {} is {}{}, the input is {}{}", number,
                               grad.dtype(), grad.shape(), input.dtype(), input.shape())),
      node.where());
}

std::vector<Output> outputs_of(Node& node) {
  std::vector<Output> outputs;
  for (int i = 0; i < node.num_outputs(); ++i) outputs.push_back(node.output(i));
  return outputs;
}

}  // namespace

std::vector<Output> custom_gradient(
    const std::vector<Output>& inputs,
    const std::function<std::vector<Output>(const std::vector<Output>&)>& forward,
    std::function<std::vector<Output>(const std::vector<Output>& inputs,
                                      const std::vector<Output>& outputs,
                                      const std::vector<Output>& grads)>
        gradient,
    SourceLocation where) {
  BuildTransaction transaction(graph_of("custom_gradient", inputs, where));
  const auto fail = [&](const std::string& message) {
    throw BuildError(node_message("custom_gradient", "custom_gradient", message), where);
  };
  if (!forward || !gradient) fail("the forward or the gradient function is missing");
  std::vector<Output> operands = forward(inputs);
  const std::size_t num_outputs = operands.size();
  if (num_outputs == 0) fail("the forward function gives no output");
  if (const Node* captured = find_captured(operands, inputs))
    fail(
        fmt::format("the forward function reads {} '{}', which is not among its inputs and would "
                    "get no gradient: make it one, or read it through gg::stop_gradient",
                    captured->op().name, captured->name()));
  operands.insert(operands.end(), inputs.begin(), inputs.end());
  Node& node = make_node("custom_gradient", std::move(operands),
                         {{"outputs", static_cast<std::int64_t>(num_outputs)}}, where);
  node.graph().set_gradient(
      node, [gradient = std::move(gradient), num_outputs](const GradientContext& context) {
        std::vector<Output> values, outputs, grads;
        for (int i = 0; i < context.node().num_outputs(); ++i) {
          outputs.push_back(context.output(i));
          grads.push_back(context.grad(i) ? context.grad(i) : zeros_like(context.output(i)));
        }
        for (int i = static_cast<int>(num_outputs); i < context.num_inputs(); ++i)
          values.push_back(context.input(i));
        const std::vector<Output> by_input = gradient(values, outputs, grads);
        if (by_input.size() != values.size())
          throw GradientError(
              node_message("custom_gradient", context.node().name(),
                           fmt::format("the gradient function gives {} values for {} inputs",
                                       by_input.size(), values.size())),
              context.node().where());
        for (std::size_t i = 0; i < values.size(); ++i)
          require_gradient_of(values[i], by_input[i], static_cast<int>(i), context.node());
        std::vector<Output> result(num_outputs);
        result.insert(result.end(), by_input.begin(), by_input.end());
        return result;
      });
  return transaction.commit(outputs_of(node));
}

void register_custom_gradient_op(OpRegistry& registry) {
  registry
      .add({.name = "custom_gradient",
            .infer = infer_custom_gradient,
            .gradient = grad_custom_gradient})
      .describe("the first inputs, with a gradient that the user gives", {"values..."})
      .required_attribute<std::int64_t>("outputs", "how many inputs are results");
}

}  // namespace gradgraph
