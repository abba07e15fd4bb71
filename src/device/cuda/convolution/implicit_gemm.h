#pragma once

#include <cmath>

#include "device/cuda/issue.h"

namespace gradgraph::cuda {

/// c = a b, tile by tile, where a's and b's elements are looked up as a problem says: so a
/// convolution needs no copy of what its windows see. A problem has
///
///     rows, columns, inner       how large c is, and how many products make an element
///     groups                     products of their own
///     parts                      into how many the inner sum is cut, each with a c of its own
///     a(group, row, k)           0 where a window sees no image
///     b(group, k, column)
///     store(part, group, row, column, sum)
inline constexpr int kGemmTile = 64, kGemmDepth = 16, kGemmThreads = 256;

/// Each thread of a block makes 4x4 elements of a tile of 64x64; what they are made of comes to
/// shared memory in slices of 16 products.
template <class T, class Problem>
__global__ void __launch_bounds__(kGemmThreads) implicit_gemm(Problem problem) {
  constexpr int kOwn = 4;
  __shared__ T a[kGemmDepth][kGemmTile + 1], b[kGemmDepth][kGemmTile + 1];
  const int thread = static_cast<int>(threadIdx.x);
  const int own_row = thread / 16 * kOwn, own_column = thread % 16;
  const int across = (problem.columns + kGemmTile - 1) / kGemmTile;
  const int tiles = across * ((problem.rows + kGemmTile - 1) / kGemmTile);
  const std::int64_t tasks = static_cast<std::int64_t>(tiles) * problem.groups * problem.parts;
  for (std::int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int tile = static_cast<int>(task % tiles);
    const int group = static_cast<int>(task / tiles) % problem.groups;
    const int part = static_cast<int>(task / tiles / problem.groups);
    const int row = tile / across * kGemmTile, column = tile % across * kGemmTile;
    const int length = (problem.inner + problem.parts - 1) / problem.parts;
    const int end = min((part + 1) * length, problem.inner);
    T sums[kOwn][kOwn] = {};
    for (int from = part * length; from < end; from += kGemmDepth) {
      for (int i = thread; i < kGemmDepth * kGemmTile; i += kGemmThreads) {
        // Neighbouring lanes look up what lies together: a's products, b's columns.
        const int k_a = i % kGemmDepth, at_a = i / kGemmDepth;
        const int k_b = i / kGemmTile, at_b = i % kGemmTile;
        a[k_a][at_a] = from + k_a < end && row + at_a < problem.rows
                           ? problem.a(group, row + at_a, from + k_a)
                           : T{0};
        b[k_b][at_b] = from + k_b < end && column + at_b < problem.columns
                           ? problem.b(group, from + k_b, column + at_b)
                           : T{0};
      }
      __syncthreads();
      for (int k = 0; k < kGemmDepth; ++k)
        for (int i = 0; i < kOwn; ++i)
          for (int j = 0; j < kOwn; ++j)
            sums[i][j] = std::fma(a[k][own_row + i], b[k][own_column + 16 * j], sums[i][j]);
      __syncthreads();
    }
    for (int i = 0; i < kOwn; ++i)
      for (int j = 0; j < kOwn; ++j)
        if (row + own_row + i < problem.rows && column + own_column + 16 * j < problem.columns)
          problem.store(part, group, row + own_row + i, column + own_column + 16 * j, sums[i][j]);
  }
}

template <class T, class Problem>
void issue_gemm(const KernelArgs& args, const Problem& problem) {
  const std::int64_t tiles = (static_cast<std::int64_t>(problem.rows) + kGemmTile - 1) /
                             kGemmTile * ((problem.columns + kGemmTile - 1) / kGemmTile);
  issue(args, implicit_gemm<T, Problem>, blocks_for(tiles * problem.groups * problem.parts, 1),
        kGemmThreads, 0, problem);
}

}  // namespace gradgraph::cuda
