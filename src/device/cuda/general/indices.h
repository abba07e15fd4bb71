#pragma once

#include <cstdint>

#include "device/cuda/issue.h"

namespace gradgraph::cuda {

/// Refuses the first of `count` indices that is outside [0,size). By one block, so that it is the
/// first one; the kernels behind it leave such indices out.
void check_indices(const KernelArgs& args, const void* indices, DType dtype, std::int64_t count,
                   std::int64_t size);

}  // namespace gradgraph::cuda
