#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace gradgraph {

/// The sum of neighbours in 32 interleaved series, each from `start` on, which keeps rounding
/// errors small; then of series 16 apart, 8, 4, 2 and 1. In vectors of the least size, which any
/// level of the instruction set has and which stay in registers.
template <class T>
class RowSum {
 public:
  static T of(const T* x, std::int64_t count, T start) {
    Lanes sums;
    for (Vector& sum : sums.v) sum = start - Vector{};
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) sums.add(x + i);
    if (i < count) sums.add(x + i, count - i);
    return fold(sums, std::make_integer_sequence<int, kSize>{});
  }

 private:
  typedef T Vector __attribute__((vector_size(16)));
  static constexpr int kLanes = 32, kSize = 16 / sizeof(T), kVectors = kLanes / kSize;

  static Vector load(const T* x) {
    Vector elements;
    std::memcpy(&elements, x, sizeof elements);
    return elements;
  }

  struct Lanes {
    Vector v[kVectors];
    void add(const T* x) {
      for (int k = 0; k < kVectors; ++k) v[k] += load(x + k * kSize);
    }
    void add(const T* x, std::int64_t count) {
      for (int k = 0; k < kVectors; ++k) {
        const std::int64_t left = count - k * kSize;
        if (left >= kSize)
          v[k] += load(x + k * kSize);
        else
          for (int i = 0; i < kSize; ++i) v[k][i] += i < left ? x[k * kSize + i] : -T{0};
      }
    }
    template <int Half>
    void fold() {
      for (int k = 0; k < Half; ++k) v[k] += v[k + Half];
      if constexpr (Half > 1) fold<Half / 2>();
    }
  };

  template <int... I>
  static T fold(Lanes& sums, std::integer_sequence<int, I...>) {
    sums.template fold<kVectors / 2>();
    Vector sum = sums.v[0];
    if constexpr (kSize == 4) sum += __builtin_shufflevector(sum, sum, ((I + 2) % kSize)...);
    return sum[0] + sum[1];
  }
};

/// Adds rows that lie one behind the other to `sum`, the first one first: a few columns at a
/// time, whose sums stay in registers.
template <class T>
class ColumnSums {
 public:
  static void add(const T* x, std::int64_t rows, std::int64_t columns, T* sum) {
    std::int64_t column = 0;
    for (; column + 8 * kSize <= columns; column += 8 * kSize)
      add_vectors<8>(x + column, rows, columns, sum + column);
    for (; column + 4 * kSize <= columns; column += 4 * kSize)
      add_vectors<4>(x + column, rows, columns, sum + column);
    for (; column + kSize <= columns; column += kSize)
      add_vectors<1>(x + column, rows, columns, sum + column);
    for (; column < columns; ++column)
      for (std::int64_t row = 0; row < rows; ++row) sum[column] += x[row * columns + column];
  }

 private:
  typedef T Vector __attribute__((vector_size(16)));
  static constexpr int kSize = 16 / sizeof(T);

  static Vector load(const T* x) {
    Vector elements;
    std::memcpy(&elements, x, sizeof elements);
    return elements;
  }
  template <int Count>
  static void add_vectors(const T* x, std::int64_t rows, std::int64_t columns, T* sum) {
    Vector sums[Count];
    for (int i = 0; i < Count; ++i) sums[i] = load(sum + i * kSize);
    for (std::int64_t row = 0; row < rows; ++row)
      for (int i = 0; i < Count; ++i) sums[i] += load(x + row * columns + i * kSize);
    for (int i = 0; i < Count; ++i) std::memcpy(sum + i * kSize, &sums[i], sizeof(Vector));
  }
};

}  // namespace gradgraph
