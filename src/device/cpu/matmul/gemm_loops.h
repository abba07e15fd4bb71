#pragma once

#include <utility>

#include "device/cpu/isa/vector_of.h"
#include "device/cpu/matmul/gemm_tiles.h"

/// The loops behind TileTable. Included by one file per level of the instruction set, each with
/// compiler flags of its own and GRADGRAPH_ISA set to its name: everything here must have names
/// of its own per level, since the linker keeps only one of several functions with one name.

namespace gradgraph::GRADGRAPH_ISA {

#if defined(__AVX512F__)
constexpr int kTileRows = 14;
#else
constexpr int kTileRows = 6;
#endif

using Vector = VectorOf<float>::Type;
constexpr int kLanes = VectorOf<float>::kLanes;
/// The same anywhere in memory.
typedef float Unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector x) { *reinterpret_cast<Unaligned*>(to) = x; }

/// sum += factor * row. For AVX-512 the factor stays in memory: compilers would spread it into a
/// register first, one more instruction for two multiplications, which costs a fifth of the
/// speed where two threads share a core.
inline void multiply_add(Vector& sum, const float& factor, Vector row) {
#if defined(__AVX512F__)
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(row), "m"(factor));
#else
  sum += factor * row;
#endif
}

/// from + by, which compilers may not put into an address register for each of several steps.
inline const float* step(const float* from, std::int64_t by) {
  from += by;
  asm("" : "+r"(from));
  return from;
}

/// Sums of `Count` values of k: rows of b times elements of a.
template <TileTable::Layout L, bool Packs, int Vectors, int Rows, int Count>
inline __attribute__((always_inline)) void add_products(Vector (&sum)[Rows][Vectors],
                                                        const TileArgs& args, const float*& a,
                                                        const float*& b, float*& packed) {
  GRADGRAPH_UNROLL
  for (int k = 0; k < Count; ++k) {
    Vector row[Vectors];
    GRADGRAPH_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      row[v] = load(b + v * kLanes);
      if constexpr (Packs) store(packed + v * kLanes, row[v]);
    }
    GRADGRAPH_UNROLL
    for (int i = 0; i < Rows; ++i) {
      GRADGRAPH_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        if constexpr (L == TileTable::rows)
          sum[i][v] += a[i * args.a_stride] * row[v];
        else
          multiply_add(sum[i][v], a[i], row[v]);
      }
    }
    if constexpr (L == TileTable::packed)
      a += Rows;
    else
      a = step(a, L == TileTable::columns ? args.a_stride : 1);
    b = step(b, args.b_stride);
    if constexpr (Packs) packed += Vectors * kLanes;
  }
}

template <TileTable::Layout L, bool Packs, int Vectors, int Rows>
void tile(const TileArgs& given) {
  const TileArgs args = given;
  const float *a = args.a, *b = args.b, *ahead = args.ahead;
  float* packed = args.packed;
  Vector sum[Rows][Vectors];
  GRADGRAPH_UNROLL
  for (int i = 0; i < Rows; ++i) GRADGRAPH_UNROLL
  for (int v = 0; v < Vectors; ++v) sum[i][v] = Vector{};
  std::int64_t k = 0;
  for (; k + 4 <= args.inner; k += 4) {
    __builtin_prefetch(ahead, 0, 2);
    __builtin_prefetch(ahead + 16, 0, 2);
    ahead += ahead == args.ahead_end ? 0 : args.ahead_step;
    add_products<L, Packs, Vectors, Rows, 4>(sum, args, a, b, packed);
  }
  for (; k < args.inner; ++k) add_products<L, Packs, Vectors, Rows, 1>(sum, args, a, b, packed);
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
  // From the right to the left: what is left of the last vectors reaches into the next rows.
  for (std::int64_t j = (columns - 1) / kLanes * kLanes; j >= 0; j -= kLanes) {
    const float* rows = from + j * from_stride;
    float* out = to + j;
    const std::int64_t width = columns - j < kLanes ? columns - j : kLanes;
    std::int64_t k = 0;
    for (; k + kLanes <= inner; k += kLanes) {
      Vector x[kLanes];
      GRADGRAPH_UNROLL
      for (int i = 0; i < kLanes; ++i)
        x[i] = i < width ? load(rows + i * from_stride + k) : Vector{};
      transpose_by<kLanes / 2>(x);
      GRADGRAPH_UNROLL
      for (int i = 0; i < kLanes; ++i) store(out + (k + i) * to_stride, x[i]);
    }
    for (; k < inner; ++k)
      for (std::int64_t i = 0; i < kLanes; ++i)
        out[k * to_stride + i] = i < width ? rows[i * from_stride + k] : 0.0F;
  }
}

inline void copy_rows(const float* from, std::int64_t from_stride, float* to,
                      std::int64_t to_stride, std::int64_t columns, std::int64_t inner) {
  const std::int64_t whole = (columns + kLanes - 1) / kLanes * kLanes;
  for (std::int64_t k = 0; k < inner; ++k, from += from_stride, to += to_stride) {
    const std::int64_t left = (inner - 1 - k) * from_stride + columns;
    if (left >= whole)
      for (std::int64_t j = 0; j < columns; j += kLanes) store(to + j, load(from + j));
    else
      for (std::int64_t j = 0; j < columns; ++j) to[j] = from[j];
  }
}

template <TileTable::Layout L, bool Packs, int... I>
constexpr void fill(TileTable& table, std::integer_sequence<int, I...>) {
  ((table.tile[L][Packs][0][I] = tile<L, Packs, 1, I + 1>), ...);
  ((table.tile[L][Packs][1][I] = tile<L, Packs, 2, I + 1>), ...);
}

constexpr TileTable make_tiles() {
  TileTable table{};
  table.max_rows = kTileRows;
  table.lanes = kLanes;
  constexpr std::make_integer_sequence<int, kTileRows> rows;
  fill<TileTable::rows, false>(table, rows);
  fill<TileTable::rows, true>(table, rows);
  fill<TileTable::columns, false>(table, rows);
  fill<TileTable::columns, true>(table, rows);
  fill<TileTable::packed, false>(table, rows);
  fill<TileTable::packed, true>(table, rows);
  table.transpose = transpose;
  table.copy_rows = copy_rows;
  return table;
}

}  // namespace gradgraph::GRADGRAPH_ISA
