#include "ops/linalg/triangles.h"

#include <numeric>

namespace gradgraph {
namespace {

/// The numbers of x's rows as a column, or of its columns as a row.
Output numbers(Output x, int axis_from_end) {
  const Output count = slice(shape_of(x), {x.rank() - axis_from_end}, {1});
  return expand_dims(range(x.graph(), count), axis_from_end == 2 ? 1 : 0);
}
Output rows(Output x) { return numbers(x, 2); }
Output columns(Output x) { return numbers(x, 1); }

}  // namespace

Output matrix_transpose(Output x) {
  std::vector<std::int64_t> permutation(static_cast<std::size_t>(x.rank()));
  std::iota(permutation.begin(), permutation.end(), 0);
  std::swap(permutation[permutation.size() - 1], permutation[permutation.size() - 2]);
  return transpose(x, permutation);
}
Output diagonal_part(Output x) { return where(equal(rows(x), columns(x)), x, 0); }
Output below_diagonal(Output x) { return where(greater(rows(x), columns(x)), x, 0); }
Output off_diagonal(Output x, Operand other) {
  return where(equal(rows(x), columns(x)), other, x);
}

}  // namespace gradgraph
