#pragma once

#include <algorithm>

#include "device/cuda/issue.h"
#include "device/shared/axis_view.h"

namespace gradgraph::cuda {

/// A row's order: NaN is larger than all numbers, of equals the first comes first.
/// So there is one order, whatever the algorithm.
template <class T>
struct RowOrder {
  const T* x;
  std::int64_t stride;
  bool descending;

  __device__ static bool is_less(T a, T b) { return a < b || (a == a && b != b); }
  __device__ bool before(std::int64_t i, std::int64_t j) const {
    const T a = x[i * stride], b = x[j * stride];
    if (is_less(a, b)) return !descending;
    return is_less(b, a) ? descending : i < j;
  }
};

/// How many of `count` things, of which some at the beginning pass, do.
template <class Passes>
__device__ std::int64_t count_passing(std::int64_t count, const Passes& passes) {
  std::int64_t first = 0;
  while (count > 0) {
    const std::int64_t half = count / 2;
    if (passes(first + half)) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}

inline constexpr int kSortThreads = 128;
/// Elements that one block sorts in shared memory.
inline constexpr int kSortedAtOnce = 1024;

/// Sorts runs of `width` elements, a power of two, each by a block: a bitonic network. What lies
/// behind a row's end is last.
template <class T>
__global__ void __launch_bounds__(kSortThreads)
    sort_runs(const T* x, std::int64_t* order, AxisView view, int width, bool descending) {
  __shared__ std::int64_t places[kSortedAtOnce];
  const std::int64_t runs = (view.size + width - 1) / width;
  for (std::int64_t task = blockIdx.x; task < view.rows() * runs; task += gridDim.x) {
    const std::int64_t row = task / runs, begin = task % runs * width;
    const RowOrder<T> rule{x + view.start(row), view.inner, descending};
    for (int i = static_cast<int>(threadIdx.x); i < width; i += kSortThreads)
      places[i] = begin + i;
    for (int block = 2; block <= width; block *= 2)
      for (int distance = block / 2; distance > 0; distance /= 2) {
        __syncthreads();
        for (int pair = static_cast<int>(threadIdx.x); pair < width / 2; pair += kSortThreads) {
          const int i = 2 * pair - (pair & (distance - 1)), j = i + distance;
          const std::int64_t a = places[i], b = places[j];
          const bool in_order = b >= view.size || (a < view.size && rule.before(a, b));
          const bool upwards = (i & block) == 0;
          if (in_order != upwards && (a < view.size || b < view.size)) {
            places[i] = b;
            places[j] = a;
          }
        }
      }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < width && begin + i < view.size;
         i += kSortThreads)
      order[row * view.size + begin + i] = places[i];
    __syncthreads();
  }
}

/// Merges pairs of runs of `width` elements: each element looks for its place in the other run.
template <class T>
__global__ void __launch_bounds__(kSortThreads)
    merge_runs(const T* x, const std::int64_t* from, std::int64_t* to, AxisView view,
               std::int64_t width, bool descending) {
  for (std::int64_t at = thread_number(); at < view.rows() * view.size; at += num_threads()) {
    const std::int64_t row = at / view.size, i = at % view.size;
    const RowOrder<T> rule{x + view.start(row), view.inner, descending};
    const std::int64_t* own = from + row * view.size;
    const std::int64_t pair = i / (2 * width) * (2 * width);
    const bool is_left = i < pair + width;
    const std::int64_t other = is_left ? pair + width : pair;
    const std::int64_t left = is_left ? view.size - other : width;
    const std::int64_t before = count_passing(left < width ? left : width, [&](std::int64_t k) {
      return rule.before(own[other + k], own[i]);
    });
    to[row * view.size + (is_left ? i : i - width) + before] = own[i];
  }
}

/// Sorts the rows of a tensor.
template <class T>
class RowSort {
 public:
  RowSort(const AxisView& view, bool descending) : view_(view), descending_(descending) {
    while (width_ < kSortedAtOnce && width_ < view.size) width_ *= 2;
  }

  std::size_t workspace_bytes() const {
    return (view_.size > width_ ? 2 : 1) * static_cast<std::size_t>(count()) *
           sizeof(std::int64_t);
  }

  /// The indices of each row's elements in their order, [row, size], in the workspace.
  const std::int64_t* run(const KernelArgs& args, const T* x, void* workspace) const {
    auto* order = static_cast<std::int64_t*>(workspace);
    if (count() == 0) return order;
    std::int64_t* other = order + count();
    const std::int64_t runs = (view_.size + width_ - 1) / width_;
    issue(args, sort_runs<T>, blocks_for(view_.rows() * runs, 1), kSortThreads, 0, x, order,
          view_, width_, descending_);
    for (std::int64_t width = width_; width < view_.size; width *= 2) {
      issue(args, merge_runs<T>, blocks_for(count(), kSortThreads), kSortThreads, 0, x,
            static_cast<const std::int64_t*>(order), other, view_, width, descending_);
      std::swap(order, other);
    }
    return order;
  }

 private:
  std::int64_t count() const { return view_.rows() * view_.size; }

  AxisView view_;
  bool descending_;
  int width_ = 2;
};

}  // namespace gradgraph::cuda
