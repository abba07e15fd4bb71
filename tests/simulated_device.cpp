#include "simulated_device.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "gradgraph/tensor.h"

namespace gradgraph::tests {
namespace {

/// No address of a 64-bit process has bits 48 to 54 set: x86-64 and AArch64 fault on both.
constexpr std::uintptr_t kTag = std::uintptr_t{1} << 54;
constexpr int kNumberShift = 48;
constexpr std::uintptr_t kTagMask = std::uintptr_t{0x7F} << kNumberShift;
constexpr int kFresh = 0xCD;
constexpr int kFreed = 0xDD;

std::uintptr_t bits(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

/// SplitMix64: good enough to shake up the timing.
std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

void SimulatedDevice::Event::wait_for(std::uint64_t count) {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return reached >= count; });
}

SimulatedDevice::SimulatedDevice(std::string name, int number, std::uint64_t seed,
                                 int max_delay_us)
    : Device(std::move(name)),
      tag_(kTag | static_cast<std::uintptr_t>(number) << kNumberShift),
      max_delay_us_(max_delay_us) {
  for (Stream& stream : streams_) {
    stream.random = next_random(seed);
    stream.inputs.reserve(kQueueLength);
    stream.outputs.reserve(kQueueLength);
    stream.worker = std::thread([this, &stream] { work(stream); });
  }
}

SimulatedDevice::~SimulatedDevice() {
  for (Stream& stream : streams_) {
    {
      const std::scoped_lock lock(stream.mutex);
      stream.stopping = true;
    }
    stream.changed.notify_all();
    stream.worker.join();
  }
  for (const auto& [address, bytes] : memory_) std::free(reinterpret_cast<void*>(address));
}

void* SimulatedDevice::allocate(std::size_t bytes) {
  const std::size_t rounded = (bytes / Tensor::kAlignment + 1) * Tensor::kAlignment;
  void* memory = std::aligned_alloc(Tensor::kAlignment, rounded);
  if (!memory) throw std::bad_alloc();
  std::memset(memory, kFresh, rounded);
  const std::scoped_lock lock(memory_mutex_);
  memory_.emplace(bits(memory), bytes);
  return reinterpret_cast<void*>(bits(memory) | tag_);
}

void SimulatedDevice::deallocate(void* memory) noexcept {
  if (!memory) return;
  const std::scoped_lock lock(memory_mutex_);
  const auto found = memory_.find(bits(memory) & ~kTagMask);
  if (found == memory_.end() || (bits(memory) & kTagMask) != tag_) {
    keep_error(std::make_exception_ptr(std::logic_error(name() + ": freed what it never gave")));
    return;
  }
  std::memset(reinterpret_cast<void*>(found->first), kFreed, found->second);
  std::free(reinterpret_cast<void*>(found->first));
  memory_.erase(found);
}

std::size_t SimulatedDevice::live_allocations() const {
  const std::scoped_lock lock(memory_mutex_);
  return memory_.size();
}

void SimulatedDevice::launch(int stream, const Launch& launch) {
  issue(stream, {.kind = Command::Kind::launch, .launch = &launch});
}

void SimulatedDevice::copy(int stream, void* to, const void* from, std::size_t bytes,
                           CopyKind kind) {
  issue(stream,
        {.kind = Command::Kind::copy, .copy_kind = kind, .to = to, .from = from, .bytes = bytes});
}

std::unique_ptr<gradgraph::Event> SimulatedDevice::make_event() {
  return std::make_unique<Event>();
}

void SimulatedDevice::record(int stream, gradgraph::Event& event) {
  auto& own = dynamic_cast<Event&>(event);
  std::uint64_t count = 0;
  {
    const std::scoped_lock lock(own.mutex);
    count = ++own.recorded;
  }
  issue(stream, {.kind = Command::Kind::record, .event = &own, .count = count});
}

void SimulatedDevice::wait(int stream, gradgraph::Event& event) {
  auto& own = dynamic_cast<Event&>(event);
  std::uint64_t count = 0;
  {
    const std::scoped_lock lock(own.mutex);
    count = own.recorded;
  }
  issue(stream, {.kind = Command::Kind::wait, .event = &own, .count = count});
}

void SimulatedDevice::synchronize(gradgraph::Event& event) {
  auto& own = dynamic_cast<Event&>(event);
  std::uint64_t count = 0;
  {
    const std::scoped_lock lock(own.mutex);
    count = own.recorded;
  }
  own.wait_for(count);
  throw_error();
}

void SimulatedDevice::synchronize() {
  for (Stream& stream : streams_) {
    std::unique_lock lock(stream.mutex);
    const std::uint64_t last = stream.issued;
    stream.changed.wait(lock, [&] { return stream.finished >= last; });
  }
  throw_error();
}

void SimulatedDevice::issue(int number, const Command& command) {
  Stream& stream = stream_at(number);
  {
    std::unique_lock lock(stream.mutex);
    stream.changed.wait(lock, [&] { return stream.issued - stream.finished < kQueueLength; });
    stream.commands[stream.issued % kQueueLength] = command;
    ++stream.issued;
  }
  stream.changed.notify_all();
}

void SimulatedDevice::work(Stream& stream) {
  while (true) {
    Command command;
    {
      std::unique_lock lock(stream.mutex);
      stream.changed.wait(lock,
                          [&] { return stream.stopping || stream.issued > stream.finished; });
      if (stream.issued == stream.finished) return;
      command = stream.commands[stream.finished % kQueueLength];
    }
    try {
      perform(stream, command);
    } catch (...) {
      keep_error(std::current_exception());
    }
    {
      const std::scoped_lock lock(stream.mutex);
      ++stream.finished;
    }
    stream.changed.notify_all();
  }
}

void SimulatedDevice::perform(Stream& stream, const Command& command) {
  delay(stream);
  switch (command.kind) {
    case Command::Kind::launch: {
      stream.inputs.clear();
      stream.outputs.clear();
      KernelArgs args = command.launch->args;
      for (const void* input : args.inputs)
        stream.inputs.push_back(input ? real(input, 0) : nullptr);
      for (void* output : args.outputs)
        stream.outputs.push_back(output ? real(output, 0) : nullptr);
      args.inputs = stream.inputs;
      args.outputs = stream.outputs;
      if (args.workspace)
        args.workspace = real(args.workspace, command.launch->kernel->workspace_bytes);
      execute(*command.launch, args);
      return;
    }
    case Command::Kind::copy: {
      if (command.bytes == 0) return;  // as with a GPU, any address will do
      const bool from_host = command.copy_kind == CopyKind::to_device;
      const bool to_host = command.copy_kind == CopyKind::to_host;
      const void* from = from_host ? host(command.from) : real(command.from, command.bytes);
      void* to = to_host ? const_cast<void*>(host(command.to)) : real(command.to, command.bytes);
      std::memmove(to, from, command.bytes);
      return;
    }
    case Command::Kind::record: {
      {
        const std::scoped_lock lock(command.event->mutex);
        command.event->reached = std::max(command.event->reached, command.count);
        // Notified under the lock: whoever waited may destroy the event as soon as it can.
        command.event->changed.notify_all();
      }
      return;
    }
    case Command::Kind::wait: command.event->wait_for(command.count); return;
  }
}

void SimulatedDevice::delay(Stream& stream) const {
  if (max_delay_us_ == 0) return;
  const std::uint64_t draw = next_random(stream.random);
  // Mostly short, so that tests end; now and then long enough for others to run far ahead.
  if (draw % 4 != 0) return;
  const auto longest = static_cast<std::uint64_t>(max_delay_us_) * (draw % 64 == 0 ? 10 : 1);
  std::this_thread::sleep_for(std::chrono::microseconds((draw >> 8) % (longest + 1)));
}

void* SimulatedDevice::real(const void* address, std::size_t bytes) const {
  if ((bits(address) & kTagMask) != tag_)
    throw std::logic_error(name() + ": an address is not of its memory");
  const std::uintptr_t at = bits(address) & ~kTagMask;
  const std::scoped_lock lock(memory_mutex_);
  auto block = memory_.upper_bound(at);
  if (block == memory_.begin() || (--block, at + bytes > block->first + block->second))
    throw std::logic_error(name() + ": memory is used that is not alive");
  return reinterpret_cast<void*>(at);
}

const void* SimulatedDevice::host(const void* address) const {
  if ((bits(address) & kTagMask) != 0)
    throw std::logic_error(name() + ": device memory is used as the host's");
  return address;
}

void SimulatedDevice::keep_error(std::exception_ptr error) {
  const std::scoped_lock lock(error_mutex_);
  if (!error_) error_ = std::move(error);
}

void SimulatedDevice::throw_error() {
  std::exception_ptr error;
  {
    const std::scoped_lock lock(error_mutex_);
    std::swap(error, error_);
  }
  if (error) std::rethrow_exception(error);
}

void add_simulated_devices(const std::string& kind, int count,
                           const std::vector<std::string>& without) {
  static std::mutex mutex;
  static std::map<std::string, int> numbers;  // the first number of each kind
  static int next_number = 0;
  const std::scoped_lock lock(mutex);
  if (!numbers.emplace(kind, next_number).second) return;
  const int first = next_number;
  next_number += count;
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(kind + ":" + std::to_string(i));
  kernel_registry().share(kind, "cpu", without);
  device_registry().add(
      kind,
      [kind, first](const std::string& name) {
        const int number = first + std::stoi(name.substr(kind.size() + 1));
        return std::make_shared<SimulatedDevice>(name, number,
                                                 static_cast<std::uint64_t>(number) + 1, 50);
      },
      names);
}

}  // namespace gradgraph::tests
