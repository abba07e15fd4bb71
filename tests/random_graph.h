#pragma once

#include <vector>

#include "gradgraph/gradgraph.h"

namespace gradgraph::tests {

/// A graph of a few ops drawn at random. The same seed gives the same graph.
struct RandomGraph {
  explicit RandomGraph(unsigned seed, bool has_specials = false, bool has_variables = false);

  Graph graph;
  Feeds feeds;
  std::vector<Output> fetches;
  /// By which results may differ whose sums are added otherwise, where numbers are ordinary.
  double tolerance = 0;
};

}  // namespace gradgraph::tests
