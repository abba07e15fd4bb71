#include "cuda_emulation/engine.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <thread>

#include "cuda_emulation/access_check.h"

namespace cuda_emulation {
namespace {

constexpr std::size_t kQueueLength = 1024;

std::string of_environment(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}
Settings settings_of_environment() {
  const std::string order = of_environment("CUDA_EMULATION_ORDER");
  const std::string pace = of_environment("CUDA_EMULATION_PACE");
  const std::string seed = of_environment("CUDA_EMULATION_SEED");
  Settings settings;
  if (order == "reverse") settings.order = Order::reverse;
  if (order == "random") settings.order = Order::random;
  if (pace == "eager") settings.pace = Pace::eager;
  if (pace == "lazy") settings.pace = Pace::lazy;
  if (!seed.empty()) settings.seed = std::strtoull(seed.c_str(), nullptr, 10);
  settings.check = of_environment("CUDA_EMULATION_CHECK") == "1";
  return settings;
}

bool is_ready(const CUstream_st* stream) {
  if (stream->commands.empty()) return false;
  const Command& head = stream->commands.front();
  return head.type != Command::Type::wait || head.event->reached >= head.count;
}

}  // namespace

static_assert(kMaxDevices == 4);
Engine::Engine() : memory{Memory{false}, Memory{false}, Memory{false}, Memory{false}} {
  settings = settings_of_environment();
  random.state = settings.seed;
  check_accesses(settings.check);
  watch_faults();
  std::thread([this] { work(); }).detach();
}

void Engine::wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done) {
  if (done() && !busy_) return;
  ++waiting_;
  changed_.notify_all();
  changed_.wait(lock, done);
  --waiting_;
  if (settings.pace == Pace::free) return;
  // The host goes on alone, and without a way to the devices' memory.
  changed_.wait(lock, [&] { return !busy_; });
  close_all();
}

void Engine::push(std::unique_lock<std::mutex>& lock, CUstream_st* stream, Command command) {
  stream->clock.join(host_clock);
  if (command.type == Command::Type::work) {
    command.work.before = stream->clock;
    command.work.stamp = {stream->number, stream->clock.tick(stream->number)};
  } else if (command.type == Command::Type::record) {
    command.event->before = stream->clock;
  } else {
    stream->clock.join(command.event->before);
  }
  stream->commands.push_back(std::move(command));
  ++queued_;
  changed_.notify_all();
  if (settings.pace == Pace::eager) wait(lock, [&] { return idle(); });
  if (queued_ >= kQueueLength) wait(lock, [&] { return queued_ < kQueueLength; });
}

void Engine::nudge() {
  ++allowance_;
  changed_.notify_all();
}

bool Engine::idle() const { return std::all_of(streams.begin(), streams.end(), done); }
bool Engine::done(const CUstream_st* stream) { return stream->commands.empty() && !stream->busy; }

void Engine::add(CUstream_st* stream) {
  stream->number = streams.size();
  if (!free_numbers_.empty()) {
    stream->number = free_numbers_.back();
    free_numbers_.pop_back();
  }
  streams.push_back(stream);
}
/// The host has waited for all that the number stands for: another stream can have it.
void Engine::remove(std::unique_lock<std::mutex>& lock, CUstream_st* stream) {
  wait(lock, [&] { return done(stream); });
  host_clock.join(stream->clock);
  free_numbers_.push_back(stream->number);
  std::erase(streams, stream);
}

void Engine::fail(const std::string& why) {
  if (sticky == cudaSuccess) message = why;
  sticky = cudaErrorLaunchFailure;
}

void Engine::run(const Work& work, const Task& task) {
  {
    const std::scoped_lock lock(mutex);
    if (sticky != cudaSuccess) return;
    running_device = work.device;
    if (work.kind == Kind::kernel) ++kernels_run;
    open_for(work);
  }
  begin_task(task, work.what, work.operands);
  const std::string error = work.run(work);
  if (error.empty()) return;
  const std::scoped_lock lock(mutex);
  fail(error);
}

std::size_t Engine::choose(std::size_t count) {
  return settings.order == Order::forward   ? 0
         : settings.order == Order::reverse ? count - 1
                                            : random.below(count);
}

CUstream_st* Engine::choose_stream() {
  if (settings.pace == Pace::lazy && waiting_ == 0 && allowance_ == 0) return nullptr;
  std::vector<CUstream_st*> able;
  std::copy_if(streams.begin(), streams.end(), std::back_inserter(able), is_ready);
  return able.empty() ? nullptr : able[choose(able.size())];
}

void Engine::open_for(const Work& work) {
  for (int device = 0; device < kMaxDevices; ++device) {
    const bool needed =
        work.kind == Kind::copy || (work.kind != Kind::host && device == work.device);
    Memory& of = memory[static_cast<std::size_t>(device)];
    if (needed)
      of.open();
    else
      of.close();
  }
}
void Engine::close_all() {
  for (Memory& of : memory) of.close();
}

void Engine::work() {
  std::vector<char> signal_stack(1 << 18);
  const stack_t alternative{signal_stack.data(), 0, signal_stack.size()};
  sigaltstack(&alternative, nullptr);
  std::unique_lock lock(mutex);
  while (true) {
    CUstream_st* stream = choose_stream();
    if (!stream) {
      close_all();
      changed_.wait(lock, [&] { return (stream = choose_stream()) != nullptr; });
    }
    Command command = std::move(stream->commands.front());
    stream->commands.pop_front();
    stream->busy = busy_ = true;
    --queued_;
    if (allowance_ > 0) --allowance_;
    if (command.type == Command::Type::work) {
      lock.unlock();
      if (command.work.kind == Kind::graph)
        command.work.run(command.work);
      else
        run(command.work, {command.work.stamp, &command.work.before});
      command.work = {};
      lock.lock();
    } else if (command.type == Command::Type::record) {
      command.event->reached = std::max(command.event->reached, command.count);
      command.event->time = std::chrono::steady_clock::now();
    }
    stream->busy = busy_ = false;
    changed_.notify_all();
  }
}

