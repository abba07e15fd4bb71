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

/// Bytes that a run of the plan needs on a device: its arena, variables and constants there.
std::size_t bytes_on(const Plan& plan, std::size_t device);

/// "; on 'cpu' 7.1 MB, on 'cuda:0' 8.2 GB", or nothing where all is on one device.
std::string describe_devices(const Plan& plan, const std::vector<std::string>& names);

/// "; of its 8.2 GB, 3 MB are free", or nothing where the device does not say.
std::string available(const Device& device);

/// Throws a RunError for the arena of device number `device`, which has no memory for it: names
/// the largest tensor at the peak, its op and line, and says what else there is.
[[noreturn]] void fail_without_arena(const Device& on, const MemoryUse& use, const Plan& plan,
                                     std::int32_t device);

}  // namespace gradgraph
