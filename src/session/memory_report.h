#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "gradgraph/session.h"
#include "plan/plan.h"

namespace gradgraph {

/// "7.08 MB".
std::string readable_bytes(std::size_t bytes);

/// What the parts of `use` are, and the ten largest tensors that live at the plan's peak.
std::string describe(const MemoryUse& use, const Plan& plan);

/// Throws a RunError for an arena that `device`, called `name`, has no memory for: names the
/// largest tensor at the peak, its op and line, and says what else there is.
[[noreturn]] void fail_without_arena(const std::string& name, const MemoryUse& use,
                                     const Plan& plan, std::int32_t device);

}  // namespace gradgraph
