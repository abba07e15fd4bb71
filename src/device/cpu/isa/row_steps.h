#pragma once

#include <cstdint>
#include <utility>

#include "device/cpu/isa/vector_of.h"
#include "device/cpu/isa/vectors.h"

/// Loops over rows of neighbours. Included by files that are compiled once per level of the
/// instruction set.
namespace gradgraph::GRADGRAPH_ISA {

/// A row goes through registers in steps of 16 elements, at every level, each with sums of its
/// own: so all levels give the same bits.
template <class T>
struct RowSteps {
  using V = typename VectorOf<T>::Type;
  static constexpr std::int64_t kStep = 16;
  static constexpr int kSize = VectorOf<T>::kLanes, kVectors = kStep / kSize;

  struct Step {
    V v[kVectors];
  };

  /// Calls `body(x of a row, y of a row, count, room)`; a step may read and write up to `room`
  /// elements, and so into the rows that come after it.
  template <class Body>
  [[gnu::always_inline]] static void for_rows(const T* x, T* y, std::int64_t rows,
                                              std::int64_t count, const Body& body) {
    for (std::int64_t row = 0; row < rows; ++row)
      body(x + row * count, y ? y + row * count : nullptr, count, (rows - row) * count);
  }

  /// Vector by vector: as a whole a step may go in pieces of other sizes than it is read in,
  /// for which processors wait.
  [[gnu::always_inline]] static Step load(const T* x) {
    Step step;
    GRADGRAPH_UNROLL
    for (int k = 0; k < kVectors; ++k) __builtin_memcpy(&step.v[k], x + k * kSize, sizeof(V));
    return step;
  }
  [[gnu::always_inline]] static void store(T* y, const Step& step) {
    GRADGRAPH_UNROLL
    for (int k = 0; k < kVectors; ++k) __builtin_memcpy(y + k * kSize, &step.v[k], sizeof(V));
  }
  /// The first `count` elements, then `beyond`.
  [[gnu::always_inline]] static Step load(const T* x, std::int64_t count, std::int64_t room,
                                          T beyond) {
    if (room < kStep) {
      T elements[kStep];
      for (std::int64_t i = 0; i < kStep; ++i) elements[i] = i < count ? x[i] : beyond;
      return load(elements);
    }
    return cut(load(x), count, beyond);
  }
  [[gnu::always_inline]] static void store(T* y, const Step& step, std::int64_t count,
                                           std::int64_t room) {
    if (room >= kStep) return store(y, step);
    T elements[kStep];
    store(elements, step);
    for (std::int64_t i = 0; i < count; ++i) y[i] = elements[i];
  }
  /// `step` with `beyond` in place of all but the first `count` elements.
  [[gnu::always_inline]] static Step cut(Step step, std::int64_t count, T beyond) {
    GRADGRAPH_UNROLL
    for (int k = 0; k < kVectors; ++k) {
      V index;
      for (int i = 0; i < kSize; ++i) index[i] = static_cast<T>(k * kSize + i);
      step.v[k] = index < static_cast<T>(count) - V{} ? step.v[k] : beyond + V{};
    }
    return step;
  }

  /// y = f(x)
  template <class F>
  [[gnu::always_inline]] static void map(const T* x, T* y, std::int64_t count, std::int64_t room,
                                         const F& f) {
    std::int64_t i = 0;
    const auto apply = [&](Step step) {
      GRADGRAPH_UNROLL
      for (int k = 0; k < kVectors; ++k) step.v[k] = f(step.v[k]);
      return step;
    };
    for (; i + kStep <= count; i += kStep) store(y + i, apply(load(x + i)));
    if (i < count)
      store(y + i, apply(load(x + i, count - i, room - i, T{0})), count - i, room - i);
  }

  /// Combines elements 8 apart, then 4, 2 and 1.
  template <class Combine>
  [[gnu::always_inline]] static T fold(const Step& step, const Combine& combine) {
    return fold_lanes<kSize / 2>(to_vector(step, combine), combine, kLanes)[0];
  }
  /// The same for two, in little more than the time of one.
  struct Folded {
    T first, second;
  };
  template <class Combine>
  [[gnu::always_inline]] static Folded fold(const Step& first, const Step& second,
                                            const Combine& combine) {
    constexpr int kHalf = kSize / 2;
    const V both = halves(to_vector(first, combine), to_vector(second, combine), combine, kLanes);
    const V folded = fold_lanes<kHalf / 2>(both, combine, kLanes);
    return {folded[0], folded[kHalf]};
  }

 private:
  static constexpr auto kLanes = std::make_integer_sequence<int, kSize>{};

  template <class Combine>
  [[gnu::always_inline]] static V to_vector(Step step, const Combine& combine) {
    GRADGRAPH_UNROLL
    for (int half = kVectors / 2; half > 0; half /= 2) GRADGRAPH_UNROLL
    for (int k = 0; k < half; ++k) step.v[k] = combine(step.v[k], step.v[k + half]);
    return step.v[0];
  }
  /// Of each the lower half combined with the upper one, side by side.
  template <class Combine, int... I>
  [[gnu::always_inline]] static V halves(V first, V second, const Combine& combine,
                                         std::integer_sequence<int, I...> lanes) {
    constexpr int kHalf = kSize / 2;
    (void)lanes;
    return combine(
        __builtin_shufflevector(first, second, (I < kHalf ? I : I - kHalf + kSize)...),
        __builtin_shufflevector(first, second, (I < kHalf ? I + kHalf : I + kSize)...));
  }
  template <int Half, class Combine, int... I>
  [[gnu::always_inline]] static V fold_lanes(V v, const Combine& combine,
                                             std::integer_sequence<int, I...> lanes) {
    if constexpr (Half == 0)
      return v;
    else
      return fold_lanes<Half / 2>(
          combine(v, __builtin_shufflevector(v, v, ((I + Half) % kSize)...)), combine, lanes);
  }
};

}  // namespace gradgraph::GRADGRAPH_ISA
