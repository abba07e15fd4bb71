#include "simulated_device.h"

#include <array>
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

/// All devices that live, so that one can copy from another's memory. Outlives them.
struct Devices {
  std::mutex mutex;
  std::vector<const SimulatedDevice*> all;
};
Devices& devices() {
  static auto& devices = *new Devices;
  return devices;
}

}  // namespace

/// Counts how often it was recorded, by the host and by its stream.
struct SimulatedDevice::SimulatedEvent final : Event {
  std::uint64_t recorded = 0, reached = 0;
  std::chrono::steady_clock::time_point time;
  std::mutex mutex;
  std::condition_variable changed;

  std::uint64_t last_recorded() {
    const std::scoped_lock lock(mutex);
    return recorded;
  }
  void reach(std::uint64_t count) {
    const std::scoped_lock lock(mutex);
    reached = std::max(reached, count);
    time = std::chrono::steady_clock::now();
    // Notified under the lock: whoever waited may destroy the event as soon as it can.
    changed.notify_all();
  }
  void wait_for(std::uint64_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return reached >= count; });
  }
  double seconds_since(const Event& earlier) const override {
    const auto& from = dynamic_cast<const SimulatedEvent&>(earlier);
    return std::chrono::duration<double>(time - from.time).count();
  }
};

/// A ring of commands and the thread that works it off.
class SimulatedDevice::SimulatedStream final : public Stream {
 public:
  SimulatedStream(SimulatedDevice& device, std::uint64_t seed)
      : Stream(device), device_(device), random_(seed), worker_([this] { work(); }) {}
  ~SimulatedStream() override {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    worker_.join();
  }

  void launch(const Launch& launch) override {
    if (device_.refuses()) gradgraph::refuse(launch, KernelError("the device refuses it"));
    if (device_.record_) device_.record_->add(WorkRecord::of(*this, launch));
    issue({.kind = Kind::launch, .launch = &launch});
  }
  void copy(void* to, const void* from, std::size_t bytes, CopyKind kind) override {
    if (device_.refuses()) throw RunError(device_.name() + ": copying: it refuses");
    if (device_.record_)
      device_.record_->add({.kind = Kind::copy,
                            .stream = this,
                            .copy_kind = kind,
                            .what = "a copy",
                            .ranges = {{bits(from), bits(from) + bytes, false},
                                       {bits(to), bits(to) + bytes, true}}});
    issue({.kind = Kind::copy, .copy_kind = kind, .to = to, .from = from, .bytes = bytes});
  }
  void record(Event& event) override {
    auto& own = dynamic_cast<SimulatedEvent&>(event);
    if (device_.record_)
      device_.record_->add({.kind = Kind::record, .stream = this, .event = &event});
    std::uint64_t count = 0;
    {
      const std::scoped_lock lock(own.mutex);
      count = ++own.recorded;
    }
    issue({.kind = Kind::record, .event = &own, .count = count});
  }
  void wait(Event& event) override {
    auto& own = dynamic_cast<SimulatedEvent&>(event);
    if (device_.record_)
      device_.record_->add({.kind = Kind::wait, .stream = this, .event = &event});
    issue({.kind = Kind::wait, .event = &own, .count = own.last_recorded()});
  }
  void synchronize() override {
    if (device_.record_) device_.record_->add({.kind = Kind::host_waits, .stream = this});
    std::unique_lock lock(mutex_);
    const std::uint64_t last = issued_;
    changed_.wait(lock, [&] { return finished_ >= last; });
  }
  void check() override {
    std::exception_ptr error;
    {
      const std::scoped_lock lock(mutex_);
      std::swap(error, error_);
    }
    if (error) std::rethrow_exception(error);
  }

 private:
  using Kind = WorkItem::Kind;
  struct Command {
    Kind kind = Kind::launch;
    CopyKind copy_kind = CopyKind::within;
    const Launch* launch = nullptr;
    void* to = nullptr;
    const void* from = nullptr;
    std::size_t bytes = 0;
    SimulatedEvent* event = nullptr;
    std::uint64_t count = 0;
  };

