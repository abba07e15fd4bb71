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
  /// Seconds by node (from RunStats): colours nodes by their share of the time.
  std::unordered_map<const Node*, double> node_seconds;
  /// Device by node: colours nodes by device; nodes not in it use the device they asked for.
  std::unordered_map<const Node*, std::string> node_devices;
  std::string title;
};

/// Writes the graph in Graphviz' DOT language: a cluster per name scope; forward, gradient and
/// update nodes told apart; nodes with name, op, dtype and shape.
void write_dot(const Graph& graph, std::ostream& stream, const DotOptions& options = {});
/// The same into a file, which is either complete or not there. Throws DataError.
void write_dot(const Graph& graph, const std::string& path, const DotOptions& options = {});

}  // namespace gradgraph
