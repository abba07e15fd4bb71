#pragma once

#include <unordered_map>
#include <vector>

#include "gradgraph/graph.h"

namespace gradgraph {

/// A copy of a graph in which all that computes a floating value is off by a few roundings, at
/// random, each element by itself. How far results then move shows how much of them rounding may
/// change: Monte Carlo arithmetic (Parker, 1997).
class NoisyCopy {
 public:
  /// Copies of another `number` have other noise.
  NoisyCopy(const Graph& original, int number);

  /// The nodes that stand for these, before noise.
  std::vector<Output> copies_of(const std::vector<Output>& values) const;
  /// What readers of these see.
  std::vector<Output> results_of(const std::vector<Output>& values) const;

  Graph graph;

 private:
  void copy(const Node& node);
  Output result_of(const Output& value) const;

  std::vector<Node*> copies_;  ///< by node id
  std::unordered_map<const Node*, std::vector<Output>> noisy_;
};

}  // namespace gradgraph
