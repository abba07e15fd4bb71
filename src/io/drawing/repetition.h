#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "gradgraph/graph.h"

namespace gradgraph {

/// A stretch of a list of nodes that is the same piece of graph several times over: a loop of the
/// user's program, or layers of one kind.
struct Repetition {
  std::size_t begin = 0;   ///< where its first round begins
  std::size_t period = 0;  ///< nodes in a round
  std::size_t count = 0;   ///< rounds
};

/// The repetitions in `nodes`, which are in the order in which they were made; they do not
/// overlap. Rounds have equal ops, types and attributes in the same order, and read the same
/// nodes, nodes at the same place in their own or the previous round, or nodes before the first.
/// Nodes for which `is_ignored` holds may differ in everything but their type: constants.
std::vector<Repetition> find_repetitions(const std::vector<const Node*>& nodes,
                                         const std::function<bool(const Node&)>& is_ignored);

}  // namespace gradgraph
