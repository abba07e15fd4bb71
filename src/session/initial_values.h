#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "gradgraph/graph.h"

namespace gradgraph {

/// The first values of some variables, as a graph of their own: each variable that has no value
/// yet is its initial value in there. So one run computes them all.
struct InitialValues {
  std::unique_ptr<Graph> graph;
  std::vector<Node*> variables;  ///< of the user's graph
  std::vector<Output> values;    ///< of `graph`, one for each variable
};

/// What gives `variables`, and those whose values that takes, a value where `has_value` says that
/// they have none. Time and memory are linear, of any depth. Throws RunError for a variable
/// without an initial value, for variables that need each other's, and for an initial value that
/// an update gives.
InitialValues find_initial_values(const std::vector<Node*>& variables,
                                  const std::function<bool(const Node&)>& has_value,
                                  SourceLocation where);

}  // namespace gradgraph
