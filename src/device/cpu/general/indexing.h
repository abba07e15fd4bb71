#pragma once

#include <cstdint>

#include "core/text.h"
#include "device/shared/elements.h"

namespace gradgraph {

/// A tensor around its indexed axis: [outer, size, inner], and the number of indices.
struct Indexed {
  std::int64_t outer, size, inner, count;

  Indexed(const Shape& shape, int axis, const Shape& indices)
      : outer(extent(shape, 0, axis)),
        size(shape[axis]),
        inner(extent(shape, axis + 1, shape.rank())),
        count(indices.num_elements()) {}
};

/// How to read index i of indices of `dtype`.
using IndexReader = std::int64_t (*)(const void* indices, std::int64_t i);
inline IndexReader index_reader(DType dtype) {
  return dispatch<std::int32_t, std::int64_t, std::uint8_t>(dtype, []<class I>() -> IndexReader {
    return [](const void* indices, std::int64_t i) {
      return static_cast<std::int64_t>(static_cast<const I*>(indices)[i]);
    };
  });
}

inline KernelError index_error(std::int64_t index, std::int64_t i, std::int64_t size) {
  return KernelError(fmt::format("index {} (number {}) is outside [0,{})", index, i, size));
}

template <class I>
void check_indices(const I* indices, std::int64_t count, std::int64_t size) {
  for (std::int64_t i = 0; i < count; ++i)
    if (const auto index = static_cast<std::int64_t>(indices[i]); index < 0 || index >= size)
      throw index_error(index, i, size);
}

}  // namespace gradgraph
