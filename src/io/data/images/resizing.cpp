#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "io/data/images/decoding.h"

namespace gradgraph::data {
namespace {

constexpr int kPrecision = 32 - 8 - 2;  // bits behind the point

/// What one pixel of the result takes of each from `first` on.
struct Weights {
  std::size_t first = 0;
  std::vector<std::int32_t> of;
};

std::vector<Weights> weights(std::size_t from, std::size_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double reach = std::max(scale, 1.0);
  std::vector<Weights> all(to);
  std::vector<double> exact;
  for (std::size_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const double begin = std::max(std::trunc(center - reach + 0.5), 0.0);
    const double end = std::min(std::trunc(center + reach + 0.5), static_cast<double>(from));
    exact.clear();
    double sum = 0;
    for (double x = begin; x < end; ++x) {
      const double distance = std::abs((x - center + 0.5) * (1.0 / reach));
      exact.push_back(distance < 1 ? 1 - distance : 0);
      sum += exact.back();
    }
    all[i].first = static_cast<std::size_t>(begin);
    for (const double weight : exact)
      all[i].of.push_back(static_cast<std::int32_t>(0.5 + weight / sum * (1 << kPrecision)));
  }
  return all;
}

std::uint8_t rounded(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecision, 0, 255));
}

constexpr std::int32_t kHalf = 1 << (kPrecision - 1);

}  // namespace

Pixels resized(const Pixels& pixels, std::size_t height, std::size_t width) {
  const std::size_t channels = pixels.channels;
  Pixels across{pixels.height, width, channels, {}};
  if (width == pixels.width) {
    across.bytes = pixels.bytes;
  } else {
    across.bytes.resize(pixels.height * width * channels);
    const std::vector<Weights> columns = weights(pixels.width, width);
    std::uint8_t* out = across.bytes.data();
    for (std::size_t y = 0; y < pixels.height; ++y)
      for (const Weights& column : columns)
        for (std::size_t c = 0; c < channels; ++c) {
          const std::uint8_t* in =
              &pixels.bytes[(y * pixels.width + column.first) * channels + c];
          std::int32_t sum = kHalf;
          for (std::size_t i = 0; i < column.of.size(); ++i)
            sum += in[i * channels] * column.of[i];
          *out++ = rounded(sum);
        }
  }
  if (height == pixels.height) return across;

  Pixels result{height, width, channels, std::vector<std::uint8_t>(height * width * channels)};
  const std::vector<Weights> rows = weights(pixels.height, height);
  const std::size_t line = width * channels;
  std::uint8_t* out = result.bytes.data();
  for (const Weights& row : rows)
    for (std::size_t x = 0; x < line; ++x) {
      const std::uint8_t* in = &across.bytes[row.first * line + x];
      std::int32_t sum = kHalf;
      for (std::size_t i = 0; i < row.of.size(); ++i) sum += in[i * line] * row.of[i];
      *out++ = rounded(sum);
    }
  return result;
}

}  // namespace gradgraph::data
