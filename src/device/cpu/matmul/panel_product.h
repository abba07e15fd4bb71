#pragma once

#include <cstdint>

#include "device/cpu/matmul/gemm_tiles.h"

namespace gradgraph {

/// Products of matrices that stay in the cache, one after the other on one thread, in tiles of
/// registers. Sums are made in an order that depends on the shape and the level of the
/// instruction set alone.
///
/// Columns of b lie in panels of `panel_columns(tiles)`: a panel's rows are `b_stride` apart, and
/// panels `panel_stride`. So b may be a matrix whose rows have room for whole vectors, with
/// panels side by side, or consist of panels packed one after the other. Rows of c have room for
/// whole vectors, too; what is written behind the last column is of no meaning.
struct PanelProduct {
  const float* a = nullptr;
  std::int64_t a_stride = 0;
  bool transpose_a = false;  ///< element (i, k) is a[k * a_stride + i], else a[i * a_stride + k]
  const float* b = nullptr;
  std::int64_t b_stride = 0, panel_stride = 0;
  float* c = nullptr;
  std::int64_t c_stride = 0;
  std::int64_t rows = 0, columns = 0, inner = 0;  ///< `inner` is not 0
  bool adds = false;                              ///< to what is in c

  void run(const TileTable& tiles) const;
};

inline std::int64_t panel_columns(const TileTable& tiles) {
  return std::int64_t{kMaxTileVectors} * tiles.lanes;
}

}  // namespace gradgraph
