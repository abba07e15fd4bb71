#pragma once

#include <optional>
#include <span>
#include <vector>

#include "graph/program.h"

namespace gradgraph::cuda {

/// A program that does the same with each of several sets of values, as updates of many variables
/// do: the program of one set, whose inputs are a set's own, then those that all sets share.
struct AlikeSets {
  ElementwiseProgram program;
  std::vector<Shape> shapes;  ///< of its inputs
  /// By set: which of the whole program's inputs and outputs are its own.
  std::vector<std::vector<int>> inputs, outputs;
  std::vector<int> shared;  ///< which of the whole program's inputs all sets read
};

/// `shapes` are those of the inputs, of which sets may share single elements. Nothing where there
/// are no two sets, or these differ.
std::optional<AlikeSets> find_alike_sets(const ElementwiseProgram& program,
                                         std::span<const Shape> shapes);

}  // namespace gradgraph::cuda
