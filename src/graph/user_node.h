#pragma once

#include "gradgraph/graph.h"

namespace gradgraph {

/// The node of the user's graph that `node` is a copy of, or itself.
inline const Node& user_node(const Node& node) { return node.origin() ? *node.origin() : node; }

}  // namespace gradgraph
