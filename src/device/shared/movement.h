#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "device/kernel.h"

/// Transposes, slices, concatenations, paddings, tiles and broadcasts: all come down to copies of
/// a strided part of one buffer to a strided part of another, which each kind of device does in
/// its own way.
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

/// `args` are those of the kernel that copies, or fills.
using Copy = std::function<void(const KernelArgs& args, const void* from, void* to)>;
using Fill = std::function<void(const KernelArgs& args, void* to)>;

/// How a kind of device copies, and sets elements to one value, whose bits are the low bytes of
/// `value`. `axes` outermost first, offsets in elements.
struct CopyMakers {
  Copy (*copy)(const std::vector<CopyAxis>& axes, std::int64_t from_offset,
               std::int64_t to_offset, DType dtype, int threads);
  Fill (*fill)(const std::vector<CopyAxis>& axes, std::int64_t to_offset, std::uint64_t value,
               DType dtype, int threads);
};

/// Calls add(op, make) for each op.
void add_movement_kernels(
    const CopyMakers& makers,
    const std::function<void(std::string_view op, KernelRegistry::Make make)>& add);

}  // namespace gradgraph
