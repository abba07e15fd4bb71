#pragma once

#include <cstddef>
#include <string>

#include "gradgraph/session.h"
#include "plan/plan.h"

namespace gradgraph {

/// "7.08 MB".
std::string readable_bytes(std::size_t bytes);

/// What the parts of `use` are, and the ten largest tensors that live at the plan's peak.
std::string describe(const MemoryUse& use, const Plan& plan);

}  // namespace gradgraph
