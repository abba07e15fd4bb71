#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

/// Slices as Python's a[begin:end:step], which op and kernels resolve alike.
namespace gradgraph {

/// In place of a begin or an end: as far as the axis goes.
inline constexpr std::int64_t kWhole = std::numeric_limits<std::int64_t>::min();

/// What a slice takes of an axis: `count` elements from `first` on.
struct TakenElements {
  std::int64_t first = 0, count = 0;
};

/// Of an axis of `size` elements; `step` is not 0. Indices beyond the axis are cut off.
inline TakenElements take(std::int64_t begin, std::int64_t end, std::int64_t step,
                          std::int64_t size) {
  const std::int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? size : size - 1;
  const auto resolve = [&](std::int64_t index, std::int64_t left_out) {
    if (index == kWhole) return left_out;
    return std::clamp(index < 0 ? index + size : index, lowest, highest);
  };
  const std::int64_t first = resolve(begin, step > 0 ? lowest : highest);
  const std::int64_t last = resolve(end, step > 0 ? highest : lowest);
  if (step > 0 ? first >= last : first <= last) return {};
  return {first, (last - first - (step > 0 ? 1 : -1)) / step + 1};
}

}  // namespace gradgraph
