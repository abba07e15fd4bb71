#pragma once

#include <iosfwd>
#include <string>
#include <unordered_map>
#include <vector>

#include "gradgraph/graph.h"

namespace gradgraph GRADGRAPH_API {

struct DotOptions {
  /// Only what these need; empty means the whole graph.
  std::vector<Output> fetches;
  bool shapes_on_edges = true;
  /// Small constants are written into their readers instead of being nodes.
  bool inline_constants = true;
  /// Draws what computes the variables' initial values, too.
  bool initial_values = false;
  /// In a picture of more nodes than this, the gradient of a node is one box that lists its
  /// nodes, and so is the update of a variable.
  int fold_above = 60;
  /// Seconds by node (from RunStats): colours nodes by their share of the time.
  std::unordered_map<const Node*, double> node_seconds;
  /// Device by node: colours nodes by device; nodes not in it use the device they asked for.
  std::unordered_map<const Node*, std::string> node_devices;
  std::string title;
};

/// Writes the graph in Graphviz' DOT language: a cluster per name scope; forward, gradient and
/// update nodes told apart; nodes with name, op, dtype and shape. Forward runs down the picture,
/// and each gradient stands beside the node that it differentiates. Throws BuildError for a fetch
/// of another graph.
void write_dot(const Graph& graph, std::ostream& stream, const DotOptions& options = {});
/// The same into a file, which is either complete or as it was before. Throws DataError.
void write_dot(const Graph& graph, const std::string& path, const DotOptions& options = {});

}  // namespace gradgraph
