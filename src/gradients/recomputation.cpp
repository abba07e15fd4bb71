#include "gradients/recomputation.h"

#include <vector>

#include "graph/subgraph.h"

namespace gradgraph {

bool Recomputation::is_computed_again(const Node& node, int scope) const {
  return node.recompute_scope() == scope && !node.op().traits.stateful && node.num_inputs() > 0 &&
         !kept_.contains(&node);
}

Output Recomputation::again(const Output& value, int scope) {
  if (!is_computed_again(value.node(), scope)) return value;
  // Depth first with a stack of its own: scopes may be deep.
  std::vector<Node*> stack{&value.node()};
  while (!stack.empty()) {
    Node& node = *stack.back();
    const std::size_t before = stack.size();
    for (const Output& input : node.inputs())
      if (is_computed_again(input.node(), scope) && !copies_.contains(&input.node()))
        stack.push_back(&input.node());
    if (stack.size() > before) continue;
    stack.pop_back();
    if (!copies_.contains(&node)) copies_.emplace(&node, &copy(node));
  }
  return {*copies_.at(&value.node()), value.index()};
}

Node& Recomputation::copy(Node& original) {
  std::vector<Output> inputs;
  for (const Output& input : original.inputs()) {
    const auto again = copies_.find(&input.node());
    inputs.push_back(again == copies_.end() ? input : Output(*again->second, input.index()));
  }
  return compute_again(original, inputs,
                       {original.control_inputs().begin(), original.control_inputs().end()});
}

}  // namespace gradgraph
