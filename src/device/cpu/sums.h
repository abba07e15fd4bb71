#pragma once

#include <cstdint>

#include "device/kernel.h"

namespace gradgraph {

/// A kernel that sums input 0, of shape `from`, over the axes in `reduced` (bit i = axis i); the
/// output holds what is left, in order. Integers wrap around. What is added to what depends on
/// the shape alone, never on the number of threads, and long sums are trees: the error of n
/// equal float32 terms grows like log(n), not n.
Kernel make_sum_kernel(DType dtype, const Shape& from, std::uint32_t reduced, int threads);

}  // namespace gradgraph
