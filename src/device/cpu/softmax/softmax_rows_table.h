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
  using Steps::fold, Steps::kSize, Steps::kStep, Steps::kVectors, Steps::load, Steps::map,
      Steps::store;
  using typename Steps::Step;
  using typename Steps::V;

 public:
  static void softmax(const T* x, T* y, std::int64_t rows, std::int64_t count) {
    for_blocks(rows, count, [=](std::int64_t row, std::int64_t some, std::int64_t room) {
      RowTotals<T> totals[kBlockRows];
      T block[kBlockElements + kStep];  // the last row's last step is read whole
      // Not in y, where the last step of a row writes into the next one.
      T* own = y + row * count;
      T* exponentials = some > 1 ? block : own;
      totals_of<true>(x + row * count, exponentials, totals, some, count, room);
      for (std::int64_t i = 0; i < some; ++i) {
        const V divisor = (1 + totals[i].rest) - V{};
        map(exponentials + i * count, own + i * count, count, room - i * count,
            [=](V e) { return e / divisor; });
      }
    });
    clear_upper_halves();
  }

  static void log_softmax(const T* x, T* y, std::int64_t rows, std::int64_t count) {
    for_blocks(rows, count, [=](std::int64_t row, std::int64_t some, std::int64_t room) {
      RowTotals<T> totals[kBlockRows];
      T block[kBlockElements], log_rests[kBlockRows];
      totals_of<false>(x + row * count, block, totals, some, count, room);
      for (std::int64_t i = 0; i < kBlockRows; ++i) log_rests[i] = i < some ? totals[i].rest : 0;
      GRADGRAPH_VECTORIZE
      for (std::int64_t i = 0; i < kBlockRows; ++i) log_rests[i] = math::log1p(log_rests[i]);
      for (std::int64_t i = 0; i < some; ++i) {
        const V largest = totals[i].largest - V{}, log_rest = log_rests[i] - V{};
        map(x + (row + i) * count, y + (row + i) * count, count, room - i * count,
            [=](V v) { return (v - largest) - log_rest; });
      }
    });
    clear_upper_halves();
  }

  static void exponentials(const T* x, T* y, RowTotals<T>* totals, std::int64_t rows,
                           std::int64_t count) {
    for_blocks(rows, count, [=](std::int64_t row, std::int64_t some, std::int64_t room) {
      const T* from = x + row * count;
      T block[kBlockElements];
      if (y)
        totals_of<true>(from, y + row * count, totals + row, some, count, room);
      else
        totals_of<false>(from, block, totals + row, some, count, room);
    });
    clear_upper_halves();
  }

  static void gradient(const T* y, T* grad, T factor, std::int64_t rows, std::int64_t count) {
    for (std::int64_t row = 0; row < rows; ++row, y += count, grad += count) {
      Step sums{};
      for (std::int64_t i = 0; i < count; i += kStep) {
        const Step weights = load(y + i), grads = load(grad + i);
        GRADGRAPH_UNROLL
        for (int k = 0; k < kVectors; ++k) sums.v[k] += weights.v[k] * grads.v[k];
      }
      const V total = fold(sums, [](V a, V b) { return a + b; }) - V{};
      for (std::int64_t i = 0; i < count; i += kStep) {
        const Step weights = load(y + i);
        Step grads = load(grad + i);
        GRADGRAPH_UNROLL
        for (int k = 0; k < kVectors; ++k)
          grads.v[k] = weights.v[k] * (grads.v[k] - total) * factor;
        store(grad + i, grads);
      }
    }
    clear_upper_halves();
  }

  static void hide(const bool* seen, T hidden, T* x, std::int64_t count) {
    GRADGRAPH_VECTORIZE
    for (std::int64_t i = 0; i < count; ++i) x[i] = seen[i] ? x[i] : hidden;
    clear_upper_halves();
  }

 private:
  /// Rows go in blocks, which stay in the first-level cache.
  static constexpr std::int64_t kBlockRows = 32, kBlockElements = 1024;
  /// Steps whose terms are added before the sums go into a double, since rows may be long.
  static constexpr std::int64_t kRun = 8 * kStep;
  /// Where the rest is smaller than this, the logits behind the largest one are so far behind
  /// that the rounding of their distance, of which exp makes a relative error, is made good.
  static constexpr T kSmallRest = T{1} / 256;
  static constexpr T kLowest = -std::numeric_limits<T>::infinity();

  /// Calls `body(first row, rows, elements from it on)`.
  template <class Body>
  [[gnu::always_inline]] static void for_blocks(std::int64_t rows, std::int64_t count,
                                                const Body& body) {
    std::int64_t block =
        count * kBlockRows > kBlockElements ? kBlockElements / count : kBlockRows;
    if (block < 1) block = 1;
    for (std::int64_t row = 0; row < rows; row += block)
      body(row, rows - row < block ? rows - row : block, (rows - row) * count);
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
    if (i < count) take(load(x + i, count - i, room - i, kLowest));
    return fold(largest, larger);
  }

  /// exp(x - largest) of a step
  template <bool Refines>
  [[gnu::always_inline]] static Step exponentials_of(const Step& x, T largest) {
    const V zero{}, top = largest - zero;
    Step differences;
    GRADGRAPH_UNROLL
    for (int k = 0; k < kVectors; ++k) differences.v[k] = x.v[k] - top;
    Step result = exponentials_of(differences);
    if constexpr (Refines) {
      GRADGRAPH_UNROLL
      for (int k = 0; k < kVectors; ++k) {
        // The exact error of a difference. Source: Knuth, TAOCP 2, 4.2.2, theorem B.
        const V difference = differences.v[k], subtracted = x.v[k] - difference,
                error = (x.v[k] - (difference + subtracted)) + (subtracted - top),
                e = result.v[k];
        result.v[k] = e == zero ? e : e + e * error;
      }
    }
    return result;
  }

  /// Of a row's exponentials: the sum of those that are not 1, and how many are. The largest
  /// logit's is.
  class Sums {
   public:
    [[gnu::always_inline]] void add(const T* exponentials, std::int64_t count,
                                    std::int64_t room) {
      for (std::int64_t i = 0; i < count;) {
        Step rest{}, ones{};
        const auto take = [&](const Step& step) {
          const V zero{}, one = zero + T{1};
          GRADGRAPH_UNROLL
          for (int k = 0; k < kVectors; ++k) {
            const V is_one = step.v[k] == one ? one : zero;
            rest.v[k] += step.v[k] - is_one;  // nothing is left of it, unless it is NaN
            ones.v[k] += is_one;
          }
        };
        const std::int64_t end = count - i < kRun ? count : i + kRun;
        for (; i + kStep <= end; i += kStep) take(load(exponentials + i));
        if (i < end) take(load(exponentials + i, end - i, room - i, T{0}));
        i = end;
        const auto folded = fold(rest, ones, [](V a, V b) { return a + b; });
        rest_ += static_cast<double>(folded.first);
        ones_ += static_cast<double>(folded.second);
      }
    }
    /// All but one of the ones are part of it.
    [[gnu::always_inline]] T rest() const { return static_cast<T>(rest_ + (ones_ - 1)); }

   private:
    double rest_ = 0, ones_ = 0;
  };

  /// Of one row, with the exponentials in y if that is to have them.
  template <bool Stores, bool Refines>
  [[gnu::noinline]] static T rest_of_row(const T* x, T* y, std::int64_t count, T largest) {
    T block[kBlockElements];
    Sums sums;
    for (std::int64_t first = 0; first < count; first += kBlockElements) {
      const std::int64_t some = count - first < kBlockElements ? count - first : kBlockElements;
      const T* from = x + first;
      T* to = Stores ? y + first : block;
      std::int64_t i = 0;
      for (; i + kStep <= some; i += kStep)
        store(to + i, exponentials_of<Refines>(load(from + i), largest));
      if (i < some)
        store(to + i,
              exponentials_of<Refines>(load(from + i, some - i, some - i, kLowest), largest),
              some - i, some - i);
      sums.add(to, some, some);
    }
    return sums.rest();
  }

  /// Of some rows, with their exponentials in y, which has room for a block. Rows of a block go
  /// together from one part of the calculation to the next: their exponentials are taken in one
  /// loop, however short they are, and no row waits for another one. Of x `room` elements can be
  /// read.
  template <bool Stores>
  [[gnu::always_inline]] static void totals_of(const T* x, T* y, RowTotals<T>* totals,
                                               std::int64_t rows, std::int64_t count,
                                               std::int64_t room) {
    if (rows == 1) {
      const T largest = largest_of(x, count, room);
      *totals = {largest, rest_of_row<Stores, false>(x, y, count, largest)};
    } else {
      const std::int64_t elements = rows * count;
      for (std::int64_t row = 0, i = 0; row < rows; ++row, i += count) {
        const T largest = largest_of(x + i, count, room - i);
        totals[row].largest = largest;
        map(x + i, y + i, count, elements - i, [=](V v) { return v - (largest - V{}); });
      }
      std::int64_t i = 0;
      for (; i + kStep <= elements; i += kStep) store(y + i, exponentials_of(load(y + i)));
      if (i < elements) {
        const std::int64_t left = elements - i;
        store(y + i, exponentials_of(load(y + i, left, left, kLowest)), left, left);
      }
      for (std::int64_t row = 0; row < rows; ++row) {
        Sums sums;
        sums.add(y + row * count, count, elements - row * count);
        totals[row].rest = sums.rest();
      }
    }
    for (std::int64_t row = 0; row < rows; ++row)
      if (totals[row].rest < kSmallRest)
        totals[row].rest = rest_of_row<Stores, true>(x + row * count, y + row * count, count,
                                                     totals[row].largest);
  }
};

template <class T>
constexpr SoftmaxRows<T> make_softmax_rows_of() {
  return {Softmax<T>::softmax, Softmax<T>::log_softmax, Softmax<T>::exponentials,
          Softmax<T>::gradient, Softmax<T>::hide};
}
constexpr SoftmaxTable make_softmax_rows() {
  return {make_softmax_rows_of<float>(), make_softmax_rows_of<double>()};
}

}  // namespace gradgraph::GRADGRAPH_ISA
