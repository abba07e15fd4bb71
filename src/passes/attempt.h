#pragma once

#include "passes/pass_list.h"

namespace gradgraph {

/// The new nodes of one rewrite, which are made before it is known whether it can be done: those
/// that are made while this lives go again, unless `succeeds` was true.
class Attempt {
 public:
  Attempt(Graph& graph, const PassContext& context)
      : graph_(graph), context_(context), transaction_(graph), first_(graph.nodes().size()) {}

  /// Whether the devices that the new nodes are meant for take all of them. A kernel may decline
  /// some nodes of its op, a fused program for example, so the nodes themselves are asked about.
  bool is_taken() const {
    for (std::size_t id = first_; id < graph_.nodes().size(); ++id)
      if (!context_.takes(graph_.nodes()[id])) return false;
    return true;
  }
  /// Whether the rewrite may be done; it is then, and the log has its line.
  template <class Line>
  bool succeeds(RewriteLog& log, const Line& line) {
    if (!is_taken() || !log.admit(line)) return false;
    keep();
    return true;
  }
  void keep() { transaction_.commit(); }

 private:
  Graph& graph_;
  const PassContext& context_;
  BuildTransaction transaction_;
  std::size_t first_;
};

}  // namespace gradgraph
