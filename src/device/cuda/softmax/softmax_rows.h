#pragma once

#include "device/cuda/best.h"
#include "device/cuda/row_grid.h"
#include "device/shared/elements.h"
#include "device/shared/math_functions.h"
#include "device/shared/scalar_functors.h"

/// What softmax and its losses take from a row of logits, as on the CPU: all is relative to the
/// largest of them, whose own exponential, 1, is never added to the others' sum, the "rest".
namespace gradgraph::cuda {

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
