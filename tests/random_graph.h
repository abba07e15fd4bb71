#pragma once

#include <vector>

#include "gradgraph/gradgraph.h"

namespace gradgraph::tests {

/// What a random graph holds besides ordinary floats.
struct RandomGraphOptions {
  bool specials = false;   ///< infinities, NaN, denormal numbers and the ends of integers' ranges
  bool variables = false;  ///< and updates of them
  bool images = false;     ///< of either layout: convolutions, pools and what stands between them
  bool integers = false;   ///< and booleans, on their way from floats and back to them
};

/// A graph of a few ops drawn at random. The same seed and options give the same graph.
struct RandomGraph {
  explicit RandomGraph(unsigned seed, RandomGraphOptions options = {});

  /// In each step what is fetched, then all variables.
  std::vector<Tensor> run(Session& session, int steps);

  Graph graph;
  Feeds feeds;
  std::vector<Output> fetches;
  /// By which results may differ whose sums are added otherwise, where numbers are ordinary.
  double tolerance = 0;
};

}  // namespace gradgraph::tests
