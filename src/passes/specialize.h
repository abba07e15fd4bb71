#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "gradgraph/graph.h"

namespace gradgraph {

/// A value that a run gives: what it stands for in the user's graph, and what is known of it.
struct FedValue {
  Output output;
  DType dtype = float32;
  Shape shape;
  /// The value itself, for feeds that shapes depend on.
  Tensor value;
};

/// Computes a node of constant inputs while the graph is rewritten; nullopt when it cannot.
using Evaluator = std::function<std::optional<std::vector<Tensor>>(const Node&)>;

/// Larger results are computed in the run instead of being kept as constants.
inline constexpr std::int64_t kMaxFoldedElements = 16384;

/// Whether constants can take the place of the node: its inputs are constants, and it does
/// nothing but compute from them.
bool is_foldable(const Node& node);

/// A session's own copy of the part of a user's graph that some fetches need, all shapes known.
struct SpecializedGraph {
  std::unique_ptr<Graph> graph;
  /// The placeholder of each feed; null where nothing needs it or its value is a constant now.
  std::vector<Node*> feeds;
  /// The "fetch" node of each fetch; for an op without outputs, its own copy.
  std::vector<Node*> fetches;
  /// The user's variables whose values are read, in the order in which they were made.
  std::vector<const Node*> read_variables;
};

/// For each of `fed`: does the shape of anything that `fetches` need depend on its value?
std::vector<bool> find_static_feeds(const Graph& graph, const std::vector<Output>& fed,
                                    const std::vector<Output>& fetches);

/// Copies what `fetches` need, with the feeds' shapes in place of unknown ones. Nodes of constant
/// inputs become constants. Throws RunError when a placeholder is needed but not fed, or a shape
/// depends on values that are not known before the run.
SpecializedGraph specialize(const Graph& graph, const std::vector<FedValue>& feeds,
                            const std::vector<Output>& fetches, const Evaluator& evaluate);

/// Drops what the fetches do not need any more, after rewrites. The rest keeps its order.
void prune(SpecializedGraph& specialized);

}  // namespace gradgraph
