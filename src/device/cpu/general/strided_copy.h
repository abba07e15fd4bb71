#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "device/kernel.h"

namespace gradgraph {

/// One axis of a copy: its extent, and how many elements apart its steps are in source and
/// target. A step of 0 in the source repeats.
struct CopyAxis {
  std::int64_t size = 1, from = 0, to = 0;
};

/// The distance between steps of each axis of a contiguous `shape`.
std::vector<std::int64_t> contiguous_strides(const Shape& shape);

/// `axes` without those of one step, neighbours that move together joined.
std::vector<CopyAxis> joined_axes(const std::vector<CopyAxis>& axes);

/// Copies a strided part of one buffer to a strided part of another: what transposes, slices,
/// concatenations, paddings, tiles and broadcasts come down to.
using Copy = std::function<void(const void* from, void* to)>;
/// `axes` outermost first, offsets in elements.
using CopyMaker = Copy (*)(const std::vector<CopyAxis>& axes, std::int64_t from_offset,
                           std::int64_t to_offset, DType dtype, int threads);

/// The reference: an xtensor expression.
Copy view_copy(const std::vector<CopyAxis>& axes, std::int64_t from_offset,
               std::int64_t to_offset, DType dtype, int threads);
/// Loops of our own. A copy that changes which axis is innermost goes block by block.
Copy loop_copy(const std::vector<CopyAxis>& axes, std::int64_t from_offset,
               std::int64_t to_offset, DType dtype, int threads);

}  // namespace gradgraph
