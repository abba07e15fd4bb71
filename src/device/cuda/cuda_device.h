#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/device.h"

namespace gradgraph {

/// "cuda:0", "cuda:1", ...: the GPUs that this process can use.
struct CudaDevices {
  std::vector<std::string> names;
  std::string absence;  ///< why there are none: what is there and what is needed
};
CudaDevices find_cuda_devices();
std::shared_ptr<Device> open_cuda_device(const std::string& name);

}  // namespace gradgraph
