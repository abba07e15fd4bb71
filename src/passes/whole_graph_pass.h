#pragma once

#include <vector>

#include "graph/slot.h"
#include "passes/pass_list.h"
#include "passes/topology.h"

namespace gradgraph {

/// What a pass that looks at a graph as a whole works with. The topology is that of the graph as
/// the pass found it.
class WholeGraphPass {
 public:
  WholeGraphPass(Graph& graph, const PassContext& context, RewriteLog& log)
      : graph_(graph),
        context_(context),
        log_(log),
        topology_(graph, context.fetches),
        late_(find_late_nodes(graph, topology_)) {}

 protected:
  /// Whether the node depends on an update (find_late_nodes).
  bool is_late(const Node& node) const { return late_[slot(node)]; }

  Graph& graph_;
  const PassContext& context_;
  RewriteLog& log_;
  const Topology topology_;

 private:
  std::vector<bool> late_;  ///< by node id
};

}  // namespace gradgraph
