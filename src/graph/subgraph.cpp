#include "graph/subgraph.h"

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

namespace gradgraph {

std::vector<Node*> nodes_of(const Subgraph& subgraph) {
  std::set<std::pair<int, int>> parameters;
  for (const Output& parameter : subgraph.parameters)
    parameters.emplace(parameter.node_id(), parameter.index());
  std::vector<Node*> nodes;
  std::unordered_set<const Node*> seen;
  const auto need = [&](Node& node) {
    if (seen.insert(&node).second) nodes.push_back(&node);
  };
  const auto need_value = [&](const Output& value) {
    if (!parameters.contains({value.node_id(), value.index()})) need(value.node());
  };
  for (const Output& result : subgraph.results) need_value(result);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    Node& node = *nodes[i];
    for (const Output& input : node.inputs()) need_value(input);
    for (Node* before : node.control_inputs())
      if (before->region() == node.region()) need(*before);
  }
  std::ranges::sort(nodes, {}, &Node::id);
  return nodes;
}

Node& compute_again(Node& original, OutputList inputs, std::vector<Node*> control_inputs) {
  Graph& graph = original.graph();
  Node& first = original.recomputes() ? *original.recomputes() : original;
  const ContextGuard guard(graph);
  BuildContext& context = graph.context();
  context.fixed_name = "recompute/" + first.name();
  context.device = original.device();
  context.where = original.where();
  context.phase = Phase::recompute;
  context.forward = &first;
  context.control_inputs = std::move(control_inputs);
  Node& node = graph.add(original.op(), inputs, original.attributes(), original.where());
  if (const Graph::Gradient* own = graph.gradient_of(original)) graph.set_gradient(node, *own);
  return node;
}

}  // namespace gradgraph