  void issue(const Command& command) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return issued_ - finished_ < kQueueLength; });
      commands_[issued_ % kQueueLength] = command;
      ++issued_;
    }
    changed_.notify_all();
  }

  void work() {
    while (true) {
      Command command;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || issued_ > finished_; });
        if (issued_ == finished_) return;
        command = commands_[finished_ % kQueueLength];
      }
      std::exception_ptr error;
      try {
        perform(command);
      } catch (...) {
        error = std::current_exception();
      }
      {
        const std::scoped_lock lock(mutex_);
        if (!error_) error_ = std::move(error);
        ++finished_;
      }
      changed_.notify_all();
    }
  }

  void perform(const Command& command) {
    delay();
    switch (command.kind) {
      case Kind::launch: perform_launch(*command.launch); return;
      case Kind::copy: perform_copy(command); return;
      case Kind::record: command.event->reach(command.count); return;
      case Kind::wait: command.event->wait_for(command.count); return;
      case Kind::host_waits: return;
    }
  }

  void perform_launch(const Launch& launch) {
    if (launch.is_update) {
      const std::scoped_lock lock(mutex_);
      if (error_) return;
    }
    inputs_.clear();
    outputs_.clear();
    KernelArgs args = launch.args;
    for (const void* input : args.inputs)
      inputs_.push_back(input ? device_.real(input, 0) : nullptr);
    for (void* output : args.outputs)
      outputs_.push_back(output ? device_.real(output, 0) : nullptr);
    args.inputs = inputs_;
    args.outputs = outputs_;
    if (args.workspace)
      args.workspace = device_.real(args.workspace, launch.kernel->workspace_bytes);
    if (args.run) args.run = static_cast<const RunInfo*>(device_.real(args.run, sizeof(RunInfo)));
    try {
      launch.kernel->run(args);
    } catch (const KernelError& error) {
      throw RefusedValue(launch, error);
    }
  }

  void perform_copy(const Command& command) const {
    if (command.bytes == 0) return;  // as with a GPU, any address will do
    const CopyKind kind = command.copy_kind;
    const SimulatedDevice& source =
        kind == CopyKind::between ? device_.owner_of(command.from) : device_;
    const void* from = kind == CopyKind::to_device ? device_.host(command.from)
                                                   : source.real(command.from, command.bytes);
    void* to = kind == CopyKind::to_host ? const_cast<void*>(device_.host(command.to))
                                         : device_.real(command.to, command.bytes);
    std::memmove(to, from, command.bytes);
  }

  /// Mostly short, so that tests end; now and then long enough for others to run far ahead.
  void delay() {
    if (device_.max_delay_us_ == 0) return;
    const std::uint64_t draw = next_random(random_);
    if (draw % 4 != 0) return;
    const auto longest =
        static_cast<std::uint64_t>(device_.max_delay_us_) * (draw % 64 == 0 ? 10 : 1);
    std::this_thread::sleep_for(std::chrono::microseconds((draw >> 8) % (longest + 1)));
  }

  SimulatedDevice& device_;
  std::array<Command, kQueueLength> commands_;
  std::uint64_t issued_ = 0, finished_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t random_;
  std::vector<const void*> inputs_;
  std::vector<void*> outputs_;
  std::thread worker_;  // last, since it uses the others
};

SimulatedDevice::SimulatedDevice(std::string name, int number, std::uint64_t seed,
                                 int max_delay_us)
    : Device(std::move(name)),
      tag_(kTag | static_cast<std::uintptr_t>(number) << kNumberShift),
      random_(seed),
      max_delay_us_(max_delay_us) {
  const std::scoped_lock lock(devices().mutex);
  devices().all.push_back(this);
}

SimulatedDevice::~SimulatedDevice() {
  {
    const std::scoped_lock lock(devices().mutex);
    std::erase(devices().all, this);
  }
  for (const auto& [address, bytes] : memory_) std::free(reinterpret_cast<void*>(address));
}

