#pragma once

#include "gradgraph/op.h"

namespace gradgraph {

/// Whether a kernel may refuse the values that it meets in this node. Elementwise ops refuse
/// integers only (a zero divisor, a negative power): floating ones give infinity or NaN.
inline bool may_fail(const Node& node) {
  const Traits& traits = node.op().traits;
  return traits.may_fail && !(traits.elementwise && is_floating(node.dtype()));
}

}  // namespace gradgraph
