#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "device/device.h"
#include "gradgraph/graph.h"
#include "plan/plan.h"

namespace gradgraph {

/// A piece of a device's memory, or of its staging memory, freed with its owner.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Throws std::bad_alloc.
  DeviceBuffer(std::shared_ptr<Device> device, std::size_t bytes, bool is_staging = false);
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceBuffer();

  void* get() const { return memory_; }
  std::size_t bytes() const { return bytes_; }
  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    std::swap(is_staging_, other.is_staging_);
  }

  std::shared_ptr<Device> device_;
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  bool is_staging_ = false;
};

/// A variable's value in one session.
struct VariableSlot {
  DeviceBuffer buffer;
  bool initialized = false;
};

/// What a session issues to a device: streams of its own, so that sessions on one device meet
/// neither each other's work nor their errors.
using DeviceStreams = std::array<std::unique_ptr<Stream>, kStreams>;

/// All that a session keeps in devices: variables, and one arena per device that its plans share,
/// since only one of them runs at a time. Addresses change only when `generation` does.
class SessionMemory {
 public:
  /// `names`: the devices that placements may use, the host first. Opened on first use.
  explicit SessionMemory(std::vector<std::string> names);

  const std::vector<std::string>& device_names() const { return names_; }
  const std::shared_ptr<Device>& device(std::size_t index);
  /// By PlannedStream; made on first use. One stream, of the host, where the device is the host.
  DeviceStreams& streams(std::size_t index);
  /// The number of one of this session's devices.
  std::size_t index_of(const Device& device) const;
  /// The computing stream of one of this session's devices.
  Stream& stream_of(const Device& device);
  std::int64_t generation() const { return generation_; }

  /// Throws std::bad_alloc where the device has not as much. The arena is empty then, and has
  /// another generation: the next run of any plan asks for its own again.
  void reserve_arena(std::size_t device, std::size_t bytes);
  std::size_t arena_bytes(std::size_t device) const { return arenas_[device].bytes(); }
  void* arena(std::size_t device) const { return arenas_[device].get(); }

  /// Memory of the host that devices copy from and to, as `reserve_arena`; given by `device`,
  /// which is one of them.
  void reserve_staging(std::size_t device, std::size_t bytes);
  void* staging() const { return staging_.get(); }
  std::size_t staging_bytes() const { return staging_.bytes(); }
  /// Where kernels of a device beside the host read the RunInfo.
  void* run_info(std::size_t device);

  /// Bytes from the host to a buffer of this session's devices, and back; both wait until they
  /// are there.
  void write(DeviceBuffer& buffer, const void* host);
  void read(const DeviceBuffer& buffer, void* host);

  /// Memory for output 0 of a user's node. Throws a RunError that names it where there is none.
  DeviceBuffer allocate_for(const Node& node, std::size_t device);
  /// The slot of a user's variable; its memory is on the host until a plan asks for more.
  VariableSlot& variable(const Node& variable);
  const VariableSlot* find_variable(const Node& variable) const;
  /// Where plans that are placed by cost have the variable: where the first of them put it, since
  /// it would move whenever plans take turns; -1 as long as there is none.
  int home_of(const Node& variable) const;
  void keep_home(const Node& variable, int device) { homes_.emplace(&variable, device); }
  /// Moves the variable's value, where it is elsewhere.
  void place_variable(const Node& variable, std::size_t device);
  /// Of all variables, and of the backups that plans keep.
  std::size_t variable_bytes() const { return variable_bytes_; }
  /// Of those that are on a device.
  std::size_t variable_bytes_on(std::size_t device) const;
  void count_backup(const DeviceBuffer& copy);
  void forget_backup(const DeviceBuffer& copy);

 private:
  std::vector<std::string> names_;
  std::vector<std::shared_ptr<Device>> devices_;
  std::vector<DeviceBuffer> arenas_;
  /// Null where there was no memory for one.
  std::unordered_map<const Node*, std::unique_ptr<VariableSlot>> variables_;
  std::unordered_map<const Node*, int> homes_;
  std::size_t variable_bytes_ = 0;
  std::vector<std::size_t> backup_bytes_;  ///< by device
  std::int64_t generation_ = 0;
  DeviceBuffer staging_;
  std::vector<DeviceBuffer> run_infos_;
  std::vector<DeviceStreams> streams_;  ///< last, so that they end before what they work on
};

}  // namespace gradgraph
