#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "core/index.h"
#include "ops/builders.h"
#include "passes/rewrites.h"
#include "passes/rewriting/known_op.h"

/// Nodes that only give a value another shape or order: they go where they change nothing, where
/// two of them make one, and where their reader can do the same on the way.
namespace gradgraph {
namespace {

using Ints = std::vector<std::int64_t>;

const Ints& axes_of(const Node& node, std::string_view name) {
  return node.attributes().get<Ints>(name);
}

/// The node behind `value` when it is of `op`.
const Node* behind(const Output& value, const KnownOp& op) {
  const Node& node = value.node();
  return op.matches(node) ? &node : nullptr;
}

/// True when the axes that are not 1 keep their order.
bool keeps_order(const Shape& shape, const Ints& permutation) {
  std::int64_t last = -1;
  for (const std::int64_t axis : permutation) {
    if (shape[static_cast<int>(axis)] == 1) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

/// True for a permutation that swaps the last two axes and nothing else.
bool swaps_matrix(const Ints& permutation) {
  const std::size_t rank = permutation.size();
  if (rank < 2) return false;
  Ints swapped(rank);
  std::iota(swapped.begin(), swapped.end(), 0);
  std::swap(swapped[rank - 1], swapped[rank - 2]);
  return permutation == swapped;
}

class EliminateMoves : public NodePass {
 public:
  NodeRewrite rewrite(Node& node, NodeSweep& sweep) override {
    const Traits& traits = node.op().traits;
    if (traits.alias) return view(node, sweep);
    if (traits.elementwise && !traits.fused) return broadcast_operands(node, sweep);
    const auto found = rules_.find(&node.op());
    if (found == rules_.end() || !found->second.op.matches(node)) return {};
    return (this->*found->second.rewrite)(node, sweep);
  }

 private:
  /// What becomes of the nodes of an op.
  struct MoveRule {
    KnownOp op;
    NodeRewrite (EliminateMoves::*rewrite)(Node&, NodeSweep&);
  };

  NodeRewrite view(Node& node, NodeSweep& sweep) {
    const Output x = node.input(0);
    if (x.shape() == node.shape()) return {x, "a view of the same shape"};
    if (!x.node().op().traits.alias || !is_transparent(x.node())) return {};
    const Output from = x.node().input(0);
    return {sweep.reshaped(node, from, node.shape()), "a view of a view"};
  }

  /// What a value is a repetition of, else the value itself.
  Output unrepeated(const Output& value) {
    if (const Node* node = behind(value, broadcast_to_)) return node->input(0);
    if (const Node* node = behind(value, fill_)) return node->input(1);
    return value;
  }

  /// A constant of one number, in many elements.
  bool is_uniform(const Output& value) {
    return value.shape().num_elements() > 1 && matcher_.uniform_value(value);
  }

  /// Elementwise ops broadcast by themselves. When all operands repeat, the result does too.
  NodeRewrite broadcast_operands(Node& node, NodeSweep& sweep) {
    const auto repeats = [&](const Output& operand) {
      return unrepeated(operand) != operand || is_uniform(operand);
    };
    if (std::ranges::none_of(node.inputs(), repeats)) return {};
    // An op that may refuse values must not see more of them than before.
    if (node.op().traits.may_fail && node.shape().num_elements() == 0) return {};
    std::vector<Output> operands;
    for (const Output& operand : node.inputs()) {
      const Output value = unrepeated(operand);
      operands.push_back(is_uniform(value)
                             ? sweep.constant(node, first_element(*constant_value(value)))
                             : value);
    }
    const Output value = sweep.make(node, node.op(), operands, node.attributes());
    return {sweep.broadcast(node, value, node.shape()), "operands that repeat themselves"};
  }

  NodeRewrite transpose(Node& node, NodeSweep& sweep) {
    const Ints& outer = axes_of(node, "permutation");
    const Output x = node.input(0);
    if (keeps_order(x.shape(), outer))
      return {sweep.reshaped(node, x, node.shape()), "a transpose that moves no element"};
    const Node* inner = behind(x, transpose_);
    if (!inner) return {};
    Ints both;
    for (const std::int64_t axis : outer)
      both.push_back(axes_of(*inner, "permutation")[at(axis)]);
    return {sweep.make(node, node.op(), {inner->input(0)}, {{"permutation", std::move(both)}}),
            "a transpose of a transpose"};
  }

  /// Libraries may multiply transposed floats in another order.
  NodeRewrite matmul(Node& node, NodeSweep& sweep) {
    if (sweep.context().exact && is_floating(node.dtype())) return {};
    std::vector<Output> operands(node.inputs().begin(), node.inputs().end());
    Attributes attributes = node.attributes();
    bool changed = false;
    for (const auto& [i, flag] : {std::pair{0, "transpose_a"}, {1, "transpose_b"}}) {
      const Node* moved = behind(operands[at(i)], transpose_);
      if (!moved || !swaps_matrix(axes_of(*moved, "permutation"))) continue;
      operands[at(i)] = moved->input(0);
      attributes.set(flag, !attributes.get<bool>(flag));
      changed = true;
    }
    if (!changed) return {};
    return {sweep.make(node, node.op(), operands, std::move(attributes)),
            "the product transposes its operands"};
  }

  NodeRewrite broadcast_to(Node& node, NodeSweep& sweep) {
    const Output x = node.input(0), from = unrepeated(x);
    if (x.shape() == node.shape()) return {x, "a broadcast to the same shape"};
    if (x.shape().num_elements() == node.shape().num_elements())
      return {sweep.reshaped(node, x, node.shape()), "a broadcast that repeats nothing"};
    if (from == x) return {};
    return {sweep.broadcast(node, from, node.shape()), "a broadcast of a broadcast"};
  }

  NodeRewrite sum_to(Node& node, NodeSweep& sweep) {
    const Output x = node.input(0);
    if (x.shape().num_elements() != node.shape().num_elements() ||
        node.shape().num_elements() == 0)
      return {};
    return {sweep.reshaped(node, x, node.shape()), "a sum of single elements"};
  }

  /// Two reductions are one of integers alone: of floats another order may have other sums, and
  /// of two zeros another largest.
  NodeRewrite reduction(Node& node, NodeSweep& sweep) {
    const Output x = node.input(0);
    const Ints& axes = axes_of(node, "axes");
    const bool keeps_dims = node.attributes().get<bool>("keep_dims");
    if (std::ranges::all_of(axes,
                            [&](auto axis) { return x.shape()[static_cast<int>(axis)] == 1; }))
      return {sweep.reshaped(node, x, node.shape()), "a reduction of single elements"};
    const Node* inner = is_floating(node.dtype()) ? nullptr : behind(x, rules_.at(&node.op()).op);
    if (!inner || inner->attributes().get<bool>("keep_dims") != keeps_dims) return {};
    // The axes of the outer one, as those of the inner one's operand.
    const Ints& first = axes_of(*inner, "axes");
    Ints kept(at(inner->input(0).rank()));
    std::iota(kept.begin(), kept.end(), 0);
    if (!keeps_dims)
      std::erase_if(kept, [&](auto axis) { return std::ranges::count(first, axis) > 0; });
    Ints all = first;
    for (const std::int64_t axis : axes)
      if (std::ranges::count(first, kept[at(axis)]) == 0) all.push_back(kept[at(axis)]);
    std::ranges::sort(all);
    return {sweep.make(node, node.op(), {inner->input(0)},
                       {{"axes", std::move(all)}, {"keep_dims", keeps_dims}}),
            "a reduction of a reduction"};
  }

  /// Parts that are the whole, paddings of nothing, a single repetition.
  NodeRewrite whole(Node& node, NodeSweep&) {
    if (node.input(0).shape() != node.shape()) return {};
    return {node.input(0), "all of its operand and nothing else"};
  }

  /// One of several outputs is not seen here, so these forward a single value.
  NodeRewrite forward(Node& node, NodeSweep& sweep) {
    const auto can_drop = [&](const Output& value) { return sweep.can_drop(value); };
    if (!std::ranges::all_of(node.inputs().subspan(1), can_drop)) return {};
    return {node.input(0), "its only value"};
  }

  static std::unordered_map<const OpDef*, MoveRule> by_op(std::initializer_list<MoveRule> list) {
    std::unordered_map<const OpDef*, MoveRule> rules;
    for (const MoveRule& rule : list) rules.emplace(&rule.op.op(), rule);
    return rules;
  }

  const KnownOp broadcast_to_{"broadcast_to"}, fill_{"fill"};
  const KnownOp transpose_{"transpose", {"permutation"}};
  const std::unordered_map<const OpDef*, MoveRule> rules_ = by_op({
      {transpose_, &EliminateMoves::transpose},
      {KnownOp{"matmul", {"transpose_a", "transpose_b"}}, &EliminateMoves::matmul},
      {broadcast_to_, &EliminateMoves::broadcast_to},
      {KnownOp{"sum_to"}, &EliminateMoves::sum_to},
      {KnownOp{"sum", {"axes", "keep_dims"}}, &EliminateMoves::reduction},
      {KnownOp{"mean", {"axes", "keep_dims"}}, &EliminateMoves::reduction},
      {KnownOp{"prod", {"axes", "keep_dims"}}, &EliminateMoves::reduction},
      {KnownOp{"max", {"axes", "keep_dims"}}, &EliminateMoves::reduction},
      {KnownOp{"min", {"axes", "keep_dims"}}, &EliminateMoves::reduction},
      {KnownOp{"slice"}, &EliminateMoves::whole},
      {KnownOp{"pad", {"value", "integer"}}, &EliminateMoves::whole},
      {KnownOp{"tile"}, &EliminateMoves::whole},
      {KnownOp{"concat", {"axis"}}, &EliminateMoves::whole},
      {KnownOp{"split", {"sizes", "axis"}}, &EliminateMoves::forward},
      {KnownOp{"custom_gradient", {"outputs"}}, &EliminateMoves::forward},
  });
  Matcher matcher_;
};

}  // namespace

std::unique_ptr<NodePass> make_eliminate_moves() { return std::make_unique<EliminateMoves>(); }

}  // namespace gradgraph
