#pragma once

#include <cstdint>

#include "device/shared/axis_view.h"
#include "device/shared/index_error.h"

namespace gradgraph {

/// How to read index i of indices of `dtype`.
using IndexReader = std::int64_t (*)(const void* indices, std::int64_t i);
inline IndexReader index_reader(DType dtype) {
  return dispatch<std::int32_t, std::int64_t, std::uint8_t>(dtype, []<class I>() -> IndexReader {
    return [](const void* indices, std::int64_t i) {
      return static_cast<std::int64_t>(static_cast<const I*>(indices)[i]);
    };
  });
}

template <class I>
void check_indices(const I* indices, std::int64_t count, std::int64_t size) {
  for (std::int64_t i = 0; i < count; ++i)
    if (const auto index = static_cast<std::int64_t>(indices[i]); index < 0 || index >= size)
      throw index_error(index, i, size);
}

}  // namespace gradgraph