void* SimulatedDevice::allocate(std::size_t bytes) {
  const std::scoped_lock lock(memory_mutex_);
  const std::size_t rounded = (bytes / Tensor::kAlignment + 1) * Tensor::kAlignment;
  if (limit_ > 0 && (bytes > limit_ || used_ + bytes > limit_)) throw std::bad_alloc();
  if (refuses()) throw std::bad_alloc();
  void* memory = std::aligned_alloc(Tensor::kAlignment, rounded);
  if (!memory) throw std::bad_alloc();
  std::memset(memory, kFresh, rounded);
  memory_.emplace(bits(memory), bytes);
  used_ += bytes;
  return reinterpret_cast<void*>(bits(memory) | tag_);
}

bool SimulatedDevice::refuse(int n) {
  until_refusal_ = n;
  return std::exchange(has_refused_, false);
}

bool SimulatedDevice::refuses() {
  if (until_refusal_ == 0 || --until_refusal_ > 0) return false;
  has_refused_ = true;
  return true;
}

void SimulatedDevice::deallocate(void* memory) noexcept {
  if (!memory) return;
  const std::scoped_lock lock(memory_mutex_);
  const auto found = memory_.find(bits(memory) & ~kTagMask);
  if (found == memory_.end() || !is_mine(memory)) {
    ++wrong_frees_;
    return;
  }
  std::memset(reinterpret_cast<void*>(found->first), kFreed, found->second);
  std::free(reinterpret_cast<void*>(found->first));
  used_ -= found->second;
  memory_.erase(found);
}

Device::Memory SimulatedDevice::memory() const {
  const std::scoped_lock lock(memory_mutex_);
  return {limit_, limit_ > used_ ? limit_ - used_ : 0};
}

std::unique_ptr<Stream> SimulatedDevice::make_stream() {
  if (refuses()) throw RunError(name() + ": making a stream: it refuses");
  const std::scoped_lock lock(memory_mutex_);
  return std::make_unique<SimulatedStream>(*this, next_random(random_));
}

std::unique_ptr<Event> SimulatedDevice::make_event() {
  if (refuses()) throw RunError(name() + ": making an event: it refuses");
  return std::make_unique<SimulatedEvent>();
}

void SimulatedDevice::synchronize(Event& event) {
  if (record_) record_->add({.kind = WorkItem::Kind::host_waits, .event = &event});
  auto& own = dynamic_cast<SimulatedEvent&>(event);
  own.wait_for(own.last_recorded());
}

std::size_t SimulatedDevice::live_allocations() const {
  const std::scoped_lock lock(memory_mutex_);
  return memory_.size();
}

std::size_t SimulatedDevice::wrong_frees() const {
  const std::scoped_lock lock(memory_mutex_);
  return wrong_frees_;
}

bool SimulatedDevice::is_mine(const void* address) const {
  return (bits(address) & kTagMask) == tag_;
}

const SimulatedDevice& SimulatedDevice::owner_of(const void* address) const {
  const std::scoped_lock lock(devices().mutex);
  for (const SimulatedDevice* device : devices().all)
    if (device->kind() == kind() && device->find(address, 0)) return *device;
  return *this;
}

void* SimulatedDevice::find(const void* address, std::size_t bytes) const {
  if (!is_mine(address)) return nullptr;
  const std::uintptr_t at = bits(address) & ~kTagMask;
  const std::scoped_lock lock(memory_mutex_);
  auto block = memory_.upper_bound(at);
  const bool lives =
      block != memory_.begin() && (--block, at + bytes <= block->first + block->second);
  return lives ? reinterpret_cast<void*>(at) : nullptr;
}

void* SimulatedDevice::real(const void* address, std::size_t bytes) const {
  if (!is_mine(address)) throw std::logic_error(name() + ": an address is not of its memory");
  if (void* memory = find(address, bytes)) return memory;
  throw std::logic_error(name() + ": memory is used that is not alive");
}

const void* SimulatedDevice::host(const void* address) const {
  if ((bits(address) & kTagMask) != 0)
    throw std::logic_error(name() + ": device memory is used as the host's");
  return address;
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
