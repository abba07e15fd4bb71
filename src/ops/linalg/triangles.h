#pragma once

#include "gradgraph/ops.h"

/// Parts of matrices [..., rows, columns], for the gradients of decompositions.
namespace gradgraph {

/// The elements on the diagonal, 0 elsewhere.
Output diagonal_part(Output x);
/// Elements of x where rows and columns differ, `other` on the diagonal.
Output off_diagonal(Output x, Operand other);
/// A vector as a row, or as a column, beside matrices.
inline Output as_row(Output v) { return expand_dims(v, -2); }
inline Output as_column(Output v) { return expand_dims(v, -1); }

}  // namespace gradgraph
