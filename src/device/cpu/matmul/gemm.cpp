#include "device/cpu/matmul/gemm.h"

#include <functional>
#include <utility>

#include "core/checked.h"
#include "device/cpu/isa/levels.h"

namespace gradgraph {

GRADGRAPH_LEVELS(const TileTable, tiles)

const TileTable& best_tiles() { return GRADGRAPH_AT_LEVEL(best_isa(), tiles); }

namespace {

using std::int64_t;

/// Rows of b that a panel has at most: it then stays in the first-level cache.
constexpr int64_t kMaxInner = 256;
/// Elements of a chunk of c, which stays in the second-level cache with what it is made of.
constexpr int64_t kChunkElements = 1 << 16;
/// Columns that a chunk has at most.
constexpr int64_t kChunkColumns = 1024;
/// Rows that a chunk has at least where its columns of b are more elements than stay in that
/// cache: they come from memory once for each chunk.
constexpr int64_t kTallChunkRows = 192, kCachedElements = 1 << 17;
/// Columns of c from which it pays to pack a: tiles read it faster then, once for each panel.
constexpr int64_t kMinColumnsToPack = 256;
/// Columns of a below which reading c, and what an epilogue takes beside it, costs most.
constexpr int64_t kShortInner = 64;
/// Multiplications that a thread should at least have.
constexpr int64_t kProductGrain = 1 << 17;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

Gemm::Gemm(const GemmShape& shape, int threads, const TileTable& tiles)
    : tiles_(&tiles), shape_(shape) {
  const int64_t panel_columns = kMaxTileVectors * tiles.lanes;
  const int64_t panels = std::max<int64_t>(divide_up(shape.columns, panel_columns), 1);
  const int64_t work = checked_mul(checked_mul(shape.rows, shape.columns), shape.inner);
  const int64_t parts = std::clamp<int64_t>(work / kProductGrain, 1, std::max(threads, 1));
  // The grid whose largest cell is smallest; of equal ones that which reads least of a and b,
  // or with the longest rows where these are nothing beside c.
  const auto cost = [&](int64_t rows, int64_t columns) {
    const int64_t height = divide_up(shape.rows, rows);
    const int64_t width = divide_up(panels, columns) * panel_columns;
    return std::pair(height * width, shape.inner < kShortInner ? columns : height + width);
  };
  for (int64_t rows = 1; rows <= parts; ++rows) {
    const int64_t columns = std::min(parts / rows, panels);
    // Of equal ones the one with longer rows.
    if (cost(rows, columns) > cost(grid_rows_, grid_columns_)) continue;
    grid_rows_ = rows;
    grid_columns_ = columns;
  }
  const int64_t cell_panels = divide_up(panels, grid_columns_);
  const int64_t chunks = divide_up(cell_panels * panel_columns, kChunkColumns);
  const int64_t width = std::min(divide_up(cell_panels, chunks) * panel_columns,
                                 divide_up(shape.columns, tiles.lanes) * tiles.lanes);
  chunk_stride_ = std::max<int64_t>(width, 1);
  const bool is_tall = checked_mul(shape.inner, chunk_stride_) > kCachedElements;
  chunk_rows_ = std::max<int64_t>(kChunkElements / chunk_stride_,
                                  is_tall ? kTallChunkRows : tiles.max_rows);
  inner_blocks_ = std::max<int64_t>(divide_up(shape.inner, kMaxInner), 1);
  panel_floats_ = std::min(shape.inner, kMaxInner) * panel_columns;
  const int64_t rows = std::min(chunk_rows_, divide_up(shape.rows, grid_rows_));
  packs_rows_ = width >= kMinColumnsToPack;
  packed_floats_ = panel_floats_;
  // Packing writes whole vectors, the last one beyond the end.
  if (packs_rows_) packed_floats_ += rows * std::min(shape.inner, kMaxInner) + tiles.lanes;
  packed_floats_ = divide_up(packed_floats_, 16) * 16;
  // Cells start on cache lines.
  cell_bytes_ =
      static_cast<std::size_t>(divide_up(packed_floats_ + rows * chunk_stride_, 16) * 64);
}

Gemm::Cell Gemm::cell_at(int64_t index) const {
  const int64_t i = index / grid_columns_, j = index % grid_columns_;
  const int64_t panel_columns = kMaxTileVectors * tiles_->lanes;
  const int64_t panels = divide_up(shape_.columns, panel_columns);
  const int64_t top = shape_.rows * i / grid_rows_, bottom = shape_.rows * (i + 1) / grid_rows_;
  const int64_t left = panels * j / grid_columns_ * panel_columns;
  const int64_t right =
      std::min(panels * (j + 1) / grid_columns_ * panel_columns, shape_.columns);
  return {top, left, bottom - top, right - left};
}

void Gemm::run(const float* a, const float* b, float* c, void* workspace, bool add) const {
  if (shape_.columns % tiles_->lanes != 0) {
    run_chunks(a, b, workspace, [&](std::int64_t, const Chunk& chunk) {
      for (int64_t i = 0; i < chunk.rows; ++i) {
        const float* from = chunk.values + i * chunk.stride;
        float* to = c + (chunk.row + i) * shape_.columns + chunk.column;
        if (add)
          std::transform(from, from + chunk.columns, to, to, std::plus<>());
        else
          std::copy_n(from, chunk.columns, to);
      }
    });
    return;
  }
  parallel_for(cells(), 1, cells(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Cell cell = cell_at(i);
      for_chunks(cell, [&](const Cell& part) {
        multiply(a, b, part, c + part.row * shape_.columns + part.column, shape_.columns,
                 scratch_of(workspace, i), add);
      });
    }
  });
}

void Gemm::multiply(const float* a, const float* b, const Cell& of, float* c, int64_t stride,
                    float* scratch, bool add) const {
  const int64_t lanes = tiles_->lanes, panel_columns = kMaxTileVectors * lanes;
  const int64_t blocks = blocks_of(of.rows);
  float *panel = scratch, *packed_rows = scratch + panel_floats_;
  TileArgs args{};
  args.a_stride = shape_.transpose_a ? shape_.rows : shape_.inner;
  args.c_stride = stride;
  args.packed = panel;
  const auto& tiles = tiles_->tile[packs_rows_          ? TileTable::packed
                                   : shape_.transpose_a ? TileTable::columns
                                                        : TileTable::rows];
  for (int64_t part = 0; part < inner_blocks_; ++part) {
    const int64_t first = shape_.inner * part / inner_blocks_;
    args.inner = shape_.inner * (part + 1) / inner_blocks_ - first;
    args.add = add || part > 0;
    if (packs_rows_) pack_rows(a, of.row, of.rows, first, args.inner, packed_rows);
    for (int64_t j = 0; j < of.columns; j += panel_columns) {
      const int64_t width = std::min(panel_columns, of.columns - j), column = of.column + j;
      const int64_t vectors = divide_up(width, lanes);
      // Whole rows are copied into the panel by the first tile that reads them.
      bool packs = !shape_.transpose_b && width == vectors * lanes;
      const float* next_panel = nullptr;
      if (packs) {
        args.b = b + first * shape_.columns + column;
        args.b_stride = shape_.columns;
        if (j + panel_columns < of.columns) next_panel = args.b + panel_columns;
        packs = blocks > 1;
      } else {
        args.b = panel;
        args.b_stride = vectors * lanes;
        fill_panel(b, first, args.inner, column, width, panel, args.b_stride);
      }
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t begin = of.rows * block / blocks, end = of.rows * (block + 1) / blocks;
        if (packs_rows_) {
          args.a = packed_rows + begin * args.inner;
        } else {
          const int64_t row = of.row + begin;
          args.a =
              a + (shape_.transpose_a ? first * shape_.rows + row : row * shape_.inner + first);
        }
        args.c = c + begin * stride + j;
        fetch_ahead(args, next_panel, block, blocks);
        tiles[packs][vectors - 1][end - begin - 1](args);
        if (packs) args.b = panel, args.b_stride = vectors * lanes;
        packs = false;
      }
    }
  }
}

