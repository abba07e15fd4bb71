#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gradgraph/dtype.h"

namespace gradgraph {

/// Computes `length` elements of an elementwise op. Operand i has an element for each of the
/// result's where bit i of `moves` is set, and else stays the same along the row. The result may
/// be one of the moving operands. Returns false when the op refuses an operand.
using Row = bool (*)(const void* const* operands, unsigned moves, void* result,
                     std::int64_t length);

inline constexpr std::size_t kRowDTypes = 6;
inline constexpr std::size_t kMaxRowOps = 32;

/// The rows of all elementwise ops, compiled for one level of the instruction set. Indexed by
/// the op's place in its list of functors, then by dtype; null where there is none.
struct RowTable {
  Row unary[kMaxRowOps][kRowDTypes];
  Row arithmetic[kMaxRowOps][kRowDTypes];
  Row comparison[kMaxRowOps][kRowDTypes];
  Row cast[kRowDTypes][kRowDTypes];  ///< from, to
  Row select[kRowDTypes];
};

/// The row of `op` from operands of dtype `operand` (of the last operand) to `result`, in the
/// fastest form that this processor runs; null when there is none.
Row find_row(std::string_view op, DType operand, DType result);

}  // namespace gradgraph
