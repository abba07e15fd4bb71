#pragma once

#include "gradgraph/op.h"

namespace gradgraph {

/// Throws BuildError unless there are as many inputs as the op's schema says.
void check_inputs(const OpDef& op, const InferContext& context);

}  // namespace gradgraph
