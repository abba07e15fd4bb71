#pragma once

#include <utility>

#include "device/cpu/gemm_tiles.h"

/// The loops behind TileTable. Included by one file per level of the instruction set, each with
/// compiler flags of its own and GRADGRAPH_ISA set to its name: everything here must have names
/// of its own per level, since the linker keeps only one of several functions with one name.

/// Registers cannot be indexed: loops over them must go.
#ifdef __clang__
#define GRADGRAPH_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GRADGRAPH_UNROLL _Pragma("GCC unroll 16")
#endif

namespace gradgraph::GRADGRAPH_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kTileRows = 14;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kTileRows = 6;
#else
constexpr int kLanes = 4, kTileRows = 6;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes)));
/// The same anywhere in memory.
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector x) { *reinterpret_cast<Unaligned*>(to) = x; }

template <TileTable::Layout L, bool Packs, int Vectors, int Rows>
void tile(const TileArgs& args) {
  const float *a = args.a, *b = args.b;
  const std::int64_t a_stride = args.a_stride, b_stride = args.b_stride;
  Vector sum[Rows][Vectors];
  GRADGRAPH_UNROLL
  for (int i = 0; i < Rows; ++i) GRADGRAPH_UNROLL
  for (int v = 0; v < Vectors; ++v) sum[i][v] = Vector{};
  const float* ahead = args.ahead;
  [[maybe_unused]] float* packed = args.packed;
  for (std::int64_t k = 0; k < args.inner; ++k) {
    __builtin_prefetch(ahead, 0, 2);
    __builtin_prefetch(ahead + 16, 0, 2);
    ahead += ahead == args.ahead_end ? 0 : args.ahead_step;
    Vector row[Vectors];
    GRADGRAPH_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      row[v] = load(b + v * kLanes);
      if constexpr (Packs) store(packed + v * kLanes, row[v]);
    }
    GRADGRAPH_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const float factor = L == TileTable::columns ? a[i] : a[i * a_stride];
      GRADGRAPH_UNROLL
      for (int v = 0; v < Vectors; ++v) sum[i][v] += factor * row[v];
    }
    a += L == TileTable::columns ? a_stride : 1;
    b += b_stride;
    if constexpr (Packs) packed += Vectors * kLanes;
  }
  float* c = args.c;
  GRADGRAPH_UNROLL
  for (int i = 0; i < Rows; ++i) {
    GRADGRAPH_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      float* to = c + v * kLanes;
      store(to, args.add ? load(to) + sum[i][v] : sum[i][v]);
    }
    c += args.c_stride;
  }
}

/// Pairs of elements `Half` apart change places: a step of transposing by halves.
template <int Half, int... I>
inline void exchange(Vector& a, Vector& b, std::integer_sequence<int, I...>) {
  const Vector low = __builtin_shufflevector(a, b, ((I & Half) ? kLanes + (I ^ Half) : I)...);
  b = __builtin_shufflevector(a, b, ((I & Half) ? kLanes + I : (I ^ Half))...);
  a = low;
}

template <int Half>
inline void transpose_by(Vector (&x)[kLanes]) {
  GRADGRAPH_UNROLL
  for (int i = 0; i < kLanes; ++i)
    if ((i & Half) == 0)
      exchange<Half>(x[i], x[i + Half], std::make_integer_sequence<int, kLanes>{});
  if constexpr (Half > 1) transpose_by<Half / 2>(x);
}

inline void transpose(const float* from, std::int64_t from_stride, float* to,
                      std::int64_t to_stride, std::int64_t columns, std::int64_t inner) {
  for (std::int64_t j = 0; j < columns; j += kLanes, from += kLanes * from_stride, to += kLanes) {
    const std::int64_t width = columns - j < kLanes ? columns - j : kLanes;
    std::int64_t k = 0;
    for (; k + kLanes <= inner; k += kLanes) {
      Vector x[kLanes];
      GRADGRAPH_UNROLL
      for (int i = 0; i < kLanes; ++i)
        x[i] = i < width ? load(from + i * from_stride + k) : Vector{};
      transpose_by<kLanes / 2>(x);
      GRADGRAPH_UNROLL
      for (int i = 0; i < kLanes; ++i) store(to + (k + i) * to_stride, x[i]);
    }
    for (; k < inner; ++k)
      for (std::int64_t i = 0; i < kLanes; ++i)
        to[k * to_stride + i] = i < width ? from[i * from_stride + k] : 0.0F;
  }
}

template <TileTable::Layout L, bool Packs, int... I>
constexpr void fill(TileTable& table, std::integer_sequence<int, I...>) {
  ((table.tile[L][Packs][0][I] = tile<L, Packs, 1, I + 1>), ...);
  ((table.tile[L][Packs][1][I] = tile<L, Packs, 2, I + 1>), ...);
}

constexpr TileTable make_tiles(Isa isa) {
  TileTable table{};
  table.isa = isa;
  table.max_rows = kTileRows;
  table.lanes = kLanes;
  constexpr std::make_integer_sequence<int, kTileRows> rows;
  fill<TileTable::rows, false>(table, rows);
  fill<TileTable::rows, true>(table, rows);
  fill<TileTable::columns, false>(table, rows);
  fill<TileTable::columns, true>(table, rows);
  table.transpose = transpose;
  return table;
}

}  // namespace gradgraph::GRADGRAPH_ISA
