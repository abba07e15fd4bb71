#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "device/kernel.h"

namespace gradgraph {

/// A batched product: for each batch the offsets of its matrices, and how these lie in memory.
struct Products {
  std::int64_t rows, inner, columns;
  bool transpose_a, transpose_b;
  /// Offsets into a and b; c's matrices follow each other.
  std::vector<std::pair<std::int64_t, std::int64_t>> batches;
};

/// Those of a "matmul" node, or of one that begins like it.
Products products_of(const KernelSite& site);

/// Multiplications that a thread should at least have.
inline constexpr std::int64_t kProductGrain = 1 << 16;

/// Makes matrix products by own vector code, beside those of BLAS.
void register_gemm_kernels(KernelRegistry& registry);

}  // namespace gradgraph
