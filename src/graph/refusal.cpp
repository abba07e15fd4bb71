#include "graph/refusal.h"

#include "core/text.h"
#include "gradgraph/op.h"

namespace gradgraph {

std::string input_types(std::span<const Output> inputs) {
  std::string types;
  for (const Output& input : inputs) {
    if (!types.empty()) types += " x ";
    types += input ? fmt::format("{}{}", input.dtype(), input.shape()) : "(empty)";
  }
  return types;
}

const Node& blamed(const Node& node) {
  const Node* user = node.origin() ? node.origin() : &node;
  for (const Node* forward = user; forward; forward = forward->phase() == Phase::gradient
                                                          ? forward->differentiates()
                                                          : forward->recomputes())
    if (forward->op().traits.may_fail) user = forward;
  return *user;
}

std::string refusal(const Node& node, std::string_view message) {
  const Node& user = blamed(node);
  const std::string types = input_types(node.inputs());
  return node_message(
      user.op().name, user.name(),
      types.empty() ? std::string(message) : fmt::format("{}: {}", message, types));
}

}  // namespace gradgraph
