#include "session/initial_values.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "core/text.h"
#include "gradgraph/op.h"

namespace gradgraph {
namespace {

std::string describe(const Node& variable) {
  return fmt::format("'{}' ({})", variable.name(), to_string(variable.where()));
}

class InitialValueCopier {
 public:
  InitialValueCopier(const std::function<bool(const Node&)>& has_value, SourceLocation where)
      : has_value_(has_value), where_(where) {
    result_.graph = std::make_unique<Graph>();
  }

  InitialValues run(const std::vector<Node*>& variables) {
    for (Node* variable : variables) {
      if (has_value_(*variable)) continue;
      enter(*variable);
      while (!stack_.empty()) advance();
    }
    return std::move(result_);
  }

 private:
  /// A node that is being copied, and how much of what it needs has been.
  struct Open {
    Node* node;
    int next = 0;
  };

  bool is_replaced(const Node& node) const {
    return node.op().name == "variable" && !has_value_(node);
  }

  /// Begins to copy the node, unless it has been copied.
  void enter(Node& node) {
    const auto [known, is_new] = copies_.try_emplace(&node);
    if (is_new)
      stack_.push_back({&node});
    else if (!known->second)
      fail_circle(node);
  }

  /// Depth first with a stack of its own: variables may be given one by the other.
  void advance() {
    Open& open = stack_.back();
    Node& node = *open.node;
    if (is_replaced(node)) {
      const Output initial = initial_value(node);
      if (open.next++ == 0) return enter(initial.node());
      copies_[&node] = copy_of(initial);
      result_.variables.push_back(&node);
      result_.values.push_back(copies_[&node]);
    } else if (const auto known =
                   node.num_outputs() == 1 ? known_vector(node.output()) : std::nullopt;
               known && known->fully_known()) {
      // A shape, for which nobody's value is needed.
      copies_[&node] =
          result_.graph
              ->add_in_place_of(node, op_registry().at("constant"), {},
                                {{"value", Tensor::from(known->dims(), Shape{known->rank()})}})
              .output();
    } else {
      if (node.op().traits.updates_variable) fail_update(node);
      if (open.next < node.num_inputs()) return enter(node.input(open.next++).node());
      inputs_.clear();
      for (const Output& input : node.inputs()) inputs_.push_back(copy_of(input));
      copies_[&node] = result_.graph->add_copy(node, inputs_).output();
    }
    stack_.pop_back();
  }

  Output copy_of(const Output& value) {
    const Output copy = copies_.at(&value.node());
    return is_replaced(value.node()) ? copy : Output(copy.node(), value.index());
  }

  Output initial_value(Node& variable) const {
    const Output initial = variable.graph().initial_value(variable);
    if (!initial)
      throw RunError(
          fmt::format("variable {} has no value: it has no initial one and none was set",
                      describe(variable)),
          where_);
    return initial;
  }

  /// Whatever is on the stack from `node` on needs the next, and the last one `node`.
  [[noreturn]] void fail_circle(const Node& node) const {
    constexpr std::size_t kShown = 8;
    std::vector<const Node*> circle;
    const auto begin =
        std::ranges::find(stack_, &node, [](const Open& open) { return open.node; });
    for (auto open = begin; open != stack_.end(); ++open)
      if (is_replaced(*open->node)) circle.push_back(open->node);
    std::string needs;
    for (std::size_t i = 1; i < std::min(circle.size(), kShown); ++i)
      needs += describe(*circle[i]) + ", which needs that of ";
    if (circle.size() > kShown)
      needs += fmt::format("{} more, of which the last needs that of ", circle.size() - kShown);
    throw RunError(
        fmt::format("the initial value of variable {} needs that of {}'{}' itself; give "
                    "one of them a value by Session::set_value",
                    describe(*circle.front()), needs, circle.front()->name()),
        where_);
  }

  [[noreturn]] void fail_update(const Node& update) const {
    const auto variable =
        std::ranges::find_if(stack_.rbegin(), stack_.rend(),
                             [&](const Open& open) { return is_replaced(*open.node); });
    throw RunError(
        node_message(
            update.op().name, update.name(),
            fmt::format("is an update, so the initial value of variable {} cannot read it",
                        describe(*variable->node))),
        update.where());
  }

  const std::function<bool(const Node&)>& has_value_;
  SourceLocation where_;
  InitialValues result_;
  /// Output 0 of each copy, or what stands for a variable; empty while the node is on the stack.
  std::unordered_map<const Node*, Output> copies_;
  std::vector<Open> stack_;
  std::vector<Output> inputs_;  // of the node that is copied; kept for their memory
};

}  // namespace

InitialValues find_initial_values(const std::vector<Node*>& variables,
                                  const std::function<bool(const Node&)>& has_value,
                                  SourceLocation where) {
  return InitialValueCopier(has_value, where).run(variables);
}

}  // namespace gradgraph
