#pragma once

#include <cstdint>

#include "device/cuda/launch.h"
#include "gradgraph/shape.h"

namespace gradgraph::cuda {

/// Where the elements of some axes of a larger array are, in row-major order: an argument.
struct Axes {
  std::int64_t extents[Shape::kMaxRank] = {}, strides[Shape::kMaxRank] = {};
  int rank = 0;
  std::int64_t count = 1;

  /// Axes are given from the innermost outwards.
  void append(std::int64_t extent, std::int64_t stride) {
    extents[rank] = extent;
    strides[rank++] = stride;
    count *= extent;
  }
  __device__ std::int64_t offset(std::int64_t index) const {
    std::int64_t offset = 0;
    for (int axis = 0; axis + 1 < rank; ++axis) {
      const std::int64_t rest = index / extents[axis];
      offset += (index - rest * extents[axis]) * strides[axis];
      index = rest;
    }
    return rank == 0 ? 0 : offset + index * strides[rank - 1];
  }
};

/// An array's axes by whether they are reduced, neighbours of one kind merged.
struct ReducedLayout {
  Axes kept, reduced;
  bool inner_reduced = true;  ///< the innermost ones are

  ReducedLayout(const Shape& shape, std::uint32_t reduced_axes) {
    const auto is_reduced = [&](int axis) { return (reduced_axes >> axis & 1u) != 0; };
    std::int64_t stride = 1;
    for (int axis = shape.rank() - 1; axis >= 0;) {
      if (shape[axis] == 1) {
        --axis;
        continue;
      }
      const bool group_reduced = is_reduced(axis);
      std::int64_t extent = 1;
      for (; axis >= 0 && (shape[axis] == 1 || is_reduced(axis) == group_reduced); --axis)
        extent *= shape[axis];
      if (kept.rank + reduced.rank == 0) inner_reduced = group_reduced;
      (group_reduced ? reduced : kept).append(extent, stride);
      stride *= extent;
    }
  }
};

}  // namespace gradgraph::cuda
