#pragma once

#include "device/cuda/best.h"
#include "device/cuda/block_reduce.h"
#include "device/cuda/issue.h"
#include "device/shared/elements.h"
#include "device/shared/math_functions.h"
#include "device/shared/scalar_functors.h"

/// What softmax and its losses take from a row of logits, as on the CPU: all is relative to the
/// largest of them, whose own exponential, 1, is never added to the others' sum, the "rest".
namespace gradgraph::cuda {

inline constexpr int kRowThreads = 128;

/// A row is worked on by one thread, by a warp or by a block.
template <int kLanes>
struct RowGrid {
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kLanes; }
  __device__ static std::int64_t first() { return thread_number() / kLanes; }
  __device__ static std::int64_t step() { return num_threads() / kLanes; }
  static unsigned blocks(std::int64_t rows) { return blocks_for(rows, kRowThreads / kLanes); }
};
inline constexpr std::int64_t kShortRow = 32;

template <class T>
__device__ T of_lane(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
template <class T>
__device__ Best<T> of_lane(const Best<T>& best, int lane) {
  return {of_lane(best.value, lane), of_lane(best.index, lane)};
}

template <int kLanes, class T, class Combine>
__device__ T row_reduce(T value, std::int64_t size, Combine combine) {
  if constexpr (kLanes == 1) {
    return value;
  } else if constexpr (kLanes == kWarp) {
    const int lane = RowGrid<kLanes>::lane();
    for (int width = kWarp / 2; width > 0; width /= 2) {
      const T other = of_lane(value, (lane + width) % kWarp);
      if (lane < width && lane + width < size) value = combine(value, other);
    }
    return of_lane(value, 0);
  } else {
    __shared__ T shared[kLanes];
    const int count = size < kLanes ? static_cast<int>(size) : kLanes;
    const T total = block_reduce(value, count, shared, combine);
    __syncthreads();
    return total;
  }
}

/// Of a row with a NaN, or whose largest element is infinite, the rest is NaN.
template <class T>
struct RowTotals {
  T largest, rest;
  std::int64_t top;  ///< where the largest is first
};

template <int kLanes, class T>
__device__ RowTotals<T> totals_of(const T* x, std::int64_t size, std::int64_t stride) {
  using Largest = functors::ArgMax;
  const int lane = RowGrid<kLanes>::lane();
  Best<T> best{lane < size ? x[lane * stride] : T{0}, lane};
  for (std::int64_t i = lane + kLanes; i < size; i += kLanes)
    if (Largest::better(x[i * stride], best.value)) best = {x[i * stride], i};
  best = row_reduce<kLanes>(best, size, BestOf<Largest, T>{});
  T rest = 0;
  for (std::int64_t i = lane; i < size; i += kLanes)
    if (i != best.index) rest += math::exp(x[i * stride] - best.value);
  rest = row_reduce<kLanes>(rest, size, functors::Add{});
  return {best.value, rest + (best.value - best.value), best.index};
}

/// The loss of a class, given its logit and log1p(rest).
template <class T>
__device__ T loss_of(T logit, T largest, T log_rest) {
  return log_rest + (largest - logit);
}

}  // namespace gradgraph::cuda
