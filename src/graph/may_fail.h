#pragma once

#include "gradgraph/graph.h"

namespace gradgraph {

/// Whether a kernel may refuse the values that it meets in this node, or in a subgraph that it
/// runs. Elementwise ops refuse integers only (a zero divisor, a negative power): floating ones
/// give infinity or NaN.
bool may_fail(const Node& node);

}  // namespace gradgraph
