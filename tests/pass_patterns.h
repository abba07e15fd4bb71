#pragma once

#include <functional>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "passes/rewriting/patterns.h"

/// A small graph for everything that passes look for.
namespace gradgraph::tests {

struct PassPattern {
  std::string pass;  ///< that finds it
  std::string name;
  /// Makes the graph, all inputs placeholders of known shape, and returns what is fetched.
  std::function<std::vector<Output>(Graph&)> build;
};

const std::vector<PassPattern>& pass_patterns();

/// What to write a rule of simplify with.
struct RuleChoice {
  DType dtype = float32;
  Shape shape = {2, 3};           ///< of the placeholders that small letters become
  std::int64_t axis = 0;          ///< of ops that have one
  Tensor number;                  ///< in place of the rule's own numbers of its dtype, or empty
  std::vector<Tensor> constants;  ///< for capital letters
};

/// The pattern of a rule as a graph. Throws BuildError where it is none for this dtype.
Output write_rule(Graph& graph, const Expression& pattern, const RuleChoice& choice);

}  // namespace gradgraph::tests
