#include "device/cpu/cpu_device.h"

#include <cstring>
#include <new>

#include "core/host_memory.h"
#include "device/cpu/isa/isa.h"

namespace gradgraph {
namespace {

/// A page: buffers of an arena then start on cache lines and can be backed by large pages.
constexpr std::size_t kPage = 4096;

class CpuDevice final : public Device {
 public:
  using Device::Device;

  bool host_memory() const override { return true; }
  bool calls_kernels() const override { return true; }
  void* allocate(std::size_t bytes) override {
    if (void* memory = allocate_host(bytes, kPage)) return memory;
    throw std::bad_alloc();
  }
  void deallocate(void* memory) noexcept override { free_host(memory, kPage); }

  void launch(int, const Launch& launch) override { execute(launch, launch.args); }
  void copy(int, void* to, const void* from, std::size_t bytes, CopyKind) override {
    std::memcpy(to, from, bytes);
  }

  std::unique_ptr<Event> make_event() override { return std::make_unique<Event>(); }
  void record(int, Event&) override {}
  void wait(int, Event&) override {}
  void synchronize(Event&) override {}
  void synchronize() override {}
};

}  // namespace

std::shared_ptr<Device> open_cpu_device(const std::string& name) {
  best_isa();  // a wrong one is better known now than when a kernel is made
  return std::make_shared<CpuDevice>(name);
}

}  // namespace gradgraph
