#pragma once

#include "graph/program.h"

namespace gradgraph {

/// What numbers of a dtype are calculated in.
constexpr DType calculated_in(DType dtype) { return is_half(dtype) ? float32 : dtype; }

/// The program with all arithmetic of float16 and bfloat16 in float32: each operand is converted,
/// and each result rounded. So programs give the bits of the ops that they stand for.
ElementwiseProgram in_float32(const ElementwiseProgram& program);

}  // namespace gradgraph
