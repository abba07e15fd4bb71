#pragma once

#include <cstdint>

#include "device/cuda/block_reduce.h"
#include "device/cuda/issue.h"

namespace gradgraph::cuda {

/// Refuses the first of `count` indices that is outside [0,size). By one block, so that it is the
/// first one; the kernels behind it leave such indices out.
void check_indices(const KernelArgs& args, const void* indices, DType dtype, std::int64_t count,
                   std::int64_t size);

/// The same as part of another kernel: by one block of kThreads.
template <int kThreads, class I>
__device__ void refuse_first_bad(const I* indices, std::int64_t count, std::int64_t size,
                                 const RefusalSlot& slot) {
  __shared__ std::int64_t shared[kThreads];
  std::int64_t first = count;
  for (std::int64_t i = static_cast<int>(threadIdx.x); i < count && first == count; i += kThreads)
    if (const auto index = static_cast<std::int64_t>(indices[i]); index < 0 || index >= size)
      first = i;
  first = block_reduce(first, kThreads, shared,
                       [](std::int64_t a, std::int64_t b) { return b < a ? b : a; });
  if (threadIdx.x == 0 && first < count)
    refuse(slot,
           {.index = static_cast<std::int64_t>(indices[first]), .number = first, .size = size});
}

}  // namespace gradgraph::cuda
