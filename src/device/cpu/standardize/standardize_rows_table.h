#pragma once

#include <cmath>

#include "device/cpu/isa/row_steps.h"
#include "device/cpu/isa/upper_halves.h"
#include "device/cpu/standardize/standardize_rows.h"

/// The loops behind StandardizeTable. Included by one file per level of the instruction set, as
/// loops_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

template <class T>
class Standardize : RowSteps<T> {
  using Steps = RowSteps<T>;
  using Steps::cut, Steps::fold, Steps::kStep, Steps::kVectors, Steps::load, Steps::map,
      Steps::store;
  using typename Steps::Step;
  using typename Steps::V;

 public:
  static void standardize(const T* x, T* y, std::int64_t rows, std::int64_t count,
                          double epsilon) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t start = row * count, room = (rows - row) * count;
      const Moments moments = moments_of(x + start, count, room, epsilon);
      map(x + start, y + start, count, room, [=](V v) { return moments.standardized(v); });
    }
    clear_upper_halves();
  }

  static void gradient(const T* x, const T* grad, T* y, std::int64_t rows, std::int64_t count,
                       double epsilon) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t start = row * count, room = (rows - row) * count;
      const Moments moments = moments_of(x + start, count, room, epsilon);
      gradient_of(x + start, grad + start, y + start, count, room, moments);
    }
    clear_upper_halves();
  }

 private:
  /// Steps whose terms are added before the sums go into a double, since rows may be long.
  static constexpr std::int64_t kRun = 8 * kStep;

  struct Moments {
    T mean, rest, scale;
    [[gnu::always_inline]] V centred(V x) const { return (x - (mean - V{})) - (rest - V{}); }
    [[gnu::always_inline]] V standardized(V x) const { return centred(x) * (scale - V{}); }
  };

  /// Calls `take(begin, count, room, sums)` for each step of a row, with the sums of its run;
  /// gives the sums of all.
  template <int kSums, class Take>
  [[gnu::always_inline]] static void sum_steps(std::int64_t count, double (&totals)[kSums],
                                               const Take& take) {
    const auto add = [](V a, V b) { return a + b; };
    for (std::int64_t i = 0; i < count;) {
      const std::int64_t end = count - i < kRun ? count : i + kRun;
      Step sums[kSums]{};
      for (; i + kStep <= end; i += kStep) take(i, kStep, sums);
      if (i < end) take(i, end - i, sums);
      i = end;
      for (int k = 0; k < kSums; ++k) totals[k] += static_cast<double>(fold(sums[k], add));
    }
  }
  [[gnu::always_inline]] static void add(const Step& terms, Step& sums) {
    GRADGRAPH_UNROLL
    for (int k = 0; k < kVectors; ++k) sums.v[k] += terms.v[k];
  }
  [[gnu::always_inline]] static Step load_step(const T* x, std::int64_t size, std::int64_t room) {
    return size == kStep ? load(x) : load(x, size, room, T{0});
  }

  [[gnu::always_inline]] static Moments moments_of(const T* x, std::int64_t count,
                                                   std::int64_t room, double epsilon) {
    const double inverse = 1 / static_cast<double>(count);
    double total[1] = {};
    sum_steps(count, total, [&](std::int64_t i, std::int64_t size, Step(&sums)[1]) {
      add(load_step(x + i, size, room - i), sums[0]);
    });
    Moments moments{};
    moments.mean = static_cast<T>(total[0] * inverse);
    // Distances from the mean, and their squares.
    double totals[2] = {};
    sum_steps(count, totals, [&](std::int64_t i, std::int64_t size, Step(&sums)[2]) {
      Step step = load_step(x + i, size, room - i);
      GRADGRAPH_UNROLL
      for (int k = 0; k < kVectors; ++k) step.v[k] -= moments.mean - V{};
      if (size != kStep) step = cut(step, size, T{0});
      add(step, sums[0]);
      GRADGRAPH_UNROLL
      for (int k = 0; k < kVectors; ++k) step.v[k] *= step.v[k];
      add(step, sums[1]);
    });
    const double rest = totals[0] * inverse, squares = totals[1] * inverse;
    moments.rest = static_cast<T>(rest);
    double variance = squares - rest * rest;
    // Where little of the squares is left, or a float had no room for them, or there are none.
    if (!(variance > squares / 16 && squares > kLeast && squares < kMost))
      variance = slow_variance(x, count, moments);
    moments.scale = static_cast<T>(1 / std::sqrt(variance + epsilon));
    return moments;
  }
  static constexpr double kLeast = 1e-30, kMost = 1e30;

  [[gnu::noinline]] static double slow_variance(const T* x, std::int64_t count,
                                                const Moments& moments) {
    double total = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const double distance = static_cast<double>((x[i] - moments.mean) - moments.rest);
      total += distance * distance;
    }
    return total / static_cast<double>(count);
  }

  /// scale * (grad - mean(grad) - y * mean(grad * y))
  [[gnu::always_inline]] static void gradient_of(const T* x, const T* grad, T* to,
                                                 std::int64_t count, std::int64_t room,
                                                 const Moments& moments) {
    double totals[2] = {};
    sum_steps(count, totals, [&](std::int64_t i, std::int64_t size, Step(&sums)[2]) {
      const Step g = load_step(grad + i, size, room - i);
      Step products = load_step(x + i, size, room - i);
      GRADGRAPH_UNROLL
      for (int k = 0; k < kVectors; ++k)
        products.v[k] = g.v[k] * moments.standardized(products.v[k]);
      add(g, sums[0]);
      add(size == kStep ? products : cut(products, size, T{0}), sums[1]);
    });
    const double inverse = 1 / static_cast<double>(count);
    const V mean_grad = static_cast<T>(totals[0] * inverse) - V{};
    const V mean_product = static_cast<T>(totals[1] * inverse) - V{};
    const V scale = moments.scale - V{};
    for (std::int64_t i = 0; i < count; i += kStep) {
      const std::int64_t size = count - i < kStep ? count - i : kStep;
      Step step = load_step(grad + i, size, room - i);
      const Step from = load_step(x + i, size, room - i);
      GRADGRAPH_UNROLL
      for (int k = 0; k < kVectors; ++k) {
        const V y = moments.standardized(from.v[k]);
        step.v[k] = scale * (step.v[k] - mean_grad - y * mean_product);
      }
      if (size == kStep)
        store(to + i, step);
      else
        store(to + i, step, size, room - i);
    }
  }
};

template <class T>
constexpr StandardizeRows<T> make_standardize_rows_of() {
  return {Standardize<T>::standardize, Standardize<T>::gradient};
}
constexpr StandardizeTable make_standardize_rows() {
  return {make_standardize_rows_of<float>(), make_standardize_rows_of<double>()};
}

}  // namespace gradgraph::GRADGRAPH_ISA
