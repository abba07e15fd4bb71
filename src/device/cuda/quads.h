#pragma once

#include <type_traits>

#include "device/cuda/launch.h"

namespace gradgraph::cuda {

/// Elements that one instruction loads.
template <class T>
struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) Quad {
  T values[4];
};
/// What numbers that are stored as S are calculated in.
template <class S>
using Calculated = std::conditional_t<sizeof(S) == 2, float, S>;

/// Elements that are stored as S.
template <class S, class T, int kWidth>
__device__ void load(const S* from, T (&values)[kWidth]) {
  static_assert(kWidth == 1 || kWidth == 4);
  if constexpr (kWidth == 4) {
    const auto quad = *reinterpret_cast<const Quad<S>*>(from);
    for (int i = 0; i < 4; ++i) values[i] = static_cast<T>(quad.values[i]);
  } else {
    values[0] = static_cast<T>(*from);
  }
}

}  // namespace gradgraph::cuda
