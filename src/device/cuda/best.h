#pragma once

#include <cstdint>

#include "device/cuda/launch.h"

namespace gradgraph::cuda {

/// The best element of some so far, by a functor of functors::IndexReduction.
template <class T>
struct Best {
  T value;
  std::int64_t index;
};
/// The better of two; of equals the first.
template <class R, class T>
struct BestOf {
  __device__ Best<T> operator()(const Best<T>& a, const Best<T>& b) const {
    if (R::better(b.value, a.value)) return b;
    return !R::better(a.value, b.value) && b.index < a.index ? b : a;
  }
};

}  // namespace gradgraph::cuda
