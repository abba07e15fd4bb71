#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "device/device.h"
#include "recorded_work.h"

/// A device that behaves like a GPU where there is none: its own memory, which faults when host
/// code touches it, and streams that run late and at random speed.
namespace gradgraph::tests {

/// Addresses carry a tag that makes them invalid; only the device's own threads take it off.
/// Memory holds 0xCD.. until it is written and 0xDD.. after it is freed. Work on addresses that
/// are not the device's, or not alive, is an error that the stream's `check` throws, as a
/// kernel's is. Like a GPU, the device goes on with later work after an error, updates apart.
class SimulatedDevice : public Device {
 public:
  /// Commands that a stream can hold; issuing more waits.
  static constexpr std::size_t kQueueLength = 256;

  /// `number` tells the devices' addresses apart, below 64. Before a command a stream sleeps at
  /// random, up to `max_delay_us`, by `seed`.
  SimulatedDevice(std::string name, int number, std::uint64_t seed, int max_delay_us);
  ~SimulatedDevice() override;

  bool host_memory() const override { return false; }
  void* allocate(std::size_t bytes) override;
  void deallocate(void* memory) noexcept override;
  /// As much as `limit_memory` says, if it was called.
  Memory memory() const override;

  std::unique_ptr<Stream> make_stream() override;
  std::unique_ptr<Event> make_event() override;
  void synchronize(Event& event) override;

  std::size_t live_allocations() const;
  /// How often `deallocate` was called with what `allocate` never gave.
  std::size_t wrong_frees() const;
  /// `allocate` refuses more than so many bytes in all; 0 for no limit.
  void limit_memory(std::size_t bytes) { limit_ = bytes; }
  /// The `n`-th of all allocations, launches, copies, streams and events from now on is refused;
  /// 0 for none. Whether one was since the last call.
  bool refuse(int n);
  /// Notes all that is issued to the device from now on, in `record`; null for nobody.
  void record_to(WorkRecord* record) { record_ = record; }

 private:
  struct SimulatedEvent;
  class SimulatedStream;

  /// The real address behind one of this device's, if `bytes` of it are alive; else null.
  void* find(const void* address, std::size_t bytes) const;
  /// The same; throws where there is none.
  void* real(const void* address, std::size_t bytes) const;
  const void* host(const void* address) const;
  bool is_mine(const void* address) const;
  /// The device of the same kind that has this address, or this one.
  const SimulatedDevice& owner_of(const void* address) const;

  std::uintptr_t tag_;
  std::uint64_t random_;
  int max_delay_us_;
  /// Counts what may be refused; whether this is.
  bool refuses();

  std::size_t limit_ = 0, used_ = 0, wrong_frees_ = 0;
  int until_refusal_ = 0;
  bool has_refused_ = false;
  WorkRecord* record_ = nullptr;
  mutable std::mutex memory_mutex_;
  std::map<std::uintptr_t, std::size_t> memory_;  // bytes by real address
};

/// Makes `kind` ("simulated") known, with devices "simulated:0" up to `count`, which have the
/// CPU's kernels but those of the ops in `without`. Later calls for the same kind do nothing.
void add_simulated_devices(const std::string& kind, int count,
                           const std::vector<std::string>& without = {});

}  // namespace gradgraph::tests
