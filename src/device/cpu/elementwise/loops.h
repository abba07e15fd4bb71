#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gradgraph/dtype.h"

namespace gradgraph {

/// Computes `length` elements, one at least, of an elementwise op. Operand i has an element for
/// each of the result's where bit i of `moves` is set, and else stays the same for all of them;
/// behind the operands come the op's parameters, which stay. The result may be one of the moving
/// operands. Returns false when the op refuses an operand.
using ElementLoop = bool (*)(const void* const* operands, unsigned moves, void* result,
                             std::int64_t length);

/// Operands and parameters together.
inline constexpr std::size_t kMaxOperands = 4;

/// From operands of dtype `operand` (of the last operand) to `result`, in the fastest form that
/// this processor runs; null when there is none.
ElementLoop find_loop(std::string_view op, DType operand, DType result);

}  // namespace gradgraph
