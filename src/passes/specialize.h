#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
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
  /// The same of each subgraph that a node runs, in the order of its attributes: with a feed for
  /// each parameter and a fetch for each result, null for those that nobody reads. Made when the
  /// graph around them is in its final form.
  std::unordered_map<const Node*, std::vector<SpecializedGraph>> subgraphs;
};

/// For each of `fed`: does the shape of anything that `fetches` need depend on its value?
std::vector<bool> find_static_feeds(const std::vector<Output>& fed,
                                    const std::vector<Output>& fetches);

/// Copies what `fetches` need, with the feeds' shapes in place of unknown ones. Nodes of constant
/// inputs become constants, a branch that is chosen by a constant part of the graph. Throws
/// RunError when a placeholder is needed but not fed, or a shape depends on values that are not
/// known before the run.
SpecializedGraph specialize(const Graph& graph, const std::vector<FedValue>& feeds,
                            const std::vector<Output>& fetches, const Evaluator& evaluate);

/// What is known of a subgraph's parameters, those that are needed, in a copy of the node that
/// runs it: `inputs` are the copy's.
std::vector<FedValue> fed_values(const Subgraph& subgraph, std::span<const Output> inputs);

/// `evaluate`, which must outlive the result, for nodes of a branch: what may fail waits until
/// the branch is chosen.
Evaluator without_failures(const Evaluator& evaluate);

/// Drops what the fetches do not need any more, after rewrites. The rest keeps its order.
void prune(SpecializedGraph& specialized);

}  // namespace gradgraph
