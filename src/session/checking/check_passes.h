#pragma once

#include "session/session_state.h"

namespace gradgraph {

/// Runs `prepared` with its feeds with all rewrites and with none, on copies of the variables.
/// When results or variables differ beyond rounding, finds the rewrite that brings the
/// difference in, by halving the number of rewrites that are done, and throws a RunError that
/// names it.
void check_passes(const PreparedRun& prepared, const Tensor* values, std::size_t count);

}  // namespace gradgraph
