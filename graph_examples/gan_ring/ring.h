#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "gradgraph/gradgraph.h"

/// Points on a ring of eight Gaussians, and how well others cover it.
namespace ring {

constexpr int kModes = 8;
constexpr double kRadius = 2, kDeviation = 0.05;

inline std::array<double, 2> center(int mode) {
  const double angle = 2 * std::numbers::pi * mode / kModes;
  return {kRadius * std::cos(angle), kRadius * std::sin(angle)};
}

/// Points around the centers, normally distributed: float32 [count, 2].
inline gg::Tensor points_of(std::int64_t count, std::uint64_t seed) {
  gg::Tensor points(gg::float32, {count, 2});
  for (std::int64_t i = 0; i < count; ++i) {
    gg::data::Random random(seed, 0, i);
    const auto [x, y] = center(static_cast<int>(random.below(kModes)));
    const double length = kDeviation * std::sqrt(-2 * std::log(1 - random.uniform())),
                 angle = 2 * std::numbers::pi * random.uniform();
    points.data<float>()[2 * i] = static_cast<float>(x + length * std::cos(angle));
    points.data<float>()[2 * i + 1] = static_cast<float>(y + length * std::sin(angle));
  }
  return points;
}

struct Coverage {
  int modes = 0;    ///< that have a quarter of their share of the points, or more
  double near = 0;  ///< which part of the points is within five deviations of a mode
};
inline Coverage judge(const gg::Tensor& points) {
  std::array<std::int64_t, kModes> counts{};
  const std::int64_t count = points.shape()[0];
  for (std::int64_t i = 0; i < count; ++i)
    for (int mode = 0; mode < kModes; ++mode)
      if (const auto [x, y] = center(mode);
          std::hypot(points.at<float>({i, 0}) - x, points.at<float>({i, 1}) - y) < 5 * kDeviation)
        ++counts[static_cast<std::size_t>(mode)];
  Coverage result;
  for (const std::int64_t in_mode : counts) {
    result.modes += 4 * kModes * in_mode >= count ? 1 : 0;
    result.near += static_cast<double>(in_mode) / static_cast<double>(count);
  }
  return result;
}

/// Dark points on white, 256 by 256.
inline gg::Tensor picture(const gg::Tensor& points) {
  constexpr std::int64_t kSide = 256;
  gg::Tensor image = gg::Tensor::full(gg::uint8, {kSide, kSide}, 255);
  const auto pixel = [](float x) {
    return static_cast<std::int64_t>(std::lround((x / 3 + 1) * kSide / 2));
  };
  for (std::int64_t i = 0; i < points.shape()[0]; ++i) {
    const std::int64_t x = pixel(points.at<float>({i, 0})), y = pixel(points.at<float>({i, 1}));
    if (std::min(x, y) >= 0 && std::max(x, y) < kSide)
      image.data<std::uint8_t>()[(kSide - 1 - y) * kSide + x] = 0;
  }
  return image;
}

}  // namespace ring
