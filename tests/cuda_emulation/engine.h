#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cuda_emulation/emulation.h"
#include "cuda_emulation/execution.h"
#include "cuda_emulation/memory.h"
#include "cuda_emulation/ordering.h"

/// What the runtime API's functions share: streams of commands, and one worker that carries them
/// out.
namespace cuda_emulation {

enum class Kind { kernel, copy, fill, host, library, graph };

/// What a stream does at some time, or a node of a graph each time that it is launched.
struct Work {
  Kind kind = Kind::kernel;
  int device = 0;
  const void* what = nullptr;  ///< tells nodes of one kind apart: the kernel, the function
  std::vector<std::vector<std::byte>> arguments = {};  ///< a kernel's, as they were copied
  Operands operands = {};
  Stamp stamp = {};  ///< of a stream's work
  Clock before = {};
  std::function<std::string(const Work&)> run = {};  ///< returns what went wrong, or ""
};

struct Node {
  Work work;
  std::vector<std::size_t> dependencies;
  bool is_left = false;  ///< the stream was made to go on elsewhere; nobody need wait for it
};

struct Capture {
  std::vector<Node> nodes;
  CUstream_st* origin = nullptr;
  bool active = true, invalid = false;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  std::thread::id thread = {};  ///< that began it
};

struct EventState {
  int device = 0;
  std::uint64_t recorded = 0, reached = 0;
  Clock before;  ///< what runs before it, as it was recorded last
  std::chrono::steady_clock::time_point time;
  std::shared_ptr<Capture> capture;  ///< where it was recorded last, and what it stands for there
  std::vector<std::size_t> nodes;
};

struct Command {
  enum class Type { work, record, wait } type = Type::work;
  Work work = {};
  std::shared_ptr<EventState> event = {};
  std::uint64_t count = 0;  ///< how often the event was recorded
};

}  // namespace cuda_emulation

struct CUstream_st {
  int device = 0;
  std::size_t number = 0;            ///< among those alive
  cuda_emulation::Clock clock = {};  ///< what runs before its next work
  std::deque<cuda_emulation::Command> commands = {};
  bool busy = false;
  std::shared_ptr<cuda_emulation::Capture> capture = {};
  std::vector<std::size_t> tail = {};              ///< the nodes that the next one depends on
  std::vector<cudaGraphNode_t> tail_handles = {};  ///< as the host was told last
};
struct CUevent_st {
  std::shared_ptr<cuda_emulation::EventState> state =
      std::make_shared<cuda_emulation::EventState>();
};
struct CUgraph_st {
  std::vector<cuda_emulation::Node> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<cuda_emulation::Node>> nodes;
};

namespace cuda_emulation {

/// Every member but `running_device` is guarded by `mutex`.
class Engine {
 public:
  Engine();

  std::mutex mutex;
  std::array<Memory, kMaxDevices> memory;
  Memory host_memory{true};
  Machine machine;
  Settings settings;
  Random random;
  std::vector<CUstream_st*> streams;
  Clock host_clock;  ///< what the host has waited for
  std::unordered_map<const void*, Signature> kernels;
  std::unordered_map<const void*, std::size_t> shared_limits;
  std::string message;  ///< why `sticky` is not cudaSuccess
  cudaError_t sticky = cudaSuccess;
  bool refuses_graphs = false;
  int captures = 0;  ///< those that forbid unsafe calls, of some thread
  int running_device = 0;
  std::uint64_t kernels_run = 0, allocations_made = 0, libraries_compiled = 0;
  std::size_t libraries_loaded = 0;
  std::atomic<std::uint64_t> copied_bytes = 0;  ///< counted by what runs, without the mutex

  /// Lets the worker run until `done`, which holds the mutex.
  void wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done);
  void push(std::unique_lock<std::mutex>& lock, CUstream_st* stream, Command command);
  /// One command, for a host that polls.
  void nudge();
  bool idle() const;
  static bool done(const CUstream_st* stream);
  void fail(const std::string& why);
  void add(CUstream_st* stream);
  /// Waits for its work first.
  void remove(std::unique_lock<std::mutex>& lock, CUstream_st* stream);
  /// Runs work, on the worker; opens the memory that it may touch.
  void run(const Work& work, const Task& task);
  /// The number of one of `count` that are able, by the order of the settings.
  std::size_t choose(std::size_t count);

 private:
  void work();
  CUstream_st* choose_stream();
  void open_for(const Work& work);
  void close_all();

  std::condition_variable changed_;
  std::vector<std::size_t> free_numbers_;
  std::size_t queued_ = 0;
  int waiting_ = 0, allowance_ = 0;
  bool busy_ = false;
};
Engine& engine();

/// Returns `error`, and keeps it for cudaGetLastError; with a reason for cudaGetErrorString.
cudaError_t result(cudaError_t error);
cudaError_t result(cudaError_t error, const char* why);
int current_device();
/// Calls that a capture forbids; they spoil it. Without a stream: captures that are not relaxed,
/// of any thread or, where their mode is thread-local, of the calling one.
bool forbidden(CUstream_st* stream = nullptr);
cudaError_t synchronize_all(std::unique_lock<std::mutex>& lock);
/// Queues work of a stream, or captures it.
cudaError_t issue(cudaStream_t stream, Work work);

/// Whether all bytes lie in one live allocation of a device's memory.
bool is_device(const void* memory, std::size_t bytes);
/// Whether the address is one that the memory of some device, or of the host for devices, has.
bool is_reserved(const void* memory);
/// The live allocation that kernels of the running device may reach and that holds an address.
struct Block {
  std::uintptr_t low = 0, high = 0;
  bool of_host = false;
};
Block reachable_block(const void* memory);
/// Reports faults of kernels as errors of the device, and the host's by name before it dies.
void watch_faults();

}  // namespace cuda_emulation
