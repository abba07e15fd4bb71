// The one place that knows every kind of device.
#include "device/cpu/cpu_device.h"
#include "device/cpu/kernels.h"
#include "device/device.h"

namespace gradgraph {

KernelRegistry& kernel_registry() {
  static KernelRegistry registry = [] {
    KernelRegistry kernels;
    register_cpu_kernels(kernels);
    return kernels;
  }();
  return registry;
}

DeviceRegistry& device_registry() {
  static DeviceRegistry& registry = *[] {
    static DeviceRegistry devices;
    devices.add("cpu", open_cpu_device, {"cpu"});
    return &devices;
  }();
  return registry;
}

}  // namespace gradgraph
