#pragma once

#include <vector>

#include "gradgraph/graph.h"
#include "placement/placement.h"

namespace gradgraph {

/// The nodes that `fetches` need in the order in which they run, with step semantics of
/// variables (see make_plan). May add snapshot nodes to graph and placement.
std::vector<Node*> order_nodes(Graph& graph, Placement& placement,
                               const std::vector<Node*>& fetches);

/// For an update or an alias of one the variable behind it; for a variable itself; else null.
Node* variable_behind(const Output& output);

}  // namespace gradgraph
