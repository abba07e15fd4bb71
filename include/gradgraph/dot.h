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
  /// A picture of more nodes than this is folded: what repeats, such as the steps of a loop or
  /// blocks of one kind, is drawn once with its number ("x 20"), the gradient of a box is one
  /// box, and the update of a variable a line in the variable's.
  int fold_above = 40;
  /// How many levels of scopes are opened in a folded picture; a scope below is one box. -1 opens
  /// as many as a screen can show; any other number folds the picture, whatever its size.
  int depth = -1;
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
void write_dot(const Graph& graph, std::ostream& stream, const DotOptions& options = {},
               SourceLocation where = SourceLocation::current());
/// The same into a file, which is either complete or as it was before. Throws DataError.
void write_dot(const Graph& graph, const std::string& path, const DotOptions& options = {},
               SourceLocation where = SourceLocation::current());

}  // namespace gradgraph
