#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

/// What softmax and its losses take from a row of logits. Everything is relative to the largest
/// of them, so that what logits share does no harm, and the largest one's own exponential, 1, is
/// never added to the others': with "rest" the sum of theirs, a class has the loss
///
///     log1p(rest) + (largest - logit)
///
/// of which neither part is negative, so a loss is as accurate as they are, however small.
namespace gradgraph {

template <class T>
struct Largest {
  T value;
  std::int64_t place;  ///< the first that has it
};

/// Of `count` elements that lie `step` apart; NaN when one of them is.
template <class T>
Largest<T> largest_of(const T* x, std::int64_t count, std::int64_t step = 1) {
  Largest<T> largest{-std::numeric_limits<T>::infinity(), 0};
  for (std::int64_t i = 0; i < count; ++i) {
    const T value = x[i * step];
    if (value <= largest.value) continue;
    largest = {value, i};
    if (value != value) break;
  }
  return largest;
}

/// In interleaved series, which vectorises, and in double, since classes may be very many.
template <class T>
T sum_of(const T* x, std::int64_t count) {
  constexpr std::int64_t kLanes = 8;
  double total = 0;
  std::int64_t i = 0;
  if (count >= 2 * kLanes) {
    double lanes[kLanes] = {};
    for (; i + kLanes <= count; i += kLanes)
      for (std::int64_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] += static_cast<double>(x[i + lane]);
    for (const double lane : lanes) total += lane;
  }
  for (; i < count; ++i) total += static_cast<double>(x[i]);
  return static_cast<T>(total);
}

/// Where the rest is smaller than this, the logits behind the largest one are so far behind that
/// the rounding of their distance, of which exp makes a relative error, has to be made good.
template <class T>
constexpr T kSmallRest = T{1} / 256;

/// exp(x - largest), given that of the rounded difference.
template <class T>
T refined(T exponential, T x, T largest) {
  if (exponential == 0) return exponential;
  // The exact error of a difference. Source: Knuth, TAOCP 2, 4.2.2, theorem B.
  const T difference = x - largest, subtracted = x - difference;
  const T error = (x - (difference + subtracted)) + (subtracted - largest);
  return exponential + exponential * error;
}

}  // namespace gradgraph