int64_t Gemm::blocks_of(int64_t rows) const { return divide_up(rows, tiles_->max_rows); }

void Gemm::pack_rows(const float* a, int64_t row, int64_t rows, int64_t first, int64_t inner,
                     float* packed) const {
  const int64_t blocks = blocks_of(rows);
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = rows * block / blocks, height = rows * (block + 1) / blocks - begin;
    if (shape_.transpose_a)
      tiles_->copy_rows(a + first * shape_.rows + row + begin, shape_.rows,
                        packed + begin * inner, height, height, inner);
    else
      tiles_->transpose(a + (row + begin) * shape_.inner + first, shape_.inner,
                        packed + begin * inner, height, height, inner);
  }
}

/// Of every `blocks` rows of the next panel of b one comes while a tile of block `block` is made.
void Gemm::fetch_ahead(TileArgs& args, const float* next_panel, int64_t block,
                       int64_t blocks) const {
  args.ahead = args.ahead_end = args.b;
  args.ahead_step = 0;
  if (!next_panel || block >= args.inner) return;
  args.ahead_step = blocks * shape_.columns;
  args.ahead = next_panel + block * shape_.columns;
  args.ahead_end = args.ahead + (args.inner - 1 - block) / blocks * args.ahead_step;
}

void Gemm::fill_panel(const float* b, int64_t first, int64_t inner, int64_t column, int64_t width,
                      float* panel, int64_t stride) const {
  if (shape_.transpose_b) {
    tiles_->transpose(b + column * shape_.inner + first, shape_.inner, panel, stride, width,
                      inner);
    return;
  }
  for (int64_t k = 0; k < inner; ++k) {
    float* to = panel + k * stride;
    std::fill(std::copy_n(b + (first + k) * shape_.columns + column, width, to), to + stride,
              0.0F);
  }
}

}  // namespace gradgraph
