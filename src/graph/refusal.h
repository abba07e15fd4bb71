#pragma once

#include <span>
#include <string>
#include <string_view>

#include "gradgraph/graph.h"

/// What messages say about a node that is there already, in the user's own terms.
namespace gradgraph {

/// "float32[2,3] x (empty)": the types of a node's inputs.
std::string input_types(std::span<const Output> inputs);

/// The user's node to name when `node` fails: of a session's own copy the one that it came from,
/// and of what gradients compute to check or to repeat an op that may fail, that op's.
const Node& blamed(const Node& node);

/// "[gather] 'rows': <message>: float32[2,3] x int64[4]", of the user's node and the shapes of
/// this run.
std::string refusal(const Node& node, std::string_view message);

}  // namespace gradgraph
