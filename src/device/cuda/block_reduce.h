#pragma once

#include "device/cuda/launch.h"

namespace gradgraph::cuda {

/// What `combine` makes of the values of a block's first `count` threads, at least one, in one
/// order; known to all threads. `shared` has room for a value of each thread, and may be used
/// again after the next barrier.
template <class T, class Combine>
__device__ T block_reduce(T value, int count, T* shared, Combine combine) {
  const int thread = static_cast<int>(threadIdx.x);
  shared[thread] = value;
  int width = 1;
  while (2 * width < count) width *= 2;
  for (; width > 0; width /= 2) {
    __syncthreads();
    if (thread < width && thread + width < count)
      shared[thread] = combine(shared[thread], shared[thread + width]);
  }
  __syncthreads();
  return shared[0];
}

}  // namespace gradgraph::cuda
