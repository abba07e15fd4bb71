#pragma once

#include <cmath>
#include <cstdint>

#include "device/shared/philox.h"

/// From random words to distributions. Written with + - * / and sqrt alone, in double: these
/// round the same everywhere, where the C libraries' and CUDA's logarithms and sines differ.
/// To be compiled without contraction into fused multiply-adds.
namespace gradgraph::distributions {

/// In (0,1): the middles of 2^32 equal steps.
HOST_DEVICE inline double open_unit(std::uint32_t word) {
  return (static_cast<double>(word) + 0.5) * 0x1p-32;
}
/// In (0,1) from two words: the middles of 2^52 equal steps.
HOST_DEVICE inline double open_unit(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = (std::uint64_t{high} << 32 | low) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}

/// The natural logarithm of a normal number in (0,1].
HOST_DEVICE inline double log_unit(double x) {
  // x = m * 2^-k with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)).
  int exponent = 0;
  double m = frexp(x, &exponent);
  if (m < 0.70710678118654752440) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), z = s * s;
  double series = 0;
  for (int k = 21; k >= 3; k -= 2) series = (series + 1.0 / k) * z;
  return static_cast<double>(exponent) * 0.69314718055994530942 + 2 * (s + s * series);
}

struct SinCos {
  double sin, cos;
};
/// Sine and cosine of 2 pi `turns`, for turns in [0,1].
HOST_DEVICE inline SinCos sincos_turns(double turns) {
  // The nearest quarter, and what is left in [-1/8, 1/8] turns, where Taylor's series are short.
  const int quarter = static_cast<int>(turns * 4 + 0.5);
  const double t = (turns - 0.25 * quarter) * 6.28318530717958647693, z = t * t;
  double sine = 0, cosine = 0;
  for (int k = 16; k >= 2; k -= 2) {
    cosine = (cosine + 1) * (-z / (k * (k - 1)));
    sine = (sine + 1) * (-z / (k * (k + 1)));
  }
  sine = t + t * sine;
  cosine = 1 + cosine;
  switch (quarter & 3) {
    case 0: return {sine, cosine};
    case 1: return {cosine, -sine};
    case 2: return {-sine, -cosine};
    default: return {-cosine, sine};
  }
}

struct NormalPair {
  double first, second;
};
/// Two independent standard normal numbers from two uniform ones. Source: Box and Muller 1958.
HOST_DEVICE inline NormalPair box_muller(double u, double turns) {
  const double radius = std::sqrt(-2 * log_unit(u));
  const SinCos angle = sincos_turns(turns);
  return {radius * angle.cos, radius * angle.sin};
}

/// The standard normal number that a share of `p` lies below, for p in [1e-10, 1 - 1e-10].
/// Source: Wichura 1988, algorithm AS 241 (PPND16), to about 1e-16.
HOST_DEVICE inline double normal_quantile(double p) {
  constexpr double a[] = {2.5090809287301226727e+3, 3.3430575583588128105e+4,
                          6.7265770927008700853e+4, 4.5921953931549871457e+4,
                          1.3731693765509461125e+4, 1.9715909503065514427e+3,
                          1.3314166789178437745e+2, 3.3871328727963666080e+0};
  constexpr double b[] = {5.2264952788528545610e+3, 2.8729085735721942674e+4,
                          3.9307895800092710610e+4, 2.1213794301586595867e+4,
                          5.3941960214247511077e+3, 6.8718700749205790830e+2,
                          4.2313330701600911252e+1, 1.0};
  constexpr double c[] = {7.74545014278341407640e-4, 2.27238449892691845833e-2,
                          2.41780725177450611770e-1, 1.27045825245236838258e+0,
                          3.64784832476320460504e+0, 5.76949722146069140550e+0,
                          4.63033784615654529590e+0, 1.42343711074968357734e+0};
  constexpr double d[] = {1.05075007164441684324e-9, 5.47593808499534494600e-4,
                          1.51986665636164571966e-2, 1.48103976427480074590e-1,
                          6.89767334985100004550e-1, 1.67638483018380384940e+0,
                          2.05319162663775882187e+0, 1.0};
  const double q = p - 0.5;
  const bool central = std::fabs(q) <= 0.425;
  const double r = central ? 0.180625 - q * q : std::sqrt(-log_unit(q < 0 ? p : 1 - p)) - 1.6;
  double above = 0, below = 0;
  for (int i = 0; i < 8; ++i) {
    above = above * r + (central ? a[i] : c[i]);
    below = below * r + (central ? b[i] : d[i]);
  }
  if (central) return q * above / below;
  return q < 0 ? -above / below : above / below;
}

/// The same distribution cut off at two standard deviations; `u` is uniform in (0,1).
HOST_DEVICE inline double truncated_normal(double u) {
  constexpr double below = 0.022750131948179207200;  // the share left of -2
  return normal_quantile(below + u * (1 - 2 * below));
}

}  // namespace gradgraph::distributions
