#include "passes/rewriting/node_sweep.h"

#include <algorithm>
#include <utility>

#include "core/text.h"
#include "graph/may_fail.h"
#include "ops/builders.h"
#include "passes/attempt.h"
#include "passes/topology.h"

namespace gradgraph {
namespace {

/// "neg('x')", or "'x'" for a value that was there before the rewrite.
std::string describe(const Output& value, bool is_new) {
  if (!is_new) return fmt::format("'{}'", value.name());
  std::string inputs;
  for (const Output& input : value.node().inputs())
    inputs += fmt::format("{}'{}'", inputs.empty() ? "" : ", ", input.name());
  return fmt::format("{}({})", value.node().op().name, inputs);
}

}  // namespace

NodeSweep::NodeSweep(Graph& graph, const PassContext& context, RewriteLog& log)
    : graph_(graph), context_(context), log_(log) {}

void NodeSweep::add(std::string_view name, std::unique_ptr<NodePass> pass) {
  passes_.push_back({name, std::move(pass)});
}

void NodeSweep::run() {
  if (passes_.empty()) return;
  replacement_.resize(graph_.nodes().size());
  is_late_.resize(graph_.nodes().size());
  const std::vector<Node*> order = topological_order(graph_, context_.fetches);
  has_updates_ = std::ranges::any_of(
      order, [](const Node* node) { return node->op().traits.updates_variable; });
  may_fail_.resize(graph_.nodes().size());
  // Of equal nodes the first one stays, so that nothing in front has to wait for what comes late.
  for (Node* node : order) visit(*node);
}

Output NodeSweep::current(const Output& value) const {
  const Output& replacement = replacement_[slot(value)];
  return replacement ? replacement : value;
}

void NodeSweep::update_inputs(Node& node, bool is_late) {
  for (int i = 0; i < node.num_inputs(); ++i) {
    const Output& now = replacement_[slot(node.input(i))];
    if (now && !(is_late && now.node().op().traits.stateful)) graph_.set_input(node, i, now);
  }
  for (std::size_t i = 0; i < node.control_inputs().size();) {
    Node& before = *node.control_inputs()[i];
    if (const Output& now = replacement_[slot(before)])
      graph_.replace_control_input(node, before, now.node());
    else
      ++i;
  }
}

bool NodeSweep::find_late(const Node& node) const {
  const auto makes_late = [&](const Node& before) {
    return is_late_[slot(before)] || before.op().traits.updates_variable;
  };
  return has_updates_ &&
         (std::ranges::any_of(node.inputs(), [&](auto& in) { return makes_late(in.node()); }) ||
          std::ranges::any_of(node.control_inputs(), [&](auto* in) { return makes_late(*in); }));
}

bool NodeSweep::needs_what_may_fail(const Node& node) const {
  const auto input_may_fail = [&](const Output& input) { return may_fail_[slot(input)]; };
  const auto before_may_fail = [&](const Node* before) { return may_fail_[slot(*before)]; };
  return may_fail(node) || std::ranges::any_of(node.inputs(), input_may_fail) ||
         std::ranges::any_of(node.control_inputs(), before_may_fail);
}

void NodeSweep::visit(Node& node) {
  const bool late = is_late_[slot(node)] = find_late(node);
  update_inputs(node, late);
  may_fail_[slot(node)] = needs_what_may_fail(node);
  if (late || node.num_outputs() != 1 || !is_transparent(node)) return;
  NodeRewrite found = find_rewrite(node);
  if (!found.value) return;
  // A rewrite's new nodes are in the order in which they read each other.
  for (Node* fresh : std::exchange(fresh_, {})) visit(*fresh);
  replacement_[slot(node)] = current(found.value);
}

NodeRewrite NodeSweep::find_rewrite(Node& node) {
  for (const NamedPass& named : passes_) {
    if (log_.is_spent()) break;
    Attempt attempt(graph_, context_);
    const NodeRewrite found = named.pass->rewrite(node, *this);
    // What the device cannot run as it is written, it need not run rewritten.
    if (!found.value || (!attempt.is_taken() && context_.takes(node))) {
      fresh_.clear();
      continue;
    }
    attempt.keep();
    log_.enter(named.name);
    log_.admit([&] {
      const bool is_new = !fresh_.empty() && fresh_.back() == &found.value.node();
      return fmt::format("'{}' = {}: {}", node.name(), describe(found.value, is_new), found.rule);
    });
    return found;
  }
  return {};
}

Output NodeSweep::make(const Node& original, const OpDef& op, OutputList inputs,
                       Attributes attributes) {
  Node& node = graph_.add_in_place_of(original, op, inputs, std::move(attributes));
  replacement_.resize(graph_.nodes().size());
  is_late_.resize(graph_.nodes().size());
  may_fail_.resize(graph_.nodes().size());
  fresh_.push_back(&node);
  return node.output();
}

Output NodeSweep::make(const Node& original, std::string_view op, OutputList inputs,
                       Attributes attributes) {
  return make(original, op_registry().at(op), inputs, std::move(attributes));
}

Output NodeSweep::constant(const Node& original, Tensor value) {
  return make(original, "constant", {}, {{"value", std::move(value)}});
}

Output NodeSweep::reshaped(const Node& original, Output value, const Shape& shape) {
  if (value.shape() == shape) return value;
  const Output dims = constant(original, Tensor::from(shape.dims(), Shape{shape.rank()}));
  return make(original, "reshape", {value, dims});
}

Output NodeSweep::broadcast(const Node& original, Output value, const Shape& shape) {
  if (value.shape() == shape) return value;
  const Output dims = constant(original, Tensor::from(shape.dims(), Shape{shape.rank()}));
  return make(original, "broadcast_to", {value, dims});
}

}  // namespace gradgraph
