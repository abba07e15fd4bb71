#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "device/cuda/launch.h"
#include "device/cuda/stream.h"
#include "device/kernel.h"

/// How kernels' makers issue work, and what kernels of all families use.
namespace gradgraph::cuda {

inline constexpr std::string_view kCuda = "cuda";
inline constexpr int kWarp = 32;

inline CudaStream& stream_of(const KernelArgs& args) {
  return static_cast<CudaStream&>(*args.stream);
}

inline void check_launch(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw KernelError(std::string("the kernel cannot be launched: ") + cudaGetErrorString(status));
}

/// Launches `kernel` in the stream of `args`. Throws a KernelError where it cannot be launched.
template <class... P, class... A>
void issue(const KernelArgs& args, void (*kernel)(P...), dim3 grid, dim3 block,
           std::size_t shared_bytes, A&&... arguments) {
  check_launch(launch(kernel, grid, block, shared_bytes, stream_of(args).native(),
                      std::forward<A>(arguments)...));
}

/// The same for one that the driver compiled, by its arguments' addresses.
inline void issue_compiled(const KernelArgs& args, const void* kernel, dim3 grid, dim3 block,
                           void** arguments) {
  check_launch(cudaLaunchKernel(kernel, grid, block, arguments, 0, stream_of(args).native()));
}

/// Blocks that share `count` pieces of work, `each` pieces a block, in as many rounds as needed.
inline unsigned blocks_for(std::int64_t count, std::int64_t each) {
  constexpr std::int64_t kMost = 4096;
  return static_cast<unsigned>(std::clamp<std::int64_t>((count + each - 1) / each, 1, kMost));
}

/// The thread's number among all of a launch in one dimension, and how many there are.
__device__ inline std::int64_t thread_number() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t num_threads() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

__device__ inline bool is_stopped(const Stopper& stopper) {
  return stopper.earliest && load_relaxed(stopper.earliest) >= stopper.rank;
}

/// Notes a value that a kernel refuses; of all that do in a step the first one counts.
__device__ inline void refuse(const RefusalSlot& slot, const Refused& refused) {
  if (atomicCAS(slot.first, 0ull, slot.launch) != 0) return;
  atomicMax(slot.earliest, slot.rank);
  slot.host->message = refused.message;
  slot.host->index = refused.index;
  slot.host->number = refused.number;
  slot.host->size = refused.size;
  __threadfence_system();
  slot.host->launch = slot.launch;
}

}  // namespace gradgraph::cuda
