#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "gradgraph/op.h"

namespace gradgraph {

/// Calls `visit` with each subgraph that the node runs, in the order of its attributes.
template <class Visit>
void for_each_subgraph(const Node& node, const Visit& visit) {
  if (!node.op().traits.runs_subgraphs) return;
  for (const auto& [name, value] : node.attributes())
    if (const auto* subgraph = std::get_if<std::shared_ptr<const Subgraph>>(&value))
      visit(**subgraph);
}

/// The graph that parameters and results are of.
inline Graph& graph_of(const Subgraph& subgraph) { return subgraph.results.front().graph(); }

/// The input of `node` that parameter i of one of its subgraphs stands for.
inline int input_of_parameter(const Node& node, const Subgraph& subgraph, std::size_t i) {
  return node.num_inputs() - static_cast<int>(subgraph.parameters.size() - i);
}

/// What the results need, up to the parameters, in the order in which it was made.
std::vector<Node*> nodes_of(const Subgraph& subgraph);

/// Adds a node that computes `original` again, under the context's region: the gradient of what
/// holds it needs its value. Random ops draw the same.
Node& compute_again(Node& original, OutputList inputs, std::vector<Node*> control_inputs);

}  // namespace gradgraph
