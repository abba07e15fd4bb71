#pragma once

#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

/// Characters on a seven-segment display, of 16 by 16 pixels, as make_weights.py draws digits.
namespace display {

/// A b C d E F H L P U, by the segments that are lit: a top, b and c right, d bottom, e and f
/// left, g middle.
inline const std::vector<std::string> kLetters = {"abcefg", "cdefg", "adef", "bcdeg", "adefg",
                                                  "aefg",   "bcefg", "def",  "abefg", "bcdef"};
constexpr std::int64_t kSide = 16;

/// "images", float32 [count,16,16,1], and "labels", int64 [count].
inline gg::data::Dataset letters(std::int64_t count, std::uint64_t seed) {
  gg::Tensor images = gg::Tensor::zeros(gg::float32, {count, kSide, kSide, 1});
  gg::Tensor labels(gg::int64, {count});
  for (std::int64_t i = 0; i < count; ++i) {
    gg::data::Random random(seed, 0, i);
    const auto from_to = [&](std::uint32_t least, std::uint32_t most) {
      return static_cast<std::int64_t>(least + random.below(most - least + 1));
    };
    float* const image = images.data<float>() + i * kSide * kSide;
    const std::int64_t label = i % 10, thick = from_to(1, 2), height = 2 * from_to(4, 6) + 1,
                       width = from_to(5, 9);
    const std::int64_t top = from_to(0, static_cast<std::uint32_t>(kSide - height)),
                       left = from_to(0, static_cast<std::uint32_t>(kSide - width));
    const std::int64_t middle = top + height / 2, bottom = top + height, right = left + width;
    const auto light = static_cast<float>(0.5 + 0.5 * random.uniform());
    const auto box = [&](std::int64_t y0, std::int64_t y1, std::int64_t x0, std::int64_t x1) {
      for (std::int64_t y = y0; y < y1; ++y)
        for (std::int64_t x = x0; x < x1; ++x) image[y * kSide + x] = light;
    };
    for (const char segment : kLetters[static_cast<std::size_t>(label)]) {
      switch (segment) {
        case 'a': box(top, top + thick, left, right); break;
        case 'b': box(top, middle + 1, right - thick, right); break;
        case 'c': box(middle, bottom, right - thick, right); break;
        case 'd': box(bottom - thick, bottom, left, right); break;
        case 'e': box(middle, bottom, left, left + thick); break;
        case 'f': box(top, middle + 1, left, left + thick); break;
        default: box(middle, middle + 1, left, right);
      }
    }
    for (std::int64_t k = 0; k < kSide * kSide; ++k)
      image[k] += static_cast<float>(0.5 * random.uniform());
    labels.data<std::int64_t>()[i] = label;
  }
  return {{"images", images}, {"labels", labels}};
}

}  // namespace display
