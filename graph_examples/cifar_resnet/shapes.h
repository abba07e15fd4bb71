#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "gradgraph/gradgraph.h"

/// A data set in place of CIFAR-10, of the same form: shapes of five kinds, filled or hollow,
/// anywhere on a background of stripes, in any colours.
namespace shapes {

/// Whether (x, y), from the middle and by the size, lies in the shape.
inline bool contains(std::uint32_t kind, double x, double y) {
  switch (kind) {
    case 0: return x * x + y * y < 1;                           // disc
    case 1: return std::max(std::abs(x), std::abs(y)) < 0.85;   // square
    case 2: return std::abs(x) + std::abs(y) < 1.1;             // diamond
    case 3: return y < 0.8 && 2 * std::abs(x) < (y + 1) * 1.1;  // triangle
    default:
      return std::min(std::abs(x), std::abs(y)) < 0.35 &&
             std::max(std::abs(x), std::abs(y)) < 1;  // cross
  }
}

/// "images", uint8 [count,32,32,3], and "labels", int64 [count]: the kind, and 5 more if hollow.
inline gg::data::Dataset make(std::int64_t count, std::uint64_t seed) {
  gg::Tensor images(gg::uint8, {count, 32, 32, 3}), labels(gg::int64, {count});
  std::uint8_t* pixel = images.data<std::uint8_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    gg::data::Random random(seed, 0, i);
    const std::uint32_t label = random.below(10);
    labels.data<std::int64_t>()[i] = label;
    const double size = 6 + 6 * random.uniform(), slope = 2 * random.uniform() - 1,
                 left = size + (31 - 2 * size) * random.uniform(),
                 top = size + (31 - 2 * size) * random.uniform();
    double colours[3][3];  // of the shape and of two kinds of stripes
    for (auto& colour : colours)
      for (double& part : colour) part = 40 + 180 * random.uniform();
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 32; ++x) {
        const double across = (x - left) / size, down = (y - top) / size;
        const bool is_inside = contains(label % 5, across, down) &&
                               (label < 5 || !contains(label % 5, across / 0.6, down / 0.6));
        const int stripe = 1 + (static_cast<int>(std::floor((x + slope * y) / 5)) & 1);
        for (const double part : colours[is_inside ? 0 : stripe])
          *pixel++ = static_cast<std::uint8_t>(part + 35 * random.uniform());
      }
    }
  }
  return {{"images", images}, {"labels", labels}};
}

}  // namespace shapes
