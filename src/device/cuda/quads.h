#pragma once

#include "device/cuda/launch.h"

namespace gradgraph::cuda {

/// Elements that one instruction loads.
template <class T>
struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) Quad {
  T values[4];
};
template <class T, int kWidth>
__device__ void load(const T* from, T (&values)[kWidth]) {
  static_assert(kWidth == 1 || kWidth == 4);
  if constexpr (kWidth == 4) {
    const auto quad = *reinterpret_cast<const Quad<T>*>(from);
    for (int i = 0; i < 4; ++i) values[i] = quad.values[i];
  } else {
    values[0] = *from;
  }
}

}  // namespace gradgraph::cuda
