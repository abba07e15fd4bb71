#include "session/memory.h"

#include <algorithm>
#include <new>
#include <vector>

#include "core/text.h"
#include "gradgraph/op.h"
#include "gradgraph/tensor.h"
#include "plan/plan.h"
#include "session/memory_report.h"

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
                     fmt::format("there is no memory on '{}' for {}{}, {}", names_[device_index],
                                 node.dtype(), node.shape(), readable_bytes(bytes))),
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

void SessionMemory::place_variable(const Node& node, std::size_t device_index) {
  VariableSlot& slot = variable(node);
  if (slot.buffer.device() == device(device_index)) return;
  DeviceBuffer moved = allocate_for(node, device_index);
  if (slot.initialized) {
    std::vector<std::byte> host(slot.buffer.bytes());
    slot.buffer.read(host.data());
    moved.write(host.data());
  }
  slot.buffer = std::move(moved);
  ++generation_;
}

}  // namespace gradgraph
