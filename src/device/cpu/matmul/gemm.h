#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "device/cpu/matmul/gemm_tiles.h"
#include "device/parallel.h"

namespace gradgraph {

/// The product of two float matrices without gaps, either of them stored transposed.
struct GemmShape {
  std::int64_t rows = 0, columns = 0, inner = 0;
  bool transpose_a = false, transpose_b = false;
};

/// Matrix products by own vector code: c is cut into a cell for each thread, a cell into chunks
/// that stay in the second-level cache, a chunk into tiles of registers. Sums are made in an
/// order that depends on the shape and the level of the instruction set alone.
class Gemm {
 public:
  Gemm(const GemmShape& shape, int threads, const TileTable& tiles = best_tiles());

  std::size_t workspace_bytes() const { return static_cast<std::size_t>(cells()) * cell_bytes_; }

  /// A finished part of c, which starts at (row, column) and lies in rows `stride` apart. Who
  /// gets it may change it.
  struct Chunk {
    float* values;
    std::int64_t row, column, rows, columns, stride;
  };
  /// Calls `finish(cell, chunk)` for chunks that make up c, on the thread that made them, with
  /// cell in [0, cells()); a chunk's values are gone afterwards.
  template <class Finish>
  void run_chunks(const float* a, const float* b, void* workspace, const Finish& finish) const {
    parallel_for(cells(), 1, cells(), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const Cell cell = cell_at(i);
        float* scratch = scratch_of(workspace, i);
        float* values = scratch + packed_floats_;
        for_chunks(cell, [&](const Cell& part) {
          multiply(a, b, part, values, chunk_stride_, scratch, false);
          finish(i, Chunk{values, part.row, part.column, part.rows, part.columns, chunk_stride_});
        });
      }
    });
  }

  /// c = a b, or c += a b.
  void run(const float* a, const float* b, float* c, void* workspace, bool add = false) const;

  int cells() const { return static_cast<int>(grid_rows_ * grid_columns_); }

 private:
  struct Cell {
    std::int64_t row, column, rows, columns;
  };

  Cell cell_at(std::int64_t index) const;
  float* scratch_of(void* workspace, std::int64_t cell) const {
    return reinterpret_cast<float*>(static_cast<char*>(workspace) +
                                    static_cast<std::size_t>(cell) * cell_bytes_);
  }
  template <class Visit>
  void for_chunks(const Cell& cell, const Visit& visit) const {
    const std::int64_t chunks = (cell.rows + chunk_rows_ - 1) / chunk_rows_;
    for (std::int64_t j = 0; j < cell.columns; j += chunk_stride_)
      for (std::int64_t i = 0; i < chunks; ++i) {
        const std::int64_t begin = cell.rows * i / chunks, end = cell.rows * (i + 1) / chunks;
        visit(Cell{cell.row + begin, cell.column + j, end - begin,
                   std::min(chunk_stride_, cell.columns - j)});
      }
  }
  /// The part `of` c, into rows of `c` that are `stride` apart and have room for whole vectors.
  void multiply(const float* a, const float* b, const Cell& of, float* c, std::int64_t stride,
                float* scratch, bool add) const;
  /// Rows of tiles that `rows` are cut into, all about equally high.
  std::int64_t blocks_of(std::int64_t rows) const;
  /// Columns [first, first + inner) of a's rows [row, row + rows), block after block, each as
  /// columns of its rows.
  void pack_rows(const float* a, std::int64_t row, std::int64_t rows, std::int64_t first,
                 std::int64_t inner, float* packed) const;
  /// Rows [first, first + inner) of b's columns [column, column + width), in rows of whole
  /// vectors.
  void fill_panel(const float* b, std::int64_t first, std::int64_t inner, std::int64_t column,
                  std::int64_t width, float* panel, std::int64_t stride) const;
  void fetch_ahead(TileArgs& args, const float* next_panel, std::int64_t block,
                   std::int64_t blocks) const;

  const TileTable* tiles_;
  GemmShape shape_;
  std::int64_t grid_rows_ = 1, grid_columns_ = 1;
  std::int64_t chunk_rows_ = 1, chunk_stride_ = 0;
  std::int64_t inner_blocks_ = 1;
  /// Of a cell's work memory: first a panel of b, then what is packed of a, then a chunk.
  std::int64_t panel_floats_ = 0, packed_floats_ = 0;
  bool packs_rows_ = false;
  std::size_t cell_bytes_ = 0;
};

}  // namespace gradgraph
