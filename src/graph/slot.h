#pragma once

#include <cstddef>

#include "gradgraph/graph.h"

namespace gradgraph {

/// Where arrays that go by node have what belongs to a node: by its id.
inline std::size_t slot(const Node& node) { return static_cast<std::size_t>(node.id()); }
/// Of the node behind `value`, which need not be in the cache for it.
inline std::size_t slot(const Output& value) { return static_cast<std::size_t>(value.node_id()); }

}  // namespace gradgraph
