#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "device/shared/host_device.h"

#ifndef GRADGRAPH_ISA
#define GRADGRAPH_ISA common
#endif

namespace gradgraph::math {
inline namespace GRADGRAPH_ISA {

struct LargeAngle {
  std::uint64_t quarters;  ///< modulo 4
  double high, low;        ///< what is left, in [-pi/4, pi/4]
};

/// x modulo pi / 2, for finite x >= 2^20. Source: Payne and Hanek 1983: of the digits of 2 / pi
/// those that give whole turns are left out.
HOST_DEVICE inline LargeAngle large_angle(double x) {
  __extension__ typedef unsigned __int128 Wide;
  // 2 / pi, behind as many zeros as the smallest x needs.
  constexpr std::uint64_t kTwoOverPi[] = {0,
                                          0xA2F9836E4E441529,
                                          0xFC2757D1F534DDC0,
                                          0xDB6295993C439041,
                                          0xFE5163ABDEBBC561,
                                          0xB7246E3A424DD2E0,
                                          0x06492EEA09D1921C,
                                          0xFE1DEB1CB129A73E,
                                          0xE88235F52EBB4484,
                                          0xE99C7026B45F7E41,
                                          0x3991D639835339F4,
                                          0x9C845F8BBDF9283B,
                                          0x1FF897FFDE05980F,
                                          0xEF2F118B5A0A6D1F,
                                          0x6D367ECF27CB09B7,
                                          0x4F463F669E5FEA2D,
                                          0x7527BAC7EBE5F17B,
                                          0x3D0739F78A5292EA,
                                          0x6BFB5FB11F8D5D08,
                                          0x56033046FC7B6BAB,
                                          0xF0CFBC209AF4361D};
  const auto bits = __builtin_bit_cast(std::uint64_t, x);
  const std::uint64_t mantissa = (bits & 0xFFFFFFFFFFFFF) | 0x10000000000000;
  // x = mantissa 2^e; the first digit that counts has weight 2^(1 - e).
  const std::uint64_t start = (bits >> 52) - 1075 + 62;
  const auto word = [&](std::uint64_t i) {
    const std::uint64_t at = start / 64 + i, shift = start % 64;
    return shift == 0 ? kTwoOverPi[at]
                      : kTwoOverPi[at] << shift | kTwoOverPi[at + 1] >> (64 - shift);
  };
  // The product in units of 2^-190, modulo 4.
  const Wide low = Wide{mantissa} * word(2);
  const Wide middle = Wide{mantissa} * word(1) + (low >> 64);
  const std::uint64_t top = mantissa * word(0) + static_cast<std::uint64_t>(middle >> 64);
  // The fraction in units of 2^-128, in [-1/2, 1/2).
  Wide fraction = (Wide{top} << 64 | static_cast<std::uint64_t>(middle)) << 2 |
                  (static_cast<std::uint64_t>(low) >> 62);
  const bool negative = (fraction >> 127) != 0;
  if (negative) fraction = -fraction;
  const int zeros = std::countl_zero(static_cast<std::uint64_t>(fraction >> 64));
  // Times pi / 2, in units of 2^-(127 + zeros).
  const Wide rest =
      Wide{static_cast<std::uint64_t>(fraction << zeros >> 64)} * 0xC90FDAA22168C235;
  const auto digits = static_cast<std::uint64_t>(rest >> 64);
  const double unit =
      __builtin_bit_cast(double, static_cast<std::uint64_t>(1023 - 63 - zeros) << 52);
  const double sign = negative ? -unit : unit;
  return {
      (top >> 62) + (negative ? 1 : 0), sign * static_cast<double>(digits & ~0x7FFull),
      sign * 0x1p-53 *
          static_cast<double>((digits & 0x7FF) << 53 | static_cast<std::uint64_t>(rest) >> 11)};
}

}  // namespace GRADGRAPH_ISA
}  // namespace gradgraph::math
