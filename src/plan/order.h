#pragma once

#include <cstddef>
#include <vector>

#include "gradgraph/graph.h"
#include "placement/placement.h"

namespace gradgraph {

/// The nodes of a run in their order. From `num_early` on they are fetches that hand over what
/// devices beside the host compute: they come after all work.
struct Order {
  std::vector<Node*> nodes;
  std::size_t num_early = 0;
};

/// The nodes that `fetches` need in the order in which they run, with step semantics of
/// variables (see make_plan). May add snapshot nodes to graph and placement. `is_host` is that of
/// PlanOptions.
Order order_nodes(Graph& graph, Placement& placement, const std::vector<Node*>& fetches,
                  const std::vector<bool>& is_host);

/// Whether the node hands a value to the user.
bool is_fetch(const Node& node);

/// The variable whose memory `output` is: of a variable itself or of an update; else null.
Node* variable_behind(Output output);

/// How many variables the node updates: its first inputs.
int num_updates(const Node& node);

}  // namespace gradgraph
