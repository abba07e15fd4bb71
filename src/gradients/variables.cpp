#include <algorithm>
#include <unordered_set>
#include <vector>

#include "gradgraph/op.h"
#include "gradgraph/ops.h"

namespace gradgraph {

std::vector<Output> variables(Graph& graph) {
  std::vector<Output> result;
  for (Node& node : graph.nodes())
    if (node.op().name == "variable") result.push_back(node.output());
  return result;
}

std::vector<Output> trainable_variables(Graph& graph) {
  std::unordered_set<const Node*> tracked;
  for (const Layer& layer : graph.layers())
    for (const Output& variable : layer.tracked) tracked.insert(&variable.node());
  std::vector<Output> result = variables(graph);
  // Optimisers make theirs while they build updates.
  std::erase_if(result, [&](const Output& variable) {
    return !is_floating(variable.dtype()) || variable.node().phase() != Phase::forward ||
           tracked.contains(&variable.node());
  });
  return result;
}

}  // namespace gradgraph
