#pragma once

#include "gradgraph/graph.h"

namespace gradgraph {

/// The dtype by which a node's kernel is chosen (Traits::kernel_input).
DType kernel_dtype(const Node& node);

}  // namespace gradgraph
