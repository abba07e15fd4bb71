#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "device/device.h"
#include "gradgraph/session.h"
#include "plan/plan.h"

namespace gradgraph {

/// "7.08 MB".
std::string readable_bytes(std::size_t bytes);

/// What the parts of `use` are, and the ten largest tensors that live at the plan's peak.
std::string describe(const MemoryUse& use, const Plan& plan);

/// "; on 'cpu' 7.1 MB, on 'cuda:0' 8.2 GB" of the bytes on each device, or nothing where all are
/// on one.
std::string describe_devices(const std::vector<std::size_t>& bytes,
                             const std::vector<std::string>& names);

/// "; of its 8.2 GB, 3 MB are free", or nothing where the device does not say.
std::string available(const Device& device);

/// Throws a RunError for the arena of device number `device`, which has no memory for it: names
/// the largest tensor at the peak, its op and line, and says what else there is.
[[noreturn]] void fail_without_arena(const Device& on, const MemoryUse& use, const Plan& plan,
                                     std::int32_t device);

}  // namespace gradgraph
