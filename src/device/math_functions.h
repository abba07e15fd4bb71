#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "device/host_device.h"

/// The functions of <cmath> that elementwise ops need, without branches, tables and calls: so
/// compilers make vectors of them. They use + - * /, comparisons and bits alone, each rounded by
/// itself: so an element has the same bits in every vector, at every level of the instruction
/// set, by every compiler and on every device, where C libraries differ. To be compiled
/// without contraction into fused multiply-adds.
///
/// At most 2 units in the last place off, over the whole range of float and double; infinities,
/// NaN, signed zeros, denormals and the limits of overflow as C's Annex F has them. Where
/// processors take denormals for zero (SessionOptions::flush_denormals), so do these.
///
/// Sources: the forms are those of Cody and Waite 1980, of fdlibm (log)
/// and of Cephes (tanh). The coefficients are minimax fits made by bench/coefficients.py.

/// Files that are compiled for a level of the instruction set name it here, so that their copies
/// of these functions are not mistaken for those of other files.
#ifndef GRADGRAPH_ISA
#define GRADGRAPH_ISA common
#endif

namespace gradgraph::math {
inline namespace GRADGRAPH_ISA {

#define GRADGRAPH_MATH [[gnu::always_inline]] HOST_DEVICE inline

template <class T>
struct Format;
template <>
struct Format<float> {
  using Bits = std::uint32_t;
  static constexpr int kFraction = 23;
  static constexpr Bits kBias = 127;
  /// ln 2 in two parts: multiples of the first by exponents are exact.
  static constexpr float kLn2 = 0x1.62e43p-1f, kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
  /// e^x is 0 below and infinite above.
  static constexpr float kExpLowest = -104, kExpHighest = 89;
};
template <>
struct Format<double> {
  using Bits = std::uint64_t;
  static constexpr int kFraction = 52;
  static constexpr Bits kBias = 1023;
  static constexpr double kLn2 = 0x1.62e42fefa39efp-1, kLn2High = 0x1.62e42feep-1,
                          kLn2Low = 0x1.a39ef35793c76p-33;
  static constexpr double kExpLowest = -746, kExpHighest = 710;
};
template <class T>
using Bits = typename Format<T>::Bits;
template <class T>
inline constexpr bool kIsFloat = sizeof(T) == sizeof(float);
template <class T>
inline constexpr T kInfinity = std::numeric_limits<T>::infinity();

template <class T>
GRADGRAPH_MATH Bits<T> bits_of(T x) {
  return __builtin_bit_cast(Bits<T>, x);
}
template <class T>
GRADGRAPH_MATH T from_bits(Bits<T> bits) {
  return __builtin_bit_cast(T, bits);
}
template <class T>
inline constexpr Bits<T> kSignBit = Bits<T>{1} << (8 * sizeof(T) - 1);

/// x >= 0 with the sign of `sign`.
template <class T>
GRADGRAPH_MATH T with_sign(T x, T sign) {
  return from_bits<T>(bits_of(x) | (bits_of(sign) & kSignBit<T>));
}

/// Added to a number of half its size and less, it rounds that to an integer, which then stands
/// in the lowest bits of the sum: a conversion that every vector has.
template <class T>
inline constexpr T kRound = static_cast<T>(kIsFloat<T> ? 0x1.8p23 : 0x1.8p52);

/// 2^n from n + kRound.
template <class T>
GRADGRAPH_MATH T power_of_two(T shifted) {
  return from_bits<T>((bits_of(shifted) + Format<T>::kBias) << Format<T>::kFraction);
}

/// c0 + c1 x + c2 x^2 + ...
template <class T>
GRADGRAPH_MATH T polynomial(T, T c) {
  return c;
}
template <class T, class... C>
GRADGRAPH_MATH T polynomial(T x, T c0, C... c) {
  return c0 + x * polynomial(x, c...);
}

// --- exp and what is made of it ---------------------------------------------------------------

/// x = n ln 2 + high - low, with |high - low| <= ln(2) / 2.
template <class T>
struct ExpReduced {
  T shifted, high, low;  ///< n + kRound
};
template <class T>
GRADGRAPH_MATH ExpReduced<T> exp_reduce(T x) {
  const T shifted = x * (1 / Format<T>::kLn2) + kRound<T>, n = shifted - kRound<T>;
  return {shifted, x - n * Format<T>::kLn2High, n * Format<T>::kLn2Low};
}

/// e^r - 1 - r for |r| <= ln(2) / 2.
template <class T>
GRADGRAPH_MATH T exp_remainder(T r) {
  if constexpr (kIsFloat<T>)
    return r * r *
           polynomial(r, 0x1p-1f, 0x1.55549p-3f, 0x1.5554c8p-5f, 0x1.123ad6p-7f, 0x1.6d7166p-10f);
  else
    return r * r *
           polynomial(r, 0x1.000000000000cp-1, 0x1.555555555555ap-3, 0x1.555555554fdd3p-5,
                      0x1.111111110f034p-7, 0x1.6c16c1861858p-10, 0x1.a01a01b28c42bp-13,
                      0x1.a0199580e203ep-16, 0x1.71ddf1b040725p-19, 0x1.28b133a7c7dcp-22,
                      0x1.af6a14ffcd2cp-26);
}

/// e^x where that is a normal number.
template <class T>
GRADGRAPH_MATH T exp_normal(T x) {
  const auto [shifted, high, low] = exp_reduce(x);
  const T r = high - low;
  return (1 + (r + exp_remainder(r))) * power_of_two(shifted);
}

/// y 2^n from n + kRound, by two factors: one might be no normal number.
template <class T>
GRADGRAPH_MATH T scaled(T y, T shifted) {
  const T half = (shifted - kRound<T>)*T{0.5} + kRound<T>;
  const Bits<T> rest = bits_of(shifted) - bits_of(half) + Format<T>::kBias;
  return y * power_of_two(half) * from_bits<T>(rest << Format<T>::kFraction);
}

template <class T>
GRADGRAPH_MATH T exp(T x) {
  x = x < Format<T>::kExpLowest ? Format<T>::kExpLowest : x;
  x = x > Format<T>::kExpHighest ? Format<T>::kExpHighest : x;
  const auto [shifted, high, low] = exp_reduce(x);
  const T r = high - low;
  return scaled(1 + (r + exp_remainder(r)), shifted);
}

/// 1 / (1 + e^-x), where e^-x = 2^n e^r. With n > 0 it is 2^-n / (2^-n + e^r): infinity comes
/// too early, and a rounded numerator would cost another unit.
template <class T>
GRADGRAPH_MATH T sigmoid(T x) {
  T y = x > -Format<T>::kExpLowest ? Format<T>::kExpLowest : -x;
  y = y > -Format<T>::kExpLowest ? -Format<T>::kExpLowest : y;
  const auto [shifted, high, low] = exp_reduce(y);
  const T r = high - low, n = shifted - kRound<T>;
  // 2^-|n|, which may be denormal.
  const T less = power_of_two(kRound<T> + 64 - std::fabs(n)) * T{0x1p-64};
  const T factor = n > 0 ? T{1} : less, numerator = n > 0 ? less : T{1};
  // 1 + less + factor (e^r - 1); what rounding takes from the sum is given back.
  const T b = factor * r, sum = 1 + (less + b), lost = b - (sum - 1 - less);
  return numerator / (sum + (lost + factor * exp_remainder(r)));
}

template <class T>
GRADGRAPH_MATH T tanh(T x) {
  constexpr T kOne = kIsFloat<T> ? 10 : 20;  // the result is 1 from here on
  T y = std::fabs(x);
  y = y > kOne ? kOne : y;
  const T e = exp_normal(2 * y);
  const bool large = y >= T{0.625};
  T result;
  if constexpr (kIsFloat<T>) {
    const T z = y * y;
    const T small = y + y * (z * polynomial(z, -0x1.555532p-2f, 0x1.1106fep-3f, -0x1.b83792p-5f,
                                            0x1.520a3ap-6f, -0x1.756d14p-8f));
    result = large ? 1 - 2 / (e + 1) : small;
  } else {
    // Both need a division, one of them at a time: y + y * (p / q) or 1 - 2 / (e + 1).
    const T z = y * y;
    const T p = z * polynomial(z, -1.61468768441708447952e3, -9.92877231001918586564e1,
                               -9.64399179425052238628e-1);
    const T q = polynomial(z, 4.84406305325125486048e3, 2.23548839060100448583e3,
                           1.12811678491632931402e2, 1.0);
    const T ratio = (large ? T{-2} : p) / (large ? e + 1 : q);
    result = large ? 1 + ratio : y + y * ratio;
  }
  return with_sign(result, x);
}

// --- log --------------------------------------------------------------------------------------

/// x = m 2^k with m in [sqrt(1/2), sqrt(2)), for normal x > 0.
template <class T>
struct LogReduced {
  T m, k;
};
template <class T>
GRADGRAPH_MATH LogReduced<T> log_reduce(T x) {
  constexpr Bits<T> kLowest =
      kIsFloat<T> ? Bits<T>{0x3F3504F3} : static_cast<Bits<T>>(0x3FE6A09E667F3BCD);
  constexpr Bits<T> kFractions = (Bits<T>{1} << Format<T>::kFraction) - 1;
  // A number whose unit in the last place is 1.
  constexpr T kUnits = static_cast<T>(kIsFloat<T> ? 0x1p23 : 0x1p52);
  const Bits<T> from_lowest = bits_of(x) - kLowest + (Format<T>::kBias << Format<T>::kFraction);
  const Bits<T> exponent = from_lowest >> Format<T>::kFraction;
  return {from_bits<T>((from_lowest & kFractions) + kLowest),
          from_bits<T>(exponent | bits_of(kUnits)) - (kUnits + static_cast<T>(Format<T>::kBias))};
}
/// Of denormals too.
template <class T>
GRADGRAPH_MATH LogReduced<T> log_reduce_any(T x) {
  const bool small = x < std::numeric_limits<T>::min();
  auto [m, k] = log_reduce(small ? x * T{0x1p30} * T{0x1p30} : x);
  return {m, small ? k - 60 : k};
}

/// log(1 + f) + k ln 2, for 1 + f in [sqrt(1/2), sqrt(2)).
template <class T>
GRADGRAPH_MATH T log_sum(T f, T k) {
  const T s = f / (2 + f), z = s * s, half = T{0.5} * f * f;
  T series;
  if constexpr (kIsFloat<T>)
    series = polynomial(z, 0x1.555554p-1f, 0x1.999c26p-2f, 0x1.23d3f2p-2f, 0x1.f136ccp-3f);
  else
    series = polynomial(z, 0x1.5555555555593p-1, 0x1.999999997fae2p-2, 0x1.2492494213f34p-2,
                        0x1.c71c51efe7d5bp-3, 0x1.746643bb84b3dp-3, 0x1.39a1458ad51e6p-3,
                        0x1.2f09ca7e96cfcp-3);
  return k * Format<T>::kLn2High -
         (half - (s * (half + z * series) + k * Format<T>::kLn2Low) - f);
}

template <class T>
GRADGRAPH_MATH T log(T x) {
  const auto [m, k] = log_reduce_any(x);
  const T result = log_sum(m - 1, k);
  const T special = x < 0 ? std::numeric_limits<T>::quiet_NaN() : x == 0 ? -kInfinity<T> : x;
  return x > 0 && x < kInfinity<T> ? result : special;
}

#undef GRADGRAPH_MATH

}  // namespace GRADGRAPH_ISA
}  // namespace gradgraph::math
