#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda_emulation/device_code.h"
#include "cuda_emulation/emulation.h"

namespace cuda_emulation {

/// SplitMix64.
struct Random {
  std::uint64_t state = 1;
  std::uint64_t next() {
    std::uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(next() % n); }
};

struct Grid {
  const void* kernel;
  Signature signature;
  dim3 blocks, threads;
  std::size_t shared_bytes;
  void* const* arguments;
};
/// Runs a launch's threads here, one after the other. Returns what went wrong, or "".
std::string run_grid(const Grid& grid, Order order, Random& random);

/// Where the running thread is, for access checks. All count up over the whole process.
struct Position {
  std::uint64_t first_block, block;  ///< the launch's first and this one
  unsigned thread;                   ///< within the block
  unsigned interval, warp_interval;  ///< how many barriers the block, and the warp, have passed
  const void *stack_low, *stack_high;
};
extern Position position;

/// "kernel, block (1,0,0), thread (31,0,0)" of the running thread; "" on the host.
std::string running_thread();
/// "function at file:line" of code in this program.
std::string source_of(const void* code);
/// Ends the launch with an error of the running thread.
[[noreturn]] void refuse(std::string message);
extern thread_local bool in_kernel;  ///< while code of a kernel itself runs
/// Where an access lies, seen from the block's dynamic shared memory.
enum class SharedPlace { elsewhere, inside, outside };
SharedPlace shared_place(const void* address, std::size_t bytes);

}  // namespace cuda_emulation
