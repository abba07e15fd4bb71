#include "session/memory.h"

#include <algorithm>
#include <new>
#include <vector>

#include "core/text.h"
#include "gradgraph/op.h"
#include "gradgraph/tensor.h"
#include "session/memory_report.h"

namespace gradgraph {

DeviceBuffer::DeviceBuffer(std::shared_ptr<Device> device, std::size_t bytes, bool is_staging)
    : device_(std::move(device)), bytes_(bytes), is_staging_(is_staging) {
  const std::size_t least = std::max(bytes, Tensor::kAlignment);
  memory_ = is_staging ? device_->allocate_staging(least) : device_->allocate(least);
}

DeviceBuffer::~DeviceBuffer() {
  if (memory_) is_staging_ ? device_->deallocate_staging(memory_) : device_->deallocate(memory_);
}

SessionMemory::SessionMemory(std::vector<std::string> names)
    : names_(std::move(names)),
      devices_(names_.size()),
      arenas_(names_.size()),
      backup_bytes_(names_.size(), 0),
      run_infos_(names_.size()),
      streams_(names_.size()) {}

const std::shared_ptr<Device>& SessionMemory::device(std::size_t index) {
  auto& device = devices_[index];
  if (!device) device = device_registry().open(names_[index]);
  return device;
}

DeviceStreams& SessionMemory::streams(std::size_t index) {
  DeviceStreams& streams = streams_[index];
  const std::size_t count = device(index)->host_memory() ? 1 : kStreams;
  for (std::size_t s = 0; s < count; ++s)
    if (!streams[s]) streams[s] = device(index)->make_stream();
  return streams;
}

std::size_t SessionMemory::index_of(const Device& device) const {
  const auto found = std::ranges::find(devices_, &device, &std::shared_ptr<Device>::get);
  return static_cast<std::size_t>(found - devices_.begin());
}

Stream& SessionMemory::stream_of(const Device& device) {
  return *streams(index_of(device))[kComputeStream];
}

std::size_t SessionMemory::variable_bytes_on(std::size_t device) const {
  std::size_t bytes = backup_bytes_[device];
  for (const auto& [node, slot] : variables_)
    if (slot && slot->buffer.device() == devices_[device]) bytes += slot->buffer.bytes();
  return bytes;
}

void SessionMemory::count_backup(const DeviceBuffer& copy) {
  variable_bytes_ += copy.bytes();
  backup_bytes_[index_of(*copy.device())] += copy.bytes();
}

void SessionMemory::forget_backup(const DeviceBuffer& copy) {
  variable_bytes_ -= copy.bytes();
  backup_bytes_[index_of(*copy.device())] -= copy.bytes();
}

void SessionMemory::write(DeviceBuffer& buffer, const void* host) {
  Stream& stream = stream_of(*buffer.device());
  stream.copy(buffer.get(), host, buffer.bytes(), CopyKind::to_device);
  stream.synchronize();
  stream.check();
}

void SessionMemory::read(const DeviceBuffer& buffer, void* host) {
  Stream& stream = stream_of(*buffer.device());
  stream.copy(host, buffer.get(), buffer.bytes(), CopyKind::to_host);
  stream.synchronize();
  stream.check();
}

void SessionMemory::reserve_staging(std::size_t device_index, std::size_t bytes) {
  if (bytes == 0 || staging_.bytes() >= bytes) return;
  ++generation_;
  staging_ = DeviceBuffer();
  staging_ = DeviceBuffer(device(device_index), bytes, /*is_staging=*/true);
}

void* SessionMemory::run_info(std::size_t index) {
  DeviceBuffer& buffer = run_infos_[index];
  if (!buffer.get()) buffer = DeviceBuffer(device(index), sizeof(RunInfo));
  return buffer.get();
}

void SessionMemory::reserve_arena(std::size_t device_index, std::size_t bytes) {
  DeviceBuffer& arena = arenas_[device_index];
  if (bytes == 0 || arena.bytes() >= bytes) return;
  // The old one goes before the new one comes, since there may be no room for both. That is
  // counted first: when the new one is refused, no plan goes on with what is gone.
  ++generation_;
  arena = DeviceBuffer();
  arena = DeviceBuffer(device(device_index), bytes);
}

DeviceBuffer SessionMemory::allocate_for(const Node& node, std::size_t device_index) {
  const std::size_t bytes = bytes_of(node);
  try {
    return {device(device_index), bytes};
  } catch (const std::bad_alloc&) {
    throw RunError(
        node_message(node.op().name, node.name(),
                     fmt::format("there is no memory on '{}' for {}{}, {}{}",
                                 names_[device_index], node.dtype(), node.shape(),
                                 readable_bytes(bytes), available(*device(device_index)))),
        node.where());
  }
}

VariableSlot& SessionMemory::variable(const Node& variable) {
  auto& slot = variables_[&variable];
  if (!slot) {
    auto made = std::make_unique<VariableSlot>();
    made->buffer = allocate_for(variable, 0);
    slot = std::move(made);
    variable_bytes_ += slot->buffer.bytes();
  }
  return *slot;
}

const VariableSlot* SessionMemory::find_variable(const Node& variable) const {
  const auto found = variables_.find(&variable);
  return found == variables_.end() ? nullptr : found->second.get();
}

int SessionMemory::home_of(const Node& variable) const {
  const auto found = homes_.find(&variable);
  return found == homes_.end() ? -1 : found->second;
}

void SessionMemory::place_variable(const Node& node, std::size_t device_index) {
  VariableSlot& slot = variable(node);
  if (slot.buffer.device() == device(device_index)) return;
  DeviceBuffer moved = allocate_for(node, device_index);
  if (slot.initialized) {
    std::vector<std::byte> host(slot.buffer.bytes());
    read(slot.buffer, host.data());
    write(moved, host.data());
  }
  slot.buffer = std::move(moved);
  ++generation_;
}

}  // namespace gradgraph
