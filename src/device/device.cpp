#include "device/device.h"

#include <unistd.h>

#include <chrono>
#include <cstring>
#include <mutex>
#include <new>

#include "core/host_memory.h"
#include "gradgraph/tensor.h"
#include "graph/refusal.h"

namespace gradgraph {

RefusedValue::RefusedValue(const Launch& refusing, const KernelError& error)
    : RunError(refusal(*refusing.node, error.what()), blamed(*refusing.node).where()),
      launch(&refusing) {}

void refuse(const Launch& launch, const KernelError& error) {
  throw RunError(RefusedValue(launch, error));
}

void execute(const Launch& launch, const KernelArgs& args) {
  try {
    launch.kernel->run(args);
  } catch (const KernelError& error) {
    refuse(launch, error);
  }
}

Device::Memory host_memory() {
  const auto bytes = [](int pages) {
    const long count = sysconf(pages), each = sysconf(_SC_PAGESIZE);
    return count > 0 && each > 0
               ? static_cast<std::size_t>(count) * static_cast<std::size_t>(each)
               : 0;
  };
  return {bytes(_SC_PHYS_PAGES), bytes(_SC_AVPHYS_PAGES)};
}

void* Device::allocate_staging(std::size_t bytes) {
  if (void* memory = allocate_host(bytes, Tensor::kAlignment)) return memory;
  throw std::bad_alloc();
}

void Device::deallocate_staging(void* memory) noexcept { free_host(memory, Tensor::kAlignment); }

namespace {
struct HostEvent final : Event {
  std::chrono::steady_clock::time_point time;
  double seconds_since(const Event& earlier) const override {
    const auto from = static_cast<const HostEvent&>(earlier).time;
    return std::chrono::duration<double>(time - from).count();
  }
};
}  // namespace

std::unique_ptr<Event> make_host_event() { return std::make_unique<HostEvent>(); }

void HostStream::copy(void* to, const void* from, std::size_t bytes, CopyKind) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void HostStream::record(Event& event) {
  static_cast<HostEvent&>(event).time = std::chrono::steady_clock::now();
}

namespace {
std::mutex& registry_mutex() {
  static std::mutex mutex;
  return mutex;
}
}  // namespace

void DeviceRegistry::add(std::string kind, Open open, std::vector<std::string> names,
                         std::string absence) {
  const std::lock_guard lock(registry_mutex());
  kinds_[std::move(kind)] = {std::move(open), std::move(names), std::move(absence)};
}

std::string DeviceRegistry::absence(std::string_view kind) const {
  const std::lock_guard lock(registry_mutex());
  const auto found = kinds_.find(kind);
  return found == kinds_.end() || !found->second.names.empty() ? "" : found->second.absence;
}

std::vector<std::string> DeviceRegistry::names() const {
  const std::lock_guard lock(registry_mutex());
  std::vector<std::string> names;
  for (const auto& [kind, devices] : kinds_)
    names.insert(names.end(), devices.names.begin(), devices.names.end());
  return names;
}

std::shared_ptr<Device> DeviceRegistry::open(const std::string& name) {
  const std::lock_guard lock(registry_mutex());
  if (const auto opened = opened_.find(name); opened != opened_.end()) return opened->second;
  for (const auto& [kind, devices] : kinds_)
    for (const std::string& candidate : devices.names)
      if (candidate == name) return opened_[name] = devices.open(name);
  return nullptr;
}

}  // namespace gradgraph
