#pragma once

#include "gradgraph/op.h"

namespace gradgraph {

/// Whether the plan must know the value of input `i` (Traits::static_inputs). Nodes may have more
/// inputs than the mask has bits.
inline bool is_static_input(const Traits& traits, int i) {
  return i < 32 && (traits.static_inputs >> i & 1u) != 0;
}

}  // namespace gradgraph
