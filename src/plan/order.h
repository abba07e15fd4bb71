#pragma once

#include <vector>

#include "gradgraph/graph.h"
#include "placement/placement.h"

namespace gradgraph {

/// The nodes that `fetches` need in the order in which they run, with step semantics of
/// variables (see make_plan). May add snapshot nodes to graph and placement.
std::vector<Node*> order_nodes(Graph& graph, Placement& placement,
                               const std::vector<Node*>& fetches);

/// The variable whose memory `output` is: of a variable itself or of an update; else null.
Node* variable_behind(Output output);

/// How many variables the node updates: its first inputs.
int num_updates(const Node& node);

}  // namespace gradgraph
