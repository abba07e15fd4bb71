#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "device/device.h"

/// A device that behaves like a GPU where there is none: its own memory, which faults when host
/// code touches it, and queues that run late and at random speed.
namespace gradgraph::tests {

/// Addresses carry a tag that makes them invalid; only the device's own threads take it off.
/// Memory holds 0xCD.. until it is written and 0xDD.. after it is freed. Work on addresses that
/// are not the device's, or not alive, is an error of the next synchronize, as a kernel's is.
/// Like a GPU, the device goes on with later work after an error.
class SimulatedDevice : public Device {
 public:
  static constexpr int kStreams = 4;
  /// Commands that a stream can hold; issuing more waits.
  static constexpr std::size_t kQueueLength = 256;

  /// `number` tells the devices' addresses apart, below 64. Before a command the device sleeps at
  /// random, up to `max_delay_us`, by `seed`.
  SimulatedDevice(std::string name, int number, std::uint64_t seed, int max_delay_us);
  ~SimulatedDevice() override;

  bool host_memory() const override { return false; }
  void* allocate(std::size_t bytes) override;
  void deallocate(void* memory) noexcept override;

  void launch(int stream, const Launch& launch) override;
  void copy(int stream, void* to, const void* from, std::size_t bytes, CopyKind kind) override;

  std::unique_ptr<gradgraph::Event> make_event() override;
  void record(int stream, gradgraph::Event& event) override;
  void wait(int stream, gradgraph::Event& event) override;
  void synchronize(gradgraph::Event& event) override;
  void synchronize() override;

  std::size_t live_allocations() const;

 private:
  /// Counts how often it was recorded, by the host and by its stream.
  struct Event : gradgraph::Event {
    std::uint64_t recorded = 0;
    std::uint64_t reached = 0;
    std::mutex mutex;
    std::condition_variable changed;
    void wait_for(std::uint64_t count);
  };
  struct Command {
    enum class Kind : std::uint8_t { launch, copy, record, wait } kind = Kind::launch;
    CopyKind copy_kind = CopyKind::within;
    const Launch* launch = nullptr;
    void* to = nullptr;
    const void* from = nullptr;
    std::size_t bytes = 0;
    Event* event = nullptr;
    std::uint64_t count = 0;
  };
  /// A ring of commands and the thread that works it off.
  struct Stream {
    std::array<Command, kQueueLength> commands;
    std::uint64_t issued = 0;
    std::uint64_t finished = 0;
    bool stopping = false;
    std::mutex mutex;
    std::condition_variable changed;
    std::uint64_t random = 0;
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
    std::thread worker;
  };

  Stream& stream_at(int stream) { return streams_.at(static_cast<std::size_t>(stream)); }
  void issue(int stream, const Command& command);
  void work(Stream& stream);
  void perform(Stream& stream, const Command& command);
  void delay(Stream& stream) const;
  /// The real address behind one of this device's, of which `bytes` must be alive.
  void* real(const void* address, std::size_t bytes) const;
  const void* host(const void* address) const;
  void keep_error(std::exception_ptr error);
  void throw_error();

  std::uintptr_t tag_;
  int max_delay_us_;
  std::array<Stream, kStreams> streams_;
  mutable std::mutex memory_mutex_;
  std::map<std::uintptr_t, std::size_t> memory_;  // bytes by real address
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

/// Makes `kind` ("simulated") known, with devices "simulated:0" up to `count`, which have the
/// CPU's kernels but those of the ops in `without`. Later calls for the same kind do nothing.
void add_simulated_devices(const std::string& kind, int count,
                           const std::vector<std::string>& without = {});

}  // namespace gradgraph::tests
