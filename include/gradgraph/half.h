#pragma once

#include <bit>
#include <cstdint>

#include "gradgraph/api.h"

namespace gradgraph GRADGRAPH_API {

/// Numbers of 16 bits, to be stored: arithmetic is float's, of what they convert to, which is
/// exact. Conversions to them round to the nearest, ties to even; what is too large becomes
/// infinite, NaN stays NaN.
///
/// IEEE 754's binary16: 11 significant bits, up to 65504, denormal below 6.1e-5.
class Half {
 public:
  Half() = default;
  [[gnu::always_inline]] explicit constexpr Half(float x) : bits_(round(x)) {}
  [[gnu::always_inline]] explicit constexpr Half(double x);
  [[gnu::always_inline]] constexpr operator float() const {
    const std::uint32_t sign = (bits_ & 0x8000u) << 16, rest = bits_ & 0x7fffu;
    // Denormal ones: their bits are a multiple of 2^-24.
    if (rest < 0x0400u)
      return std::bit_cast<float>(
          std::bit_cast<std::uint32_t>(static_cast<float>(rest) * 0x1p-24f) | sign);
    const std::uint32_t exponent = rest >= 0x7c00u ? 0x70000000u : 0x38000000u;
    return std::bit_cast<float>(((rest << 13) + exponent) | sign);
  }

  static constexpr Half from_bits(std::uint16_t bits) {
    Half half;
    half.bits_ = bits;
    return half;
  }
  constexpr std::uint16_t bits() const { return bits_; }

 private:
  [[gnu::always_inline]] static constexpr std::uint16_t round(float x) {
    const std::uint32_t all = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = all >> 16 & 0x8000u, rest = all & 0x7fffffffu;
    std::uint32_t bits = 0;
    if (rest > 0x7f800000u)
      bits = 0x7e00u;
    else if (rest >= 0x477ff000u)  // from halfway to 2^16 on
      bits = 0x7c00u;
    else if (rest >= 0x38800000u)
      bits = (rest + 0xfffu + (rest >> 13 & 1u) - 0x38000000u) >> 13;
    else  // a sum whose last bit is 2^-24
      bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3f000000u;
    return static_cast<std::uint16_t>(bits | sign);
  }

  std::uint16_t bits_;
};

/// The upper half of a float: 8 significant bits, float's range.
class BFloat16 {
 public:
  BFloat16() = default;
  [[gnu::always_inline]] explicit constexpr BFloat16(float x) : bits_(round(x)) {}
  [[gnu::always_inline]] explicit constexpr BFloat16(double x);
  [[gnu::always_inline]] constexpr operator float() const {
    return std::bit_cast<float>(std::uint32_t{bits_} << 16);
  }

  static constexpr BFloat16 from_bits(std::uint16_t bits) {
    BFloat16 x;
    x.bits_ = bits;
    return x;
  }
  constexpr std::uint16_t bits() const { return bits_; }

 private:
  [[gnu::always_inline]] static constexpr std::uint16_t round(float x) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
    return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  }

  std::uint16_t bits_;
};

/// The nearest float whose last bit is 1, unless x is a float: rounded once more, to fewer bits,
/// it gives what x itself would.
[[gnu::always_inline]] constexpr float round_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  const auto bits = std::bit_cast<std::uint32_t>(nearest);
  const double back = nearest;
  if (back == x || x != x || (bits & 1u) != 0) return nearest;
  const bool is_short = x < 0 ? back > x : back < x;
  return std::bit_cast<float>(is_short ? bits + 1 : bits - 1);
}

constexpr Half::Half(double x) : Half(round_to_odd(x)) {}
constexpr BFloat16::BFloat16(double x) : BFloat16(round_to_odd(x)) {}

}  // namespace gradgraph
