#pragma once

#include <cstdint>
#include <optional>

#include "gradgraph/op.h"

namespace gradgraph {

/// Where the block of `whole` from `begin` on, of `size` elements along each axis, lies in it, in
/// elements; nullopt where it is not in one piece, or not known to be one of `whole`.
inline std::optional<std::int64_t> offset_of_block(const Shape& whole, const Shape& begin,
                                                   const Shape& size) {
  std::int64_t offset = 0, stride = 1;
  bool is_cut = false;
  for (int axis = whole.rank(); axis-- > 0;) {
    if (begin[axis] < 0 || size[axis] > whole[axis] - begin[axis]) return std::nullopt;
    if (is_cut && size[axis] != 1) return std::nullopt;
    is_cut = is_cut || size[axis] != whole[axis];
    offset += begin[axis] * stride;
    stride *= whole[axis];
  }
  return offset;
}

/// Of values that stand one behind the other along an axis of `whole`.
template <class SizeOf>
std::optional<Parts> parts_along(const Shape& whole, int axis, int count, bool of_output,
                                 const SizeOf& size_of) {
  std::int64_t stride = 1;
  for (int i = 0; i < whole.rank(); ++i) {
    if (i < axis && whole[i] != 1) return std::nullopt;
    if (i > axis) stride *= whole[i];
  }
  Parts parts{.of_output = of_output, .offsets = {}};
  std::int64_t begin = 0;
  for (int i = 0; i < count; ++i) {
    parts.offsets.push_back(begin * stride);
    begin += size_of(i);
  }
  return parts;
}

}  // namespace gradgraph
