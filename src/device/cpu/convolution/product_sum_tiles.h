#pragma once

#include "device/cpu/convolution/line_loops.h"
#include "device/cpu/isa/upper_halves.h"
#include "device/cpu/isa/vectors.h"

/// ProductSum in tiles of c that stay in registers. Included by one file per level of the
/// instruction set, as loops_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

/// The most vectors that a tile is wide, and the most rows that a tile of a width is high: with
/// a vector of b for each column and one element of a, a tile fills the registers.
constexpr int kMaxWidth = 3;
constexpr int max_height(int width) {
  const int height = (kRegisters - width - 1) / width;
  return height < 12 ? height : 12;
}

/// Elements of a in the inner loop are next to each other along its rows, or along its columns.
enum class Along : bool { inner, rows };

template <int Height, int Width, Along along, class Last>
void compute_tile(const ProductSum& p, std::int64_t row, std::int64_t column, Last last) {
  Vector sum[Height][Width];
  GRADGRAPH_UNROLL
  for (int m = 0; m < Height; ++m) GRADGRAPH_UNROLL
  for (int v = 0; v < Width; ++v) sum[m][v] = Vector{};

  const std::int64_t a_inner = along == Along::inner ? 1 : p.a_inner;
  const std::int64_t a_row = along == Along::rows ? 1 : p.a_row;
  const float* a = p.a + row * a_row;
  const float* b = p.b + column;
  for (std::int64_t r = 0; r < p.products; ++r, a += p.a_next, b += p.b_next) {
    const float* row_of_b = b;
    const float* first_of_a = a;
    for (std::int64_t k = 0; k < p.inner; ++k, row_of_b += p.b_inner, first_of_a += a_inner) {
      Vector factor[Width];
      GRADGRAPH_UNROLL
      for (int v = 0; v + 1 < Width; ++v) factor[v] = load(row_of_b + v * kLanes);
      factor[Width - 1] = load(row_of_b + (Width - 1) * kLanes, last);
      GRADGRAPH_UNROLL
      for (int m = 0; m < Height; ++m) {
        const Vector other = broadcast(first_of_a[m * a_row]);
        GRADGRAPH_UNROLL
        for (int v = 0; v < Width; ++v) sum[m][v] = multiply_add(other, factor[v], sum[m][v]);
      }
    }
  }
  float* c = p.c + row * p.c_row + column;
  GRADGRAPH_UNROLL
  for (int m = 0; m < Height; ++m, c += p.c_row) {
    float* last_of_c = c + (Width - 1) * kLanes;
    GRADGRAPH_UNROLL
    for (int v = 0; v + 1 < Width; ++v)
      store(c + v * kLanes, p.add ? load(c + v * kLanes) + sum[m][v] : sum[m][v]);
    store(last_of_c, p.add ? load(last_of_c, last) + sum[m][Width - 1] : sum[m][Width - 1], last);
  }
}

template <int Height, int Width, Along along, class Last>
void compute_tile_of_height(std::int64_t height, const ProductSum& p, std::int64_t row,
                            std::int64_t column, Last last) {
  if constexpr (Height > 1) {
    if (height < Height)
      return compute_tile_of_height<Height - 1, Width, along>(height, p, row, column, last);
  }
  compute_tile<Height, Width, along>(p, row, column, last);
}

/// One column of tiles, all about equally high.
template <int Width, Along along, class Last>
void compute_column(const ProductSum& p, std::int64_t column, Last last) {
  constexpr int kHeight = max_height(Width);
  const std::int64_t tiles = (p.rows + kHeight - 1) / kHeight;
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t row = p.rows * i / tiles, end = p.rows * (i + 1) / tiles;
    compute_tile_of_height<kHeight, Width, along>(end - row, p, row, column, last);
  }
}

template <int Width, Along along>
void compute_column(const ProductSum& p, std::int64_t column) {
  const std::int64_t left = p.columns - column - (Width - 1) * kLanes;
  if (left >= kLanes)
    compute_column<Width, along>(p, column, AllLanes{});
  else
    compute_column<Width, along>(p, column, first_lanes(left));
}

template <Along along>
void compute_columns(const ProductSum& p) {
  const std::int64_t vectors = (p.columns + kLanes - 1) / kLanes;
  const std::int64_t tiles = (vectors + kMaxWidth - 1) / kMaxWidth;
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t begin = vectors * i / tiles, end = vectors * (i + 1) / tiles;
    const std::int64_t column = begin * kLanes;
    switch (end - begin) {
      case 1: compute_column<1, along>(p, column); break;
      case 2: compute_column<2, along>(p, column); break;
      case 3: compute_column<3, along>(p, column); break;
    }
  }
}

inline void compute_product_sum(const ProductSum& p) {
  if (p.a_row == 1)
    compute_columns<Along::rows>(p);
  else
    compute_columns<Along::inner>(p);
  clear_upper_halves();
}

}  // namespace gradgraph::GRADGRAPH_ISA
