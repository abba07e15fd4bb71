#include "device/cuda/cuda_device.h"

#include <cuda_runtime_api.h>

#include <charconv>
#include <new>

#include "core/text.h"
#include "device/cuda/status.h"
#include "device/cuda/stream.h"

namespace gradgraph {
namespace {

using cuda::CudaEvent;
using cuda::CudaStream;
using cuda::use_device;

class CudaDevice final : public Device {
 public:
  CudaDevice(std::string name, int number) : Device(std::move(name)), number_(number) {}

  std::string description() const override {
    cudaDeviceProp properties;
    cuda::check(cudaGetDeviceProperties(&properties, number_), name(), "asking what it is");
    return fmt::format("{}, compute capability {}.{}, {} multiprocessors", properties.name,
                       properties.major, properties.minor, properties.multiProcessorCount);
  }
  bool host_memory() const override { return false; }
  /// A GPU of modest size, and copies through PCI Express for which the host waits.
  std::optional<DeviceCosts> modelled_costs(int) const override {
    return DeviceCosts{.flops_per_second = 10e12,
                       .bytes_per_second = 500e9,
                       .node_seconds = 8e-6,
                       .recorded_node_seconds = 3e-6,
                       .from_host = {.seconds = 10e-6, .bytes_per_second = 10e9},
                       .to_host = {.seconds = 20e-6, .bytes_per_second = 10e9}};
  }

  void* allocate(std::size_t bytes) override {
    use_device(number_);
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw std::bad_alloc();
    }
    cuda::check(status, name(), "allocating memory");
    return memory;
  }
  void deallocate(void* memory) noexcept override {
    use_device(number_);
    cudaFree(memory);
  }
  void* allocate_staging(std::size_t bytes) override {
    use_device(number_);
    void* memory = nullptr;
    const cudaError_t status = cudaHostAlloc(&memory, bytes, cudaHostAllocPortable);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw std::bad_alloc();
    }
    cuda::check(status, name(), "allocating memory of the host");
    return memory;
  }
  void deallocate_staging(void* memory) noexcept override { cudaFreeHost(memory); }
  Memory memory() const override {
    use_device(number_);
    Memory memory;
    cuda::check(cudaMemGetInfo(&memory.free, &memory.total), name(), "asking for free memory");
    return memory;
  }

  std::unique_ptr<Stream> make_stream() override {
    return std::make_unique<CudaStream>(*this, number_);
  }
  std::unique_ptr<Event> make_event() override {
    return std::make_unique<CudaEvent>(*this, number_);
  }
  void synchronize(Event& event) override {
    use_device(number_);
    cuda::check(cudaEventSynchronize(static_cast<CudaEvent&>(event).native()), name(),
                "waiting for an event");
  }

 private:
  int number_;
};

std::string version(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

/// What is there where no GPU can be used, and what is needed.
std::string absence_of(cudaError_t status) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "there is no NVIDIA driver (libcuda.so.1)";
  if (status == cudaErrorInsufficientDriver)
    return fmt::format("the NVIDIA driver is for CUDA {}, and this library needs one for {}",
                       version(driver), version(runtime));
  if (status == cudaSuccess || status == cudaErrorNoDevice) return "there is no NVIDIA GPU";
  return fmt::format("the NVIDIA driver says: {}", cudaGetErrorString(status));
}

}  // namespace

CudaDevices find_cuda_devices() {
  CudaDevices devices;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    devices.absence = absence_of(status);
    return devices;
  }
  for (int number = 0; number < count; ++number)
    devices.names.push_back(fmt::format("cuda:{}", number));
  return devices;
}

std::shared_ptr<Device> open_cuda_device(const std::string& name) {
  int number = 0;
  const char* const digits = name.data() + std::string_view("cuda:").size();
  std::from_chars(digits, name.data() + name.size(), number);
  return std::make_shared<CudaDevice>(name, number);
}

}  // namespace gradgraph
