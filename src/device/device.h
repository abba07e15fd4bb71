#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "device/kernel.h"
#include "placement/costs.h"

namespace gradgraph {

/// A point in a stream's work. Made once, recorded every run.
class Event {
 public:
  virtual ~Event() = default;
  /// Seconds of the device's clock from `earlier`, an event of the same device, to this one.
  /// Both have been recorded, and the host has waited for them.
  virtual double seconds_since(const Event& earlier) const = 0;
};

enum class CopyKind {
  to_device,
  to_host,
  within,
  between,  ///< two devices of one kind; issued to a stream of the one that is written to
};

/// One kernel call, fully prepared: it stays where it is and is launched every run.
struct Launch {
  const Kernel* kernel = nullptr;
  KernelArgs args;
  const Node* node = nullptr;  ///< for messages
  /// An update of variables, which must not happen once a kernel has refused a value.
  bool is_update = false;
  std::int32_t step = 0;  ///< of those that are recorded together
};
/// A stream keeps apart what is refused in so many steps, one after the other, that are recorded
/// together: their launches that may refuse values, and updates, may run side by side.
inline constexpr std::int32_t kRefusingSteps = 3;
/// Throws a RunError that names op, node and line of the launch whose kernel threw `error`.
[[noreturn]] void refuse(const Launch& launch, const KernelError& error);
/// What a stream's `check` throws for a kernel that refused a value: the same error. Updates of
/// that launch's step and of later ones have not happened.
struct RefusedValue : RunError {
  RefusedValue(const Launch& refusing, const KernelError& error);
  const Launch* launch;
};
/// Calls the kernel; a KernelError becomes a RunError as above.
void execute(const Launch& launch, const KernelArgs& args);

/// Work that a stream has recorded, to be issued again and again, all at once. Goes before the
/// stream does.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;  ///< issues it to that stream
};

/// Between `begin` and `end` a stream's work is noted instead of done, with all that it is given:
/// addresses, but not what is there. Of pieces, each waits for those that it names and no other.
class Recorder {
 public:
  virtual ~Recorder() = default;
  virtual void begin() = 0;
  /// What is issued from now on is a piece; `waits` are the numbers of earlier ones.
  virtual void begin_piece(std::span<const int> waits) = 0;
  virtual std::unique_ptr<Recording> end() = 0;
};

/// Work of one device, done in the order in which it is issued. Holds what kernels need for each
/// stream (native handle, libraries' handles) and the error of work that failed. From the first
/// failure until `check` updates of its step and of later ones do nothing; all other work goes
/// on. Used by one thread at a time. The device outlives it; what was issued is done before it
/// ends.
class Stream {
 public:
  explicit Stream(Device& device) : device_(device) {}
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device& device() const { return device_; }

  virtual void launch(const Launch& launch) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes, CopyKind kind) = 0;
  virtual void record(Event& event) = 0;
  /// Later work waits for `event`, of a device of the same kind, as it was recorded last.
  virtual void wait(Event& event) = 0;
  /// The host waits for all that was issued.
  virtual void synchronize() = 0;
  /// Throws the first error of what is done, and forgets it. Does not wait.
  virtual void check() = 0;

  /// Null where a device has no such thing.
  virtual Recorder* recorder() { return nullptr; }

 private:
  Device& device_;
};

/// Where kernels run. Host code may touch a device's memory only where `host_memory` says so.
class Device {
 public:
  explicit Device(std::string name) : name_(std::move(name)) {}
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return name_; }  ///< "cuda:0"
  std::string_view kind() const {                    ///< "cuda": which kernels it runs
    return std::string_view(name_).substr(0, name_.find(':'));
  }
  /// In words, what it is.
  virtual std::string description() const { return name_; }
  /// True when the host reads and writes its memory directly and its work is done on return.
  virtual bool host_memory() const = 0;
  /// True when `launch` does nothing but call the kernel: whoever has one may do it himself.
  virtual bool calls_kernels() const { return false; }

  /// Aligned to Tensor::kAlignment or more; throws std::bad_alloc where there is no memory.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void deallocate(void* memory) noexcept = 0;
  /// Memory of the host which copies to and from this device reach without a detour.
  virtual void* allocate_staging(std::size_t bytes);
  virtual void deallocate_staging(void* memory) noexcept;
  /// Bytes that the device has altogether, and those that are free now; 0 where nobody knows.
  struct Memory {
    std::size_t total = 0, free = 0;
  };
  virtual Memory memory() const { return {}; }
  /// What its work costs as long as nobody has measured it; none where only who asks for the
  /// device shall get it. `threads` are those of the CPU's kernels.
  virtual std::optional<DeviceCosts> modelled_costs([[maybe_unused]] int threads) const {
    return {};
  }

  virtual std::unique_ptr<Stream> make_stream() = 0;
  virtual std::unique_ptr<Event> make_event() = 0;
  virtual void synchronize(Event& event) = 0;  ///< the host waits for it

 private:
  std::string name_;
};

/// A stream of a device that works in host memory: all is done on return, and errors are thrown
/// at once.
class HostStream : public Stream {
 public:
  using Stream::Stream;
  void launch(const Launch& launch) override { execute(launch, launch.args); }
  void copy(void* to, const void* from, std::size_t bytes, CopyKind kind) override;
  void record(Event& event) override;
  void wait(Event&) override {}
  void synchronize() override {}
  void check() override {}
};
/// Of the host, as far as the system says.
Device::Memory host_memory();
/// What a HostStream records.
std::unique_ptr<Event> make_host_event();

/// The kinds of device that this process knows, by name ("cpu"), and how to open one.
class DeviceRegistry {
 public:
  using Open = std::function<std::shared_ptr<Device>(const std::string& name)>;
  /// `names` lists the devices of this kind that are there now: {"cuda:0", "cuda:1"}. Where there
  /// are none, `absence` says what is missing.
  void add(std::string kind, Open open, std::vector<std::string> names, std::string absence = "");
  std::vector<std::string> names() const;
  /// Why there is no device of a kind; empty where there is one, or nobody knows the kind.
  std::string absence(std::string_view kind) const;
  /// The device called `name`, the same object for everybody; null when there is none.
  std::shared_ptr<Device> open(const std::string& name);

 private:
  struct Kind {
    Open open;
    std::vector<std::string> names;
    std::string absence;
  };
  std::map<std::string, Kind, std::less<>> kinds_;
  std::map<std::string, std::shared_ptr<Device>> opened_;
};

/// Process-wide; holds "cpu" from the start.
DeviceRegistry& device_registry();

}  // namespace gradgraph
