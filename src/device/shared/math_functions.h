#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "device/shared/angle_reduction.h"
#include "device/shared/host_device.h"

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
/// Sources: the forms are those of Cody and Waite 1980, of fdlibm (log, log1p, pow, sin, cos)
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

template <class T>
GRADGRAPH_MATH T expm1(T x) {
  constexpr T kTiny = static_cast<T>(kIsFloat<T> ? 0x1p-26 : 0x1p-55);
  T y = x < -64 ? -64 : x;
  y = y > Format<T>::kExpHighest ? Format<T>::kExpHighest : y;
  const auto [shifted, high, low] = exp_reduce(y);
  const T r = high - low, rest = high - r - low;
  // Half of 2^n (1 + r + rest) - 1, where 2^n itself may be too large.
  const T half = power_of_two(shifted - 1), a = half - T{0.5}, b = half * r, sum = a + b;
  const T result = 2 * (sum + (b - (sum - a) + half * (exp_remainder(r) + rest)));
  return std::fabs(x) < kTiny ? x : result;
}

/// Of -|x|, where e^|x| = 2^n e^r, it is 2^-n / (2^-n + e^r): with 1 / (1 + e^|x|) infinity would
/// come too early, and e^-|x| / (1 + e^-|x|) rounds once more. The other half is 1 less that.
template <class T>
GRADGRAPH_MATH T sigmoid(T x) {
  T y = std::fabs(x);
  y = y > -Format<T>::kExpLowest ? -Format<T>::kExpLowest : y;
  const auto [shifted, high, low] = exp_reduce(y);
  const T r = high - low, n = shifted - kRound<T>;
  // 2^-n, which may be denormal.
  const T less = power_of_two(kRound<T> + 64 - n) * T{0x1p-64};
  // 1 + less + e^r - 1; what rounding takes from the sum is given back.
  const T sum = 1 + (less + r), lost = r - (sum - 1 - less);
  const T result = less / (sum + (lost + exp_remainder(r)));
  return x < 0 ? result : 1 - result;
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
    const T small = y + y * (z * polynomial(z, -0x1.555534p-2f, 0x1.11076p-3f, -0x1.b84340p-5f,
                                            0x1.52509ep-6f, -0x1.76922ap-8f));
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

template <class T>
GRADGRAPH_MATH T erf(T x) {
  constexpr T kOne = kIsFloat<T> ? 4 : 6;  // the result is 1 from here on
  constexpr T kLarge = static_cast<T>(kIsFloat<T> ? 0.92 : 1);
  T y = std::fabs(x);
  y = y > kOne ? kOne : y;
  const T z = y * y;
  T small, exponent;
  if constexpr (kIsFloat<T>) {
    small = polynomial(z, 0x1.06eba6p-3f, -0x1.8126ecp-2f, 0x1.ce1b7cp-4f, -0x1.b69a2ep-6f,
                       0x1.478f4ap-8f, -0x1.3b5fd8p-11f);
    exponent = polynomial(y, 0x1.5ccf0ep-13f, 0x1.20b75cp+0f, 0x1.462192p-1f, 0x1.aa7476p-4f,
                          -0x1.6d9ffep-6f, 0x1.91d4bp-9f, -0x1.9fc224p-13f);
  } else {
    small = polynomial(z, 0x1.06eba8214db68p-3, -0x1.812746b0379a2p-2, 0x1.ce2f21a03fe0bp-4,
                       -0x1.b82ce311c2f48p-6, 0x1.565bccf2739dfp-8, -0x1.c02daf498fe1cp-11,
                       0x1.f9a2a4ed403fbp-14, -0x1.f4c90e8e05bf2p-17, 0x1.b9740f5b277c2p-20,
                       -0x1.5bc1fed118c47p-23, 0x1.d54f015832113p-27, -0x1.a683030df4011p-31);
    // Even and odd powers apart: one chain of 18 would be waited for.
    const T t = y - 1, square = t * t;
    exponent =
        polynomial(square, 0x1.d97fbf27aa2a1p+0, 0x1.afabc11a2a515p-1, -0x1.48c9d3998fb8dp-7,
                   -0x1.f1b0cdb3bd448p-13, 0x1.c84044a16c35ap-16, 0x1.1d6fa68ab50e1p-19,
                   -0x1.014194386f444p-24, -0x1.2ae3c8ccdbf8bp-27, -0x1.0d53d775a256bp-33) +
        t * polynomial(square, 0x1.51c9b0006c22cp+1, 0x1.5477f09a6be02p-5, 0x1.033f5c516c269p-9,
                       -0x1.b9238c05e009ep-16, -0x1.4454c4e303ce0p-17, -0x1.afeaa2c24e8eep-23,
                       0x1.24ceff09887fep-25, 0x1.73153c2dc595cp-30, 0x1.607fcd7dc9426p-38);
  }
  // 1 - erfc, whose logarithm is nearly a parabola.
  return with_sign(y < kLarge ? y + y * small : 1 - exp_normal(-exponent), x);
}

// --- log and what is made of it ---------------------------------------------------------------

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

/// log(1 + f) + k ln 2 + rest, for 1 + f in [sqrt(1/2), sqrt(2)).
template <class T>
GRADGRAPH_MATH T log_sum(T f, T k, T rest) {
  const T s = f / (2 + f), z = s * s, half = T{0.5} * f * f;
  T series;
  if constexpr (kIsFloat<T>)
    series = polynomial(z, 0x1.555554p-1f, 0x1.999c26p-2f, 0x1.23d3f2p-2f, 0x1.f136ccp-3f);
  else
    series = polynomial(z, 0x1.5555555555593p-1, 0x1.999999997fae2p-2, 0x1.2492494213f34p-2,
                        0x1.c71c51efe7d5bp-3, 0x1.746643bb84b3dp-3, 0x1.39a1458ad51e6p-3,
                        0x1.2f09ca7e96cfcp-3);
  return k * Format<T>::kLn2High -
         (half - (s * (half + z * series) + (k * Format<T>::kLn2Low + rest)) - f);
}

template <class T>
GRADGRAPH_MATH T log(T x) {
  const auto [m, k] = log_reduce_any(x);
  const T result = log_sum(m - 1, k, T{0});
  const T special = x < 0 ? std::numeric_limits<T>::quiet_NaN() : x == 0 ? -kInfinity<T> : x;
  return x > 0 && x < kInfinity<T> ? result : special;
}

template <class T>
GRADGRAPH_MATH T log1p(T x) {
  const T u = 1 + x;
  const auto [m, k] = log_reduce(u);
  // What rounding took from u; without an exponent x itself is exact.
  const T lost = (x < 1 ? x - (u - 1) : 1 - (u - x)) / u;
  const T result = log_sum(k == 0 ? x : m - 1, k, k == 0 ? T{0} : lost);
  const T special = x < -1 ? std::numeric_limits<T>::quiet_NaN() : x == -1 ? -kInfinity<T> : x;
  return x > -1 && x < kInfinity<T> && x != 0 ? result : special;
}

// --- sin and cos ------------------------------------------------------------------------------

/// sin and cos of r + rest for |r| <= pi / 4; `rest` is far smaller than r.
template <class T>
GRADGRAPH_MATH T sin_of(T r, T rest) {
  const T z = r * r;
  if constexpr (kIsFloat<T>) {
    return r + r * (z * polynomial(z, -0x1.555544p-3f, 0x1.1106c6p-7f, -0x1.991c54p-13f));
  } else {
    const T cube = z * r;
    const T high =
        polynomial(z, 0x1.111111110f598p-7, -0x1.a01a019bb42cap-13, 0x1.71de35257b6ebp-19,
                   -0x1.ae5e24dae7bbbp-26, 0x1.5d7fc53bf10e3p-33);
    return r - (z * (T{0.5} * rest - cube * high) - rest + cube * 0x1.5555555555547p-3);
  }
}
template <class T>
GRADGRAPH_MATH T cos_of(T r, T rest) {
  const T z = r * r, half = T{0.5} * z, w = 1 - half;
  if constexpr (kIsFloat<T>)
    return w + ((1 - w - half) +
                z * (z * polynomial(z, 0x1.55554ap-5f, -0x1.6c0c1cp-10f, 0x1.99e1d6p-16f)));
  else
    return w +
           ((1 - w - half) + (z * (z * polynomial(z, 0x1.555555555554ap-5, -0x1.6c16c16c14dddp-10,
                                                  0x1.a01a019c560b8p-16, -0x1.27e4f7c70869ap-22,
                                                  0x1.1ee9be037496dp-29, -0x1.8f96a47560fdp-37)) -
                              r * rest));
}

/// x = quarters pi / 2 + high + low; of `quarters` the two lowest bits count.
template <class T>
struct Angle {
  Bits<T> quarters;
  T high, low;
};

/// Angles above this need more digits of pi than the fast reduction has.
template <class T>
inline constexpr T kLargeAngle = T{0x1p20};
template <class T>
GRADGRAPH_MATH bool is_large_angle(T x) {
  return std::fabs(x) > kLargeAngle<T>;
}

/// Of x in [0, kLargeAngle].
template <class T>
GRADGRAPH_MATH Angle<T> reduce_angle(T angle) {
  const double x = angle;
  const double shifted = x * 0x1.45f306dc9c883p-1 + kRound<double>;
  const double n = shifted - kRound<double>;
  const double first = x - n * 0x1.921fb544p+0;  // exact, as is the next product
  if constexpr (kIsFloat<T>) {
    const T small = static_cast<T>(n) + kRound<T>;
    return {bits_of(small), static_cast<T>(first - n * 0x1.0b4611a626331p-34), 0};
  } else {
    const double second = n * 0x1.0b4611a6p-34, sum = first - second;
    const double lost = first - sum - second;
    const double third = n * 0x1.3198a2e037073p-69 - lost;
    const double high = sum - third;
    return {bits_of(shifted), high, sum - high - third};
  }
}

/// sin(x + turn pi / 2) of an angle whose sign bits are in `flip`.
template <class T>
GRADGRAPH_MATH T sin_of(Angle<T> angle, Bits<T> turn, Bits<T> flip) {
  const Bits<T> quarters = angle.quarters + turn;
  const Bits<T> swap = Bits<T>{0} - (quarters & 1);  // no comparison: not all vectors have it
  const Bits<T> sine = bits_of(sin_of(angle.high, angle.low));
  const Bits<T> cosine = bits_of(cos_of(angle.high, angle.low));
  const Bits<T> sign = (quarters & 2) << (8 * sizeof(T) - 2);
  return from_bits<T>(((sine & ~swap) | (cosine & swap)) ^ sign ^ flip);
}

template <class T>
GRADGRAPH_MATH T sin(T x) {
  return sin_of(reduce_angle(std::fabs(x)), 0, bits_of(x) & kSignBit<T>);
}
template <class T>
GRADGRAPH_MATH T cos(T x) {
  return sin_of(reduce_angle(std::fabs(x)), 1, 0);
}

/// An angle of any size, finite or not.
template <class T>
HOST_DEVICE inline Angle<T> reduce_large_angle(T x) {
  if (!(std::fabs(x) < kInfinity<T>)) return {0, std::numeric_limits<T>::quiet_NaN(), 0};
  const LargeAngle angle = large_angle(std::fabs(x));
  return {static_cast<Bits<T>>(angle.quarters), static_cast<T>(angle.high),
          static_cast<T>(angle.low)};
}
template <class T>
HOST_DEVICE inline T sin_large(T x) {
  return sin_of(reduce_large_angle(x), 0, bits_of(x) & kSignBit<T>);
}
template <class T>
HOST_DEVICE inline T cos_large(T x) {
  return sin_of(reduce_large_angle(x), 1, 0);
}

// --- pow --------------------------------------------------------------------------------------

/// Half the digits: products of two such numbers are exact.
GRADGRAPH_MATH double high_half(double x) {
  return from_bits<double>(bits_of(x) & 0xFFFFFFFFF8000000);
}

struct HighLow {
  double high, low;
};

/// log2(x) for finite x > 0, to about 2^-65 of its size.
GRADGRAPH_MATH HighLow log2_exactly(double x) {
  const auto [m, k] = log_reduce_any(x);
  // s = (m - 1) / (m + 1) in two parts.
  const double f = m - 1, d = m + 1, reciprocal = 1 / d, s = f * reciprocal;
  const double s_high = high_half(s), d_high = high_half(d), d_low = m - (d_high - 1);
  const double s_low = reciprocal * (f - s_high * d_high - s_high * d_low);
  // log(m) = 2/3 s (3 + s^2 + s^4 series).
  const double square = s_high * s_high, z = s * s;
  const double rest =
      z * z *
          polynomial(z, 0x1.333333333333p-1, 0x1.b6db6db6dc90bp-2, 0x1.55555554162b7p-2,
                     0x1.1745d22a2dba6p-2, 0x1.d89d11e52b189p-3, 0x1.99b15d9ff3923p-3,
                     0x1.66a0e513cd761p-3, 0x1.70790f25bb6ddp-3) +
      s_low * (s_high + s);
  const double t_high = high_half(3 + square + rest), t_low = rest - (t_high - 3 - square);
  const double u = s_high * t_high, v = s_low * t_high + t_low * s;
  const double p_high = high_half(u + v), p_low = v - (p_high - u);
  // 2 / (3 ln 2)
  const double z_high = 0x1.ec709d8p-1 * p_high;
  const double z_low = 0x1.0e80ff5d27f05p-27 * p_high + p_low * 0x1.ec709dc3a03fdp-1;
  const double high = high_half(z_high + z_low + k);
  return {high, z_low - (high - k - z_high)};
}

/// 2^(high + low), 0 or infinity.
GRADGRAPH_MATH double exp2_exactly(double high, double low) {
  double z = high + low;
  const bool beyond = z < -1100 || z > 1100;
  z = z < -1100 ? -1100 : z;
  z = z > 1100 ? 1100 : z;
  high = beyond ? z : high;
  low = beyond ? 0 : low;
  const double shifted = z + kRound<double>, n = shifted - kRound<double>;
  const double first = high - n, t = high_half(low + first);
  const double u = t * 0x1.62e42f8p-1;
  const double v = (low - (t - first)) * Format<double>::kLn2 + t * 0x1.be8e7bcd5e4f2p-27;
  const double r = u + v, rest = v - (r - u);
  return scaled(1 + (r + (exp_remainder(r) + (rest + r * rest))), shifted);
}

/// size^exponent for finite size > 0.
GRADGRAPH_MATH double power_of_size(double size, double exponent) {
  const HighLow log = log2_exactly(size);
  // Beyond these all powers but those of 1 are 0 or infinite.
  double y = exponent < -0x1p70 ? -0x1p70 : exponent;
  y = y > 0x1p70 ? 0x1p70 : y;
  const double y_high = high_half(y);
  return exp2_exactly(y_high * log.high, (y - y_high) * log.high + y * log.low);
}
/// In double, with the digits that a float needs.
GRADGRAPH_MATH float power_of_size(float size, float exponent) {
  const auto [m, k] = log_reduce(static_cast<double>(size));
  const double f = m - 1, s = f / (2 + f), z = s * s;
  const double series = polynomial(z, 0x1.555554fd8721cp-1, 0x1.999a7ab27ec3ap-2,
                                   0x1.2438cda9339a1p-2, 0x1.e2f7e28a28683p-3);
  double y = exponent * (k + s * (2 + z * series) * (1 / Format<double>::kLn2));
  y = y < -300 ? -300 : y;
  y = y > 300 ? 300 : y;
  const double shifted = y + kRound<double>;
  const double r = (y - (shifted - kRound<double>)) * Format<double>::kLn2;
  const double rest =
      polynomial(r, 0x1.00000043e1d74p-1, 0x1.5555558f8decbp-3, 0x1.55547eb4e21a8p-5,
                 0x1.1110888600335p-7, 0x1.6d97cbec0a92ep-10, 0x1.a1a8cd71be106p-13);
  return static_cast<float>((1 + (r + r * r * rest)) * power_of_two(shifted));
}

template <class T>
GRADGRAPH_MATH T pow(T base, T exponent) {
  constexpr T kUnits = static_cast<T>(kIsFloat<T> ? 0x1p23 : 0x1p52);
  const T size = std::fabs(base), y = std::fabs(exponent), half = T{0.5} * y;
  T result = power_of_size(size, exponent);
  const bool no_product = size == 0 || size == kInfinity<T> || y == kInfinity<T>;
  result = no_product ? ((size - 1) * exponent > 0 ? kInfinity<T> : T{0}) : result;
  // Integers from kUnits on; half of an odd one is none.
  const bool whole = (y < kUnits ? y + kUnits - kUnits : y) == y;
  const bool even = (half < kUnits ? half + kUnits - kUnits : half) == half;
  result = whole && !even ? with_sign(result, base) : result;
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  result = base < 0 && size < kInfinity<T> && !whole ? kNaN : result;
  result = base != base || exponent != exponent ? kNaN : result;
  const bool one = exponent == 0 || base == 1 || (size == 1 && y == kInfinity<T>);
  return one ? T{1} : result;
}

#undef GRADGRAPH_MATH

}  // namespace GRADGRAPH_ISA
}  // namespace gradgraph::math
