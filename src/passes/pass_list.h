#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "gradgraph/graph.h"

namespace gradgraph {

/// What passes get to know beside the graph.
struct PassContext {
  /// What the run is for: rewrites keep these nodes and all that they need.
  std::vector<Node*> fetches;
  /// True where an elementwise node can be part of a fused one.
  std::function<bool(const Node&)> can_fuse;
};

/// A rewrite of a session's own copy, all shapes known. Results stay the same to rounding.
struct Pass {
  std::string_view name;
  /// Returns a line for each rewrite.
  std::vector<std::string> (*run)(Graph& graph, const PassContext& context);
};

/// In the order in which they run.
const std::vector<Pass>& pass_list();

std::vector<std::string> assign_layout(Graph& graph, const PassContext& context);
std::vector<std::string> fuse_pooling(Graph& graph, const PassContext& context);
std::vector<std::string> fuse_elementwise(Graph& graph, const PassContext& context);
std::vector<std::string> fuse_epilogue(Graph& graph, const PassContext& context);

/// Runs all passes but those named in `disabled`; returns "pass: rewrite" lines. Throws RunError
/// for a name in `disabled` that is no pass.
std::vector<std::string> run_passes(Graph& graph, const PassContext& context,
                                    const std::vector<std::string>& disabled);

}  // namespace gradgraph
