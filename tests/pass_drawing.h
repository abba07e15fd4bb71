#pragma once

#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

/// Graphs as text, before and after passes.
namespace gradgraph::tests {

/// The session's own copy of what `fetches` need, after the passes named and no others, a line
/// per node in the order in which they run:
///
///     mul = mul(x, 2)
///     transpose = transpose(mul) permutation=(1,0)
///     fetch(transpose)
///
/// Placeholders and variables are not listed; constants stand where they are used. A node that
/// shares its name with an earlier one gets a prime. Unknown dimensions are fed as 4.
std::string draw(Graph& graph, const std::vector<Output>& fetches,
                 const std::vector<std::string>& passes = {});

/// The lines that the passes named write.
std::string rewrites(Graph& graph, const std::vector<Output>& fetches,
                     const std::vector<std::string>& passes);

/// All passes but these.
std::vector<std::string> all_passes_but(const std::vector<std::string>& passes);

}  // namespace gradgraph::tests
