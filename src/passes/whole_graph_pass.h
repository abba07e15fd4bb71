#pragma once

#include <cstddef>
#include <unordered_map>
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
  /// Whether the node depends on an update (find_late_nodes). No node does that the pass makes.
  bool is_late(const Node& node) const { return slot(node) < late_.size() && late_[slot(node)]; }

  /// Lets everybody who reads output 0 of `node` read `value`, and who awaits it await that;
  /// nodes that the pass has made, on `update_made`: they may read what is replaced after them.
  void replace(const Node& node, const Output& value) {
    replaced_[&node] = value;
    replace_readers(graph_, topology_, node, value);
  }
  void update_made() {
    for (std::size_t id = late_.size(); id < graph_.nodes().size(); ++id) {
      Node& node = graph_.nodes()[id];
      for (int i = 0; i < node.num_inputs(); ++i)
        if (const auto found = replaced_.find(&node.input(i).node()); found != replaced_.end())
          graph_.set_input(node, i, found->second);
    }
  }

  Graph& graph_;
  const PassContext& context_;
  RewriteLog& log_;
  const Topology topology_;

 private:
  std::vector<bool> late_;  ///< by node id
  std::unordered_map<const Node*, Output> replaced_;
};

}  // namespace gradgraph
