#pragma once

#include <limits>

#include "device/cpu/broadcast.h"
#include "device/cpu/isa/row_steps.h"
#include "device/cpu/isa/upper_halves.h"
#include "device/cpu/isa/vectors.h"
#include "device/cpu/softmax/softmax_rows.h"
#include "device/shared/math_functions.h"

/// The loops behind SoftmaxTable. Included by one file per level of the instruction set, as
/// loops_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

/// What the last step of a row has too many counts as -infinity, whose exponential is 0.
template <class T>
class Softmax : RowSteps<T> {
  using Steps = RowSteps<T>;
  using Steps::fold, Steps::for_rows, Steps::kSize, Steps::kStep, Steps::kVectors, Steps::load,
      Steps::map, Steps::store;
  using typename Steps::Step;
  using typename Steps::V;

 public:
  static void softmax(const T* x, T* y, std::int64_t rows, std::int64_t count) {
    for_rows(x, y, rows, count, [](const T* from, T* to, std::int64_t size, std::int64_t room) {
      const RowTotals<T> totals = totals_of<true>(from, to, size, room);
      const V divisor = (1 + totals.rest) - V{};
      map(to, to, size, room, [=](V e) { return e / divisor; });
    });
    clear_upper_halves();
  }

  static void log_softmax(const T* x, T* y, std::int64_t rows, std::int64_t count) {
    // Rows that stay in the first-level cache, so that their logarithms are taken together.
    constexpr std::int64_t kMost = 32, kElements = 4096;
    const std::int64_t some = count * kMost > kElements ? kElements / count + 1 : kMost;
    RowTotals<T> totals[kMost];
    for (std::int64_t row = 0; row < rows; row += some) {
      const std::int64_t now = rows - row < some ? rows - row : some;
      exponentials(x + row * count, nullptr, totals, now, count);
      for (std::int64_t i = 0; i < now; ++i) totals[i].rest = math::log1p(totals[i].rest);
      const RowTotals<T>* own = totals;
      for_rows(x + row * count, y + row * count, now, count,
               [&](const T* from, T* to, std::int64_t size, std::int64_t room) {
                 const V largest = own->largest - V{}, log_rest = own->rest - V{};
                 ++own;
                 map(from, to, size, room, [=](V v) { return (v - largest) - log_rest; });
               });
    }
    clear_upper_halves();
  }

  static void exponentials(const T* x, T* y, RowTotals<T>* totals, std::int64_t rows,
                           std::int64_t count) {
    if (y)
      for_rows(x, y, rows, count,
               [&](const T* from, T* to, std::int64_t size, std::int64_t room) {
                 *totals++ = totals_of<true>(from, to, size, room);
               });
    else
      for_rows(x, y, rows, count, [&](const T* from, T*, std::int64_t size, std::int64_t room) {
        *totals++ = totals_of<false>(from, nullptr, size, room);
      });
    clear_upper_halves();
  }

 private:
  /// Steps whose terms are added before the sums go into a double, since rows may be long.
  static constexpr std::int64_t kRun = 8 * kStep;
  /// Where the rest is smaller than this, the logits behind the largest one are so far behind
  /// that the rounding of their distance, of which exp makes a relative error, is made good.
  static constexpr T kSmallRest = T{1} / 256;
  static constexpr T kLowest = -std::numeric_limits<T>::infinity();

  [[gnu::always_inline]] static Step load(const T* x, std::int64_t count, std::int64_t room) {
    return Steps::load(x, count, room, kLowest);
  }

  /// One loop for the whole step: in one for each of its vectors GCC may find none.
  [[gnu::always_inline]] static Step exponentials_of(const Step& x) {
    T from[kStep], to[kStep];
    store(from, x);
    GRADGRAPH_VECTORIZE
    for (int i = 0; i < kStep; ++i) to[i] = math::exp(from[i]);
    return load(to);
  }

