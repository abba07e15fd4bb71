#pragma once

#include "device/cuda/best.h"
#include "device/cuda/block_reduce.h"
#include "device/cuda/issue.h"

/// How rows are shared among threads, and what these reduce a row to.
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

/// Calls body.operator()<kLanes>() with what suits rows of `size` elements, `stride` apart: those
/// of rows that lie side by side are best read by neighbours.
template <class Body>
void with_lanes(std::int64_t size, std::int64_t stride, const Body& body) {
  constexpr std::int64_t kShortRow = 4, kMediumRow = 1024;
  if (size <= kShortRow || (stride > 1 && size <= kWarp))
    body.template operator()<1>();
  else if (size <= kMediumRow)
    body.template operator()<kWarp>();
  else
    body.template operator()<kRowThreads>();
}

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

}  // namespace gradgraph::cuda
