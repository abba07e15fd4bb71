#include "cuda_emulation/execution.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <numeric>
#include <string_view>
#include <vector>

#include "cuda_emulation/access_check.h"
#include "cuda_emulation/address_sanitizer.h"
#include "cuda_emulation/fibers.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_emulation {

Position position{};
thread_local bool in_kernel = false;

namespace {

constexpr unsigned kMaxThreads = 1024;

/// Dynamic shared memory of the block that runs: ends where a page does that faults.
class SharedMemory {
 public:
  SharedMemory()
      : first_(
            static_cast<std::byte*>(mmap(nullptr, kMost + kGuard, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    if (first_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(first_ + kMost, kGuard, PROT_NONE);
  }
  void resize(std::size_t bytes) {
    low_ = first_ + kMost - (bytes + kAlignment - 1) / kAlignment * kAlignment;
    bytes_ = bytes;
    forbid(first_, kMost);
    permit(low_, bytes_);
  }
  /// For the next block, which finds nothing in it.
  void clear() {
    if (bytes_ == 0) return;
    std::memset(low_, 0xCD, bytes_);
    note_unwritten(low_, bytes_);
  }
  void* low() const { return low_; }
  SharedPlace place_of(const void* address, std::size_t bytes) const {
    const auto* const at = static_cast<const std::byte*>(address);
    if (at + bytes <= first_ || at >= first_ + kMost + kGuard) return SharedPlace::elsewhere;
    return at >= low_ && at + bytes <= low_ + bytes_ ? SharedPlace::inside : SharedPlace::outside;
  }

 private:
  static constexpr std::size_t kMost = std::size_t{256} << 10, kGuard = std::size_t{64} << 10;
  static constexpr std::size_t kAlignment = 16;  // that dynamic_shared promises

  std::byte *first_, *low_ = first_;
  std::size_t bytes_ = 0;
};
SharedMemory shared_memory;

enum class State : std::uint8_t { fresh, running, at_barrier, in_warp, ended };

struct Thread {
  uint3 index{};
  State state = State::fresh;
  Fiber* fiber = nullptr;  ///< one whose thread has ended takes the next thread
  Line line{"", 0};
};

/// What the lanes of one mask do together. Words alternate between two buffers: nobody can be two
/// exchanges ahead of who still reads.
struct Exchange {
  unsigned mask = 0, arrived = 0, phase = 0;
  Line line{"", 0};
  std::array<unsigned, 2> lanes{};
  std::array<std::array<std::uint64_t, 32>, 2> words{};
};

struct Warp {
  unsigned alive = 0, interval = 0;
  std::vector<Exchange> exchanges;
};

/// Threads that can go on.
struct ReadySet {
  std::array<std::uint64_t, kMaxThreads / 64> words{};
  unsigned count = 0;

  void add(unsigned thread) {
    words[thread / 64] |= std::uint64_t{1} << thread % 64;
    ++count;
  }
  unsigned take(Order order, Random& random) {
    constexpr unsigned n = kMaxThreads / 64;
    unsigned word = 0, bit = 0;
    if (order == Order::reverse) {
      for (word = n - 1; words[word] == 0; --word) {
      }
      bit = 63 - static_cast<unsigned>(std::countl_zero(words[word]));
    } else if (order == Order::forward) {
      for (word = 0; words[word] == 0; ++word) {
      }
      bit = static_cast<unsigned>(std::countr_zero(words[word]));
    } else {
      const std::uint64_t draw = random.next();
      for (word = (draw >> 6) % n; words[word] == 0; word = (word + 1) % n) {
      }
      const int turn = static_cast<int>(draw % 64);
      bit = (static_cast<unsigned>(std::countr_zero(std::rotr(words[word], turn))) +
             static_cast<unsigned>(turn)) %
            64;
    }
    words[word] &= ~(std::uint64_t{1} << bit);
    --count;
    return word * 64 + bit;
  }
};

struct Runner {
  const Grid* grid = nullptr;
  Order order = Order::forward;
  Random* random = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> free_fibers;

  std::vector<Thread> threads;
  std::vector<Warp> warps;
  ReadySet ready;
  unsigned current = 0, size = 0, ended = 0, waiting = 0;
  int next = -1;  ///< taken from `ready`, not yet resumed
  unsigned phase = 0;
  std::array<int, 2> votes{};
  std::string error;
};
Runner runner;

Thread& running() { return runner.threads[runner.current]; }
Warp& warp() { return runner.warps[runner.current / 32]; }

/// While a thread is outside of the kernel's own code.
struct OutsideKernel {
  OutsideKernel() { in_kernel = false; }
  ~OutsideKernel() { in_kernel = true; }
};

/// From a thread to run_block.
void leave() { running().fiber->leave(); }

void become(unsigned number) {
  runner.current = number;
  Thread& thread = running();
  threadIdx = thread.index;
  thread.state = State::running;
  position.thread = number;
  position.warp_interval = warp().interval;
  position.stack_low = thread.fiber->low();
  position.stack_high = thread.fiber->high();
}

void fail(const std::string& message) {
  if (runner.error.empty()) runner.error = message;
}
void fail_block(const std::string& message) {
  fail("block of " + running_thread() + ": " + message);
}

std::string at(const Line& line) {
  return std::string(line.file) + ":" + std::to_string(line.line);
}

/// Lets the lanes of `exchange` go on once nobody is missing.
void complete(Warp& of, Exchange& exchange, unsigned first_thread) {
  if (exchange.arrived != (exchange.mask & of.alive)) return;
  exchange.lanes[exchange.phase] = exchange.arrived;
  exchange.phase ^= 1u;
  for (unsigned lane = 0; lane < 32; ++lane)
    if (exchange.arrived >> lane & 1u) runner.ready.add(first_thread + lane);
  exchange.arrived = 0;
}

void end_thread() {
  Warp& own = warp();
  own.alive &= ~(1u << runner.current % 32);
  running().state = State::ended;
  ++runner.ended;
  for (Exchange& exchange : own.exchanges)
    if (exchange.arrived != 0) complete(own, exchange, runner.current & ~31u);
}

void fiber_main() {
  Fiber::entered();
  while (true) {
    Fiber* const fiber = running().fiber;
    while (true) {
      in_kernel = true;
      runner.grid->signature.call(runner.grid->kernel, runner.grid->arguments);
      in_kernel = false;
      end_thread();
      if (runner.ready.count == 0) break;
      const unsigned next = runner.ready.take(runner.order, *runner.random);
      if (runner.threads[next].state != State::fresh) {
        runner.next = static_cast<int>(next);
        break;
      }
      runner.threads[next].fiber = fiber;  // no barrier, no switch
      become(next);
    }
    runner.free_fibers.push_back(fiber);
    leave();
  }
}

/// Whoever is not ended waits for the others; nobody is ready.
void release_barrier() {
  const Thread* first = nullptr;
  for (const Thread& thread : runner.threads) {
    if (thread.state == State::in_warp)
      return fail_block("a warp waits at " + at(thread.line) + " for lanes that do not come");
    if (thread.state != State::at_barrier) continue;
    if (first && !(first->line == thread.line))
      return fail_block("threads of a block wait at different barriers, " + at(first->line) +
                        " and " + at(thread.line));
    first = &thread;
  }
  if (runner.ended > 0)
    return fail_block("threads wait at the barrier at " + at(first->line) +
                      ", others of their block have ended");
  runner.waiting = 0;
  runner.phase ^= 1u;
  runner.votes[runner.phase] = 0;
  ++position.interval;
  for (Warp& of : runner.warps) ++of.interval;
  for (unsigned i = 0; i < runner.size; ++i) runner.ready.add(i);
}

void add_fiber() {
  runner.fibers.push_back(std::make_unique<Fiber>(&fiber_main, runner.fibers.size()));
  runner.free_fibers.push_back(runner.fibers.back().get());
}

void run_block() {
  const dim3& shape = runner.grid->threads;
  runner.size = shape.x * shape.y * shape.z;
  runner.threads.resize(runner.size);
  runner.warps.resize((runner.size + 31) / 32);
  for (Warp& of : runner.warps) {
    of.alive = 0;
    for (Exchange& exchange : of.exchanges) exchange.arrived = 0;
  }
  for (unsigned i = 0; i < runner.size; ++i) {
    Thread& thread = runner.threads[i];
    thread.index = {i % shape.x, i / shape.x % shape.y, i / (shape.x * shape.y)};
    thread.state = State::fresh;
    thread.fiber = nullptr;
    runner.warps[i / 32].alive |= 1u << i % 32;
    runner.ready.add(i);
  }
  runner.ended = runner.waiting = 0;
  runner.votes = {};
  runner.next = -1;
  while (runner.ended < runner.size && runner.error.empty()) {
    if (runner.next < 0 && runner.ready.count == 0) {
      release_barrier();
      continue;
    }
    const unsigned number = runner.next >= 0 ? static_cast<unsigned>(runner.next)
                                             : runner.ready.take(runner.order, *runner.random);
    runner.next = -1;
    Thread& thread = runner.threads[number];
    if (thread.state == State::fresh) {
      if (runner.free_fibers.empty()) add_fiber();
      thread.fiber = runner.free_fibers.back();
      runner.free_fibers.pop_back();
    }
    become(number);
    thread.fiber->resume();
  }
}

}  // namespace

std::string source_of(const void* code) {
  Dl_info info{};
  if (!dladdr(code, &info)) return "unknown code";
  // Addresses in a file that is loaded anywhere count from where it is loaded.
  const bool moves = static_cast<const ElfW(Ehdr)*>(info.dli_fbase)->e_type == ET_DYN;
  const auto base = moves ? reinterpret_cast<std::size_t>(info.dli_fbase) : 0;
  char command[600];
  std::snprintf(command, sizeof command, "addr2line -Cfpsie '%s' %#zx 2>/dev/null",
                info.dli_fname, reinterpret_cast<std::size_t>(code) - base);
  std::FILE* const pipe = popen(command, "r");
  if (!pipe) return "unknown code";
  std::string text;
  for (int c; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  pclose(pipe);
  // A line for the code, and one for each function that it was inlined into: the kernel's.
  while (text.find("device_code.h") < text.find('\n') && text.find('\n') + 1 < text.size())
    text.erase(0, text.find('\n') + 1);
  text.resize(std::min({text.size(), text.find('\n'), text.find(" (discriminator")}));
  const std::string_view inlined = " (inlined by) ";
  return text.starts_with(inlined) ? text.substr(inlined.size()) : text;
}

void* dynamic_shared() { return shared_memory.low(); }
SharedPlace shared_place(const void* address, std::size_t bytes) {
  return shared_memory.place_of(address, bytes);
}

std::string running_thread() {
  if (!runner.grid) return "";
  const auto text = [](unsigned x, unsigned y, unsigned z) {
    return "(" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")";
  };
  return source_of(runner.grid->kernel) + ", block " + text(blockIdx.x, blockIdx.y, blockIdx.z) +
         ", thread " + text(threadIdx.x, threadIdx.y, threadIdx.z);
}

void refuse(std::string message) {
  in_kernel = false;
  fail(running_thread() + ": " + message);
  std::string().swap(message);  // nothing on this stack is destroyed
  leave();
  std::abort();  // nobody resumes it
}
void refuse(const char* what, Line here) { refuse(at(here) + ": " + what); }

int block_barrier(int value, Line here) {
  const OutsideKernel outside;
  Thread& thread = running();
  thread.state = State::at_barrier;
  thread.line = here;
  const unsigned phase = runner.phase;
  if (value) ++runner.votes[phase];
  ++runner.waiting;
  leave();
  return runner.votes[phase];
}

Exchanged warp_exchange(unsigned mask, std::uint64_t word, Line here, bool orders_memory) {
  const OutsideKernel outside;
  const unsigned lane = runner.current % 32;
  Warp& own = warp();
  if (!(mask >> lane & 1u)) refuse("a lane is not in its own mask", here);
  auto found = std::find_if(own.exchanges.begin(), own.exchanges.end(),
                            [&](const Exchange& exchange) { return exchange.mask == mask; });
  if (found == own.exchanges.end()) {
    if (std::any_of(own.exchanges.begin(), own.exchanges.end(),
                    [&](const Exchange& exchange) { return exchange.arrived & mask; }))
      refuse("lanes of a warp wait for each other with different masks", here);
    found = own.exchanges.insert(own.exchanges.end(), Exchange{.mask = mask});
  }
  const auto index = found - own.exchanges.begin();
  Exchange& exchange = *found;
  if (exchange.arrived != 0 && !(exchange.line == here))
    refuse(("lanes of a warp meet at different calls, this and " + at(exchange.line)).c_str(),
           here);
  const unsigned phase = exchange.phase;
  exchange.line = here;
  exchange.words[phase][lane] = word;
  exchange.arrived |= 1u << lane;
  if (orders_memory && exchange.arrived == (mask & own.alive)) ++own.interval;
  running().state = State::in_warp;
  running().line = here;
  complete(own, exchange, runner.current & ~31u);
  leave();
  const Exchange& done = own.exchanges[static_cast<std::size_t>(index)];
  Exchanged all;
  std::copy(done.words[phase].begin(), done.words[phase].end(), all.words);
  all.lanes = done.lanes[phase];
  return all;
}

std::string run_grid(const Grid& grid, Order order, Random& random) {
  runner.grid = &grid;
  runner.order = order;
  runner.random = &random;
  runner.error.clear();
  blockDim = grid.threads;
  gridDim = grid.blocks;
  position.first_block = position.block + 1;
  shared_memory.resize(grid.shared_bytes);

  std::vector<unsigned> blocks(std::size_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z);
  std::iota(blocks.begin(), blocks.end(), 0u);
  if (order == Order::reverse) std::reverse(blocks.begin(), blocks.end());
  if (order == Order::random)
    for (std::size_t i = blocks.size(); i > 1; --i)
      std::swap(blocks[i - 1], blocks[random.below(i)]);
  for (const unsigned block : blocks) {
    blockIdx = {block % grid.blocks.x, block / grid.blocks.x % grid.blocks.y,
                block / grid.blocks.x / grid.blocks.y};
    ++position.block;
    shared_memory.clear();
    run_block();
    if (!runner.error.empty()) break;
  }
  std::string error;
  if (!runner.error.empty()) {
    error = runner.error;
    runner.ready = {};
    runner.free_fibers.clear();  // whoever waited will not go on
    for (const auto& fiber : runner.fibers) {
      fiber->restart();
      runner.free_fibers.push_back(fiber.get());
    }
    for (Warp& of : runner.warps) of.exchanges.clear();
  }
  runner.grid = nullptr;
  return error;
}

}  // namespace cuda_emulation
