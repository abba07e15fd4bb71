#include "session/memory.h"

#include <algorithm>
#include <vector>

#include "gradgraph/tensor.h"
#include "plan/plan.h"

namespace gradgraph {

DeviceBuffer::DeviceBuffer(std::shared_ptr<Device> device, std::size_t bytes)
    : device_(std::move(device)),
      memory_(device_->allocate(std::max(bytes, Tensor::kAlignment))),
      bytes_(bytes) {}

DeviceBuffer::~DeviceBuffer() {
  if (memory_) device_->deallocate(memory_);
}

void DeviceBuffer::write(const void* host) {
  device_->copy(0, memory_, host, bytes_, CopyKind::to_device);
  device_->synchronize();
}

void DeviceBuffer::read(void* host) const {
  device_->copy(0, host, memory_, bytes_, CopyKind::to_host);
  device_->synchronize();
}

SessionMemory::SessionMemory(std::vector<std::string> names)
    : names_(std::move(names)), devices_(names_.size()), arenas_(names_.size()) {}

const std::shared_ptr<Device>& SessionMemory::device(std::size_t index) {
  auto& device = devices_[index];
  if (!device) device = device_registry().open(names_[index]);
  return device;
}

void SessionMemory::reserve_arena(std::size_t device_index, std::size_t bytes) {
  DeviceBuffer& arena = arenas_[device_index];
  if (bytes == 0 || arena.bytes() >= bytes) return;
  arena = DeviceBuffer();  // the old one goes before the new one comes
  arena = DeviceBuffer(device(device_index), bytes);
  ++generation_;
}

VariableSlot& SessionMemory::variable(const Node& variable) {
  auto& slot = variables_[&variable];
  if (!slot) {
    const std::size_t bytes = bytes_of(variable);
    auto made = std::make_unique<VariableSlot>();
    made->buffer = DeviceBuffer(device(0), bytes);
    slot = std::move(made);
    variable_bytes_ += bytes;
  }
  return *slot;
}

const VariableSlot* SessionMemory::find_variable(const Node& variable) const {
  const auto found = variables_.find(&variable);
  return found == variables_.end() ? nullptr : found->second.get();
}

void SessionMemory::place_variable(VariableSlot& slot, std::size_t device_index) {
  const auto& target = device(device_index);
  if (slot.buffer.device() == target) return;
  DeviceBuffer moved(target, slot.buffer.bytes());
  if (slot.initialized) {
    std::vector<std::byte> host(slot.buffer.bytes());
    slot.buffer.read(host.data());
    moved.write(host.data());
  }
  slot.buffer = std::move(moved);
  ++generation_;
}

}  // namespace gradgraph
