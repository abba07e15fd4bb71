#include "gradients/variables.h"

#include <fnmatch.h>

#include <algorithm>
#include <unordered_set>

#include "core/text.h"
#include "gradgraph/op.h"
#include "gradgraph/ops.h"

namespace gradgraph {

bool fits(std::string_view pattern, const Output& variable) {
  // No folders here: "*" stands for slashes too.
  return fnmatch(std::string(pattern).c_str(), variable.node().name().c_str(), 0) == 0;
}

bool may_train(const Output& op) {
  return op.node().num_outputs() == 0 || op.node().op().traits.updates_variable;
}

namespace {

std::vector<Output> fitting(std::vector<Output> variables, std::string_view pattern,
                            SourceLocation where) {
  if (pattern == "*") return variables;
  std::string first = variables.empty() ? "" : variables.front().name();
  std::erase_if(variables, [&](const Output& variable) { return !fits(pattern, variable); });
  if (variables.empty())
    throw BuildError(first.empty() ? fmt::format("'{}' fits no variable: there are none", pattern)
                                   : fmt::format("'{}' fits none of the variables ('{}', ...)",
                                                 pattern, first),
                     where);
  return variables;
}

std::vector<Output> all_variables(Graph& graph) {
  std::vector<Output> result;
  for (Node& node : graph.nodes())
    if (node.op().name == "variable") result.push_back(node.output());
  return result;
}

}  // namespace

std::vector<Output> variables(Graph& graph, std::string_view pattern, SourceLocation where) {
  return fitting(all_variables(graph), pattern, where);
}

std::vector<Output> trainable_variables(Graph& graph, std::string_view pattern,
                                        SourceLocation where) {
  std::unordered_set<const Node*> tracked;
  for (const Layer& layer : graph.layers())
    for (const Output& variable : layer.tracked) tracked.insert(&variable.node());
  std::vector<Output> result = all_variables(graph);
  // Optimisers make theirs while they build updates.
  std::erase_if(result, [&](const Output& variable) {
    return !is_floating(variable.dtype()) || variable.node().phase() != Phase::forward ||
           tracked.contains(&variable.node());
  });
  return fitting(std::move(result), pattern, where);
}

}  // namespace gradgraph
