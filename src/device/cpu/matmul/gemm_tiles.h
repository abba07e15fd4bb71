#pragma once

#include <cstdint>

/// The innermost loops of own matrix products, compiled for each level of the instruction set.
namespace gradgraph {

inline constexpr int kMaxTileRows = 14, kMaxTileVectors = 2;

/// c = a b or c += a b for a tile of c that the processor's registers hold. Rows of b and c are
/// contiguous. With Layout::rows, element (i, k) of a is a[i * a_stride + k], with
/// Layout::columns it is a[k * a_stride + i], with Layout::packed a[k * rows of the tile + i].
struct TileArgs {
  const float *a, *b;
  float* c;
  std::int64_t a_stride, b_stride, c_stride;
  std::int64_t inner;
  bool add;
  float* packed;  ///< where tiles that pack copy b to, row after row
  /// What to bring into the cache meanwhile: a row every `ahead_step` up to `ahead_end`.
  const float *ahead, *ahead_end;
  std::int64_t ahead_step;
};
using TileFunction = void (*)(const TileArgs&);

struct TileTable {
  enum Layout { rows, columns, packed };

  int max_rows;  ///< of a tile
  int lanes;     ///< floats in a vector; a tile is one or two vectors wide
  /// By layout of a, whether b is packed, vectors, rows; the last two count from 1.
  TileFunction tile[3][2][kMaxTileVectors][kMaxTileRows];
  /// Makes `columns` rows of `from`, `inner` long, columns of `to`, which has `inner` rows
  /// `to_stride` apart. It writes whole vectors: what is left of them behind a row is zero where
  /// rows have room for it, otherwise it lies where the next row comes, or behind the last.
  void (*transpose)(const float* from, std::int64_t from_stride, float* to,
                    std::int64_t to_stride, std::int64_t columns, std::int64_t inner);
  /// Copies `inner` rows of `columns`, in whole vectors too, but reads nothing behind the last.
  void (*copy_rows)(const float* from, std::int64_t from_stride, float* to,
                    std::int64_t to_stride, std::int64_t columns, std::int64_t inner);
};

/// In the fastest form that this processor runs.
const TileTable& best_tiles();

}  // namespace gradgraph