Engine& engine() {
  static Engine& only = *new Engine;  // the worker never ends
  return only;
}

// --- What several functions of the API do ----------------------------------------------------

bool forbidden(CUstream_st* stream) {
  Engine& device = engine();
  if (stream ? !stream->capture : device.captures == 0) return false;
  bool forbids = false;
  for (CUstream_st* each : device.streams) {
    if (!each->capture) continue;
    Capture& capture = *each->capture;
    const bool concerned = stream ? each == stream
                                  : capture.mode == cudaStreamCaptureModeGlobal ||
                                        (capture.mode == cudaStreamCaptureModeThreadLocal &&
                                         capture.thread == std::this_thread::get_id());
    if (concerned) capture.invalid = forbids = true;
  }
  return forbids;
}

cudaError_t synchronize_all(std::unique_lock<std::mutex>& lock) {
  if (forbidden()) return result(cudaErrorStreamCaptureUnsupported);
  engine().wait(lock, [] { return engine().idle(); });
  for (const CUstream_st* stream : engine().streams) engine().host_clock.join(stream->clock);
  return result(engine().sticky);
}

namespace {
thread_local Operands operands;  // of what the thread issues
}  // namespace

OperandScope::OperandScope(std::vector<Range> allowed, std::vector<Range> fresh) {
  operands = {std::make_shared<const std::vector<Range>>(std::move(allowed)), std::move(fresh)};
}
OperandScope::~OperandScope() { operands = {}; }

cudaError_t issue(cudaStream_t stream, Work work) {
  std::unique_lock lock(engine().mutex);
  if (!stream)
    return result(cudaErrorInvalidResourceHandle, "the default stream is not to be used");
  work.device = stream->device;
  work.operands = {operands.allowed, std::exchange(operands.fresh, {})};
  if (stream->capture) {
    auto& nodes = stream->capture->nodes;
    nodes.push_back({std::move(work), stream->tail});
    stream->tail = {nodes.size() - 1};
    return cudaSuccess;
  }
  engine().push(lock, stream, {.work = std::move(work)});
  return result(engine().sticky);
}

bool is_device(const void* memory, std::size_t bytes) {
  const std::scoped_lock lock(engine().mutex);
  const auto end = reinterpret_cast<std::uintptr_t>(memory) + bytes;
  return std::any_of(engine().memory.begin(), engine().memory.end(), [&](const Memory& of) {
    const auto [low, high] = of.block(memory);
    return high != 0 && end <= high;
  });
}
bool is_reserved(const void* memory) {
  const auto has = [&](const Memory& of) { return of.has(memory); };
  return engine().host_memory.has(memory) ||
         std::any_of(engine().memory.begin(), engine().memory.end(), has);
}
Block reachable_block(const void* memory) {
  const std::scoped_lock lock(engine().mutex);
  const auto of_host = engine().host_memory.block(memory);
  if (of_host.second != 0) return {of_host.first, of_host.second, true};
  const auto number = static_cast<std::size_t>(engine().running_device);
  const auto block = engine().memory[number].block(memory);
  return {block.first, block.second, false};
}

// --- For tests -------------------------------------------------------------------------------

void configure(const Settings& settings) {
  std::unique_lock lock(engine().mutex);
  synchronize_all(lock);
  if (settings.check != engine().settings.check) {
    check_accesses(settings.check);
    for (const Memory& of : engine().memory)
      for (const auto& [memory, bytes] : of.live()) note_known(memory, bytes);
  }
  engine().settings = settings;
  engine().random.state = settings.seed;
}
std::string take_error() {
  std::unique_lock lock(engine().mutex);
  engine().wait(lock, [] { return engine().idle(); });
  engine().sticky = cudaSuccess;
  cudaGetLastError();
  return std::exchange(engine().message, "");
}
void fail_device(const std::string& message) {
  const std::scoped_lock lock(engine().mutex);
  engine().fail(message);
}
void refuse_graphs(bool refuse) {
  const std::scoped_lock lock(engine().mutex);
  engine().refuses_graphs = refuse;
}
void describe(const void* kernel, const Signature& signature) {
  const std::scoped_lock lock(engine().mutex);
  engine().kernels.try_emplace(kernel, signature);
}
void set_machine(const Machine& machine) {
  const std::scoped_lock lock(engine().mutex);
  engine().machine = machine;
}
void set_memory_limit(int device, std::size_t bytes) {
  const std::scoped_lock lock(engine().mutex);
  engine().memory[static_cast<std::size_t>(device)].limit(bytes);
}
std::uint64_t libraries_compiled() {
  const std::scoped_lock lock(engine().mutex);
  return engine().libraries_compiled;
}
std::size_t libraries_loaded() {
  const std::scoped_lock lock(engine().mutex);
  return engine().libraries_loaded;
}
std::uint64_t kernels_run() {
  const std::scoped_lock lock(engine().mutex);
  return engine().kernels_run;
}
std::uint64_t copied_bytes() { return engine().copied_bytes; }
std::uint64_t allocations_made() {
  const std::scoped_lock lock(engine().mutex);
  return engine().allocations_made;
}
std::size_t live_allocations(int device) {
  const std::scoped_lock lock(engine().mutex);
  return engine().memory[static_cast<std::size_t>(device)].live().size();
}

}  // namespace cuda_emulation
