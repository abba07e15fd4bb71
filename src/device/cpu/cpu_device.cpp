#include "device/cpu/cpu_device.h"

#include <algorithm>
#include <fstream>
#include <new>
#include <string>

#include "core/host_memory.h"
#include "core/text.h"
#include "core/threads.h"
#include "device/cpu/isa/isa.h"

namespace gradgraph {
namespace {

/// A page: buffers of an arena then start on cache lines and can be backed by large pages.
constexpr std::size_t kPage = 4096;

const char* isa_in_words(Isa isa) {
  switch (isa) {
    case Isa::baseline: return "no AVX2";
    case Isa::avx2: return "AVX2";
    case Isa::avx512: return "AVX-512";
  }
  __builtin_unreachable();
}

/// As Linux has it; "a processor" where nobody says.
std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name"))
      if (const std::size_t colon = line.find(": "); colon != std::string::npos)
        return line.substr(colon + 2);
  return "a processor";
}

class CpuDevice final : public Device {
 public:
  using Device::Device;

  std::string description() const override {
    return fmt::format("{}, {} processors, {}", processor_name(), thread_count(0),
                       isa_in_words(best_isa()));
  }
  bool host_memory() const override { return true; }
  /// A core of today that is shared with others; memory feeds a few of them.
  std::optional<DeviceCosts> modelled_costs(int threads) const override {
    return DeviceCosts{.flops_per_second = 40e9 * threads,
                       .bytes_per_second = 8e9 * std::min(threads, 8),
                       .node_seconds = 1e-6,
                       .recorded_node_seconds = 1e-6};
  }
  bool calls_kernels() const override { return true; }
  void* allocate(std::size_t bytes) override {
    if (void* memory = allocate_host(bytes, kPage)) return memory;
    throw std::bad_alloc();
  }
  void deallocate(void* memory) noexcept override { free_host(memory, kPage); }

  std::unique_ptr<Stream> make_stream() override { return std::make_unique<HostStream>(*this); }
  std::unique_ptr<Event> make_event() override { return make_host_event(); }
  void synchronize(Event&) override {}
};

}  // namespace

std::shared_ptr<Device> open_cpu_device(const std::string& name) {
  best_isa();  // a wrong one is better known now than when a kernel is made
  return std::make_shared<CpuDevice>(name);
}

}  // namespace gradgraph
