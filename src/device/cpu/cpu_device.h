#pragma once

#include <memory>
#include <string>

#include "device/device.h"

namespace gradgraph {

/// The host itself: kernels run on the calling thread (and the OpenMP pool) and are done on
/// return, so streams and events have nothing to do.
std::shared_ptr<Device> open_cpu_device(const std::string& name);

}  // namespace gradgraph
