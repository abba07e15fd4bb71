// The one place that knows every kind of device.
#include "device/cpu/cpu_device.h"
#include "device/cpu/kernels.h"
#include "device/device.h"
#ifdef GRADGRAPH_CUDA
#include "device/cuda/cuda_device.h"
#include "device/cuda/kernels.h"
#endif

namespace gradgraph {

KernelRegistry& kernel_registry() {
  static KernelRegistry registry = [] {
    KernelRegistry kernels;
    register_cpu_kernels(kernels);
#ifdef GRADGRAPH_CUDA
    register_cuda_kernels(kernels);
#endif
    return kernels;
  }();
  return registry;
}

DeviceRegistry& device_registry() {
  static DeviceRegistry& registry = *[] {
    static DeviceRegistry devices;
    devices.add("cpu", open_cpu_device, {"cpu"});
#ifdef GRADGRAPH_CUDA
    const CudaDevices gpus = find_cuda_devices();
    devices.add("cuda", open_cuda_device, gpus.names, gpus.absence);
#else
    devices.add("cuda", {}, {}, "this library was built without CUDA");
#endif
    return &devices;
  }();
  return registry;
}

}  // namespace gradgraph
