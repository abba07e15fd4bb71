#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "device/kernel.h"

namespace gradgraph {

/// A point in a stream's work that others can wait for. Made once, recorded every run.
class Event {
 public:
  virtual ~Event() = default;
};

enum class CopyKind { to_device, to_host, within };

/// One kernel call, fully prepared: it stays where it is and is launched every run.
struct Launch {
  const Kernel* kernel = nullptr;
  KernelArgs args;
  const Node* node = nullptr;  ///< for messages
};
/// Throws a RunError that names op, node and line of the launch whose kernel threw `error`.
[[noreturn]] void refuse(const Launch& launch, const KernelError& error);
/// Calls the kernel; a KernelError becomes a RunError as above.
void execute(const Launch& launch, const KernelArgs& args);

/// Where kernels run. Work is issued to numbered streams (0 computes, 1 copies) and runs in
/// order within each. Host code may touch a device's memory only where `host_memory` says so.
/// Errors of asynchronous work are thrown by the next synchronize.
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
  /// True when the host reads and writes its memory directly and its work is done on return.
  virtual bool host_memory() const = 0;
  /// True when `launch` does nothing but call the kernel: whoever has one may do it himself.
  virtual bool calls_kernels() const { return false; }

  /// Aligned to Tensor::kAlignment or more; throws std::bad_alloc where there is no memory.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void deallocate(void* memory) noexcept = 0;

  virtual void launch(int stream, const Launch& launch) = 0;
  virtual void copy(int stream, void* to, const void* from, std::size_t bytes, CopyKind kind) = 0;

  virtual std::unique_ptr<Event> make_event() = 0;
  virtual void record(int stream, Event& event) = 0;
  virtual void wait(int stream, Event& event) = 0;  ///< later work in `stream` waits for it
  virtual void synchronize(Event& event) = 0;       ///< the host waits for it
  virtual void synchronize() = 0;                   ///< the host waits for everything

 private:
  std::string name_;
};

/// The kinds of device that this process knows, by name ("cpu"), and how to open one.
class DeviceRegistry {
 public:
  using Open = std::function<std::shared_ptr<Device>(const std::string& name)>;
  /// `names` lists the devices of this kind that are there now: {"cuda:0", "cuda:1"}.
  void add(std::string kind, Open open, std::vector<std::string> names);
  std::vector<std::string> names() const;
  /// The device called `name`, the same object for everybody; null when there is none.
  std::shared_ptr<Device> open(const std::string& name);

 private:
  struct Kind {
    Open open;
    std::vector<std::string> names;
  };
  std::map<std::string, Kind> kinds_;
  std::map<std::string, std::shared_ptr<Device>> opened_;
};

/// Process-wide; holds "cpu" from the start.
DeviceRegistry& device_registry();

}  // namespace gradgraph