  /// Not of NaN, which the exponentials find.
  [[gnu::always_inline]] static T largest_of(const T* x, std::int64_t count, std::int64_t room) {
    const auto larger = [](V a, V b) { return a > b ? a : b; };
    Step largest;
    GRADGRAPH_UNROLL
    for (int k = 0; k < kVectors; ++k) largest.v[k] = V{} + kLowest;
    const auto take = [&](const Step& step) {
      GRADGRAPH_UNROLL
      for (int k = 0; k < kVectors; ++k) largest.v[k] = larger(step.v[k], largest.v[k]);
    };
    std::int64_t i = 0;
    for (; i + kStep <= count; i += kStep) take(load(x + i));
    if (i < count) take(load(x + i, count - i, room - i));
    return fold(largest, larger);
  }

  /// Of elements like the largest is added only how many they are.
  struct Sums {
    Step rest, likes;
  };
  template <bool Refines>
  [[gnu::always_inline]] static Step take(const Step& x, T largest, Sums& sums) {
    const V zero{}, one = zero + T{1}, top = largest - zero;
    Step differences;
    GRADGRAPH_UNROLL
    for (int k = 0; k < kVectors; ++k) differences.v[k] = x.v[k] - top;
    Step result = exponentials_of(differences);
    GRADGRAPH_UNROLL
    for (int k = 0; k < kVectors; ++k) {
      const V difference = differences.v[k];
      V e = result.v[k];
      if constexpr (Refines) {
        // The exact error of a difference. Source: Knuth, TAOCP 2, 4.2.2, theorem B.
        const V subtracted = x.v[k] - difference;
        const V error = (x.v[k] - (difference + subtracted)) + (subtracted - top);
        e = e == zero ? e : e + e * error;
      }
      const V like = x.v[k] == top ? one : zero;
      sums.rest.v[k] += e - like;  // nothing is left of it, unless it is NaN
      sums.likes.v[k] += like;
      result.v[k] = e;
    }
    return result;
  }

  template <bool Stores, bool Refines>
  [[gnu::always_inline]] static T rest_of(const T* x, T* y, std::int64_t count, std::int64_t room,
                                          T largest) {
    const auto add = [](V a, V b) { return a + b; };
    double rest = 0, likes = 0;
    for (std::int64_t i = 0; i < count;) {
      const std::int64_t end = count - i < kRun ? count : i + kRun;
      Sums sums{};
      for (; i + kStep <= end; i += kStep) {
        const Step e = take<Refines>(load(x + i), largest, sums);
        if constexpr (Stores) store(y + i, e);
      }
      if (i < end) {
        const Step e = take<Refines>(load(x + i, end - i, room - i), largest, sums);
        if constexpr (Stores) store(y + i, e, end - i, room - i);
        i = end;
      }
      rest += static_cast<double>(fold(sums.rest, add));
      likes += static_cast<double>(fold(sums.likes, add));
    }
    return static_cast<T>(rest + (likes - 1));
  }
  template <bool Stores>
  [[gnu::noinline]] static T refined_rest_of(const T* x, T* y, std::int64_t count,
                                             std::int64_t room, T largest) {
    return rest_of<Stores, true>(x, y, count, room, largest);
  }

  /// With the exponentials in y.
  template <bool Stores>
  [[gnu::always_inline]] static RowTotals<T> totals_of(const T* x, T* y, std::int64_t count,
                                                       std::int64_t room) {
    const T largest = largest_of(x, count, room);
    const T rest = rest_of<Stores, false>(x, y, count, room, largest);
    if (rest < kSmallRest) return {largest, refined_rest_of<Stores>(x, y, count, room, largest)};
    return {largest, rest};
  }
};

template <class T>
constexpr SoftmaxRows<T> make_softmax_rows_of() {
  return {Softmax<T>::softmax, Softmax<T>::log_softmax, Softmax<T>::exponentials};
}
constexpr SoftmaxTable make_softmax_rows() {
  return {make_softmax_rows_of<float>(), make_softmax_rows_of<double>()};
}

}  // namespace gradgraph::GRADGRAPH_ISA
