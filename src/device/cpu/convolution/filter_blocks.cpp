#include "device/cpu/convolution/filter_blocks.h"

#include "device/cpu/convolution/line_loops.h"
#include "device/parallel.h"

namespace gradgraph {
namespace {

/// Elements from which packing pays.
constexpr std::int64_t kLarge = 1 << 18;
/// Whole tiles of products, at every level of the instruction set.
constexpr std::int64_t kTile = 3 * kMaxLanes;

std::int64_t block_of(std::int64_t inner, std::int64_t columns) {
  if (inner * columns <= kLarge) return columns;
  return std::min(std::max<std::int64_t>(kElementsInCache / inner / kTile, 1) * kTile, columns);
}

}  // namespace

FilterBlocks::FilterBlocks(std::int64_t inner_, std::int64_t columns_)
    : inner(inner_), columns(columns_), block(block_of(inner, columns)) {}

const float* FilterBlocks::packed(const float* matrix, float* buffer, int threads) const {
  if (is_whole()) return matrix;
  parallel_for(inner, grain_of(columns), threads, [&](std::int64_t begin, std::int64_t end) {
    for_each(buffer, [&](float* to, std::int64_t column, std::int64_t width) {
      for (std::int64_t k = begin; k < end; ++k)
        std::copy_n(matrix + k * columns + column, width, to + k * width);
    });
  });
  return buffer;
}

std::int64_t FilterBlocks::lines_together(std::int64_t size, std::int64_t most) const {
  return is_whole() ? 1 : std::clamp<std::int64_t>(kElementsInCache / size, 1, most);
}

}  // namespace gradgraph
