#pragma once

#include "device/shared/movement.h"

/// How the CPU copies (CopyMakers::copy).
namespace gradgraph {

/// The reference: an xtensor expression.
Copy view_copy(const std::vector<CopyAxis>& axes, std::int64_t from_offset,
               std::int64_t to_offset, DType dtype, int threads);
/// Loops of our own. A copy that changes which axis is innermost goes block by block.
Copy loop_copy(const std::vector<CopyAxis>& axes, std::int64_t from_offset,
               std::int64_t to_offset, DType dtype, int threads);

}  // namespace gradgraph
