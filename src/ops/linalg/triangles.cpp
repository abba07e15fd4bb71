#include "ops/linalg/triangles.h"

#include <algorithm>
#include <numeric>

#include "core/text.h"
#include "ops/builders.h"

namespace gradgraph {
namespace {

/// One dimension of x, counted from the end, as a vector of one.
Output extent(Output x, int from_end, Where where) {
  return slice(shape_of(x, where), {x.rank() - from_end}, {1}, where);
}
/// 0, 1, ... as a column, and as a row.
Output column_of_numbers(Graph& graph, const IntVector& count, Where where) {
  return expand_dims(range(graph, count, int64, 0, 1, where), 1, where);
}
Output row_of_numbers(Graph& graph, const IntVector& count, Where where) {
  return expand_dims(range(graph, count, int64, 0, 1, where), 0, where);
}
/// The numbers of x's rows, and of its columns.
Output rows(Output x, Where where) {
  return column_of_numbers(x.graph(), extent(x, 2, where), where);
}
Output columns(Output x, Where where) {
  return row_of_numbers(x.graph(), extent(x, 1, where), where);
}

/// x, of any dtype, where the condition holds, else 0.
Output only_where(Output condition, Output x, Where where) {
  const Output zero = constant(x.graph(), Tensor::full(x.dtype(), {}, 0), {}, where);
  return gradgraph::where(condition, x, zero, where);
}

/// x where `comparison` of column - row and k holds, else 0.
template <class Comparison>
Output part(Output x, const Comparison& comparison, std::int64_t k, Where where) {
  const Output distance = sub(columns(x, where), rows(x, where), where);
  return only_where(comparison(distance, k, where), x, where);
}

/// The graph of x, which has matrices.
Graph& graph_of_matrices(std::string_view op, Output x, Where where) {
  Graph& graph = graph_of(op, {x}, where);
  if (x.rank() < 2)
    fail_to_build(op, graph, fmt::format("needs matrices, not {}", x.shape()), where);
  return graph;
}

}  // namespace

Output diagonal_part(Output x) { return part(x, equal, 0, {}); }

Output off_diagonal(Output x, Operand other) {
  return where(equal(rows(x, {}), columns(x, {})), other, x);
}

Output matrix_transpose(Output x, Where where) {
  graph_of_matrices("matrix_transpose", x, where);
  std::vector<std::int64_t> permutation(static_cast<std::size_t>(x.rank()));
  std::iota(permutation.begin(), permutation.end(), 0);
  std::swap(permutation[permutation.size() - 1], permutation[permutation.size() - 2]);
  return transpose(x, permutation, where);
}

Output eye(Graph& graph, std::int64_t rows, std::optional<std::int64_t> columns, DType dtype,
           Where where) {
  BuildTransaction transaction(graph);
  const Output on_diagonal = equal(column_of_numbers(graph, {rows}, where),
                                   row_of_numbers(graph, {columns.value_or(rows)}, where), where);
  return transaction.commit(cast(on_diagonal, dtype, where));
}

Output diag(Output x, Where where) {
  BuildTransaction transaction(graph_of("diag", {x}, where));
  if (x.rank() < 1) fail_to_build("diag", x.graph(), "needs vectors, not a scalar", where);
  const Output size = extent(x, 1, where);
  const Output on_diagonal = equal(column_of_numbers(x.graph(), size, where),
                                   row_of_numbers(x.graph(), size, where), where);
  return transaction.commit(only_where(on_diagonal, expand_dims(x, -1, where), where));
}

Output diagonal(Output x, std::int64_t k, Where where) {
  BuildTransaction transaction(graph_of_matrices("diagonal", x, where));
  const Shape shape = x.shape();
  const std::int64_t height = shape[x.rank() - 2], width = shape[x.rank() - 1];
  // No matrix has as many rows or columns.
  constexpr std::int64_t kFarthest = std::int64_t{1} << 31;
  k = std::clamp(k, height == any ? -kFarthest : -height, width == any ? kFarthest : width);
  const std::int64_t above = std::max<std::int64_t>(-k, 0), left = std::max<std::int64_t>(k, 0);
  // Of rows one behind the other each next element lies one row and one column further.
  Output elements, index;
  if (height != any && width != any) {
    elements = int_vector(x.graph(), {height * width}, where);
    const std::int64_t length = std::max<std::int64_t>(std::min(height - above, width - left), 0);
    index = range(x.graph(), {length}, int64, above * width + left, width + 1, where);
  } else {
    const Output rows = extent(x, 2, where), columns = extent(x, 1, where);
    elements = mul(rows, columns, where);
    const Output length = minimum(sub(rows, above, where), sub(columns, left, where), where);
    const Output number = range(x.graph(), maximum(length, 0, where), int64, 0, 1, where);
    index = add(mul(number, add(columns, 1, where), where),
                add(mul(columns, above, where), left, where), where);
  }
  const Output leading = slice(shape_of(x, where), {0}, {x.rank() - 2}, where);
  const Output flat = reshape(x, concat({leading, elements}, 0, where), where);
  return transaction.commit(gather(flat, index, -1, where));
}

Output trace(Output x, Where where) {
  BuildTransaction transaction(graph_of_matrices("trace", x, where));
  return transaction.commit(sum(diagonal(x, 0, where), -1, false, where));
}

Output tril(Output x, std::int64_t k, Where where) {
  BuildTransaction transaction(graph_of_matrices("tril", x, where));
  return transaction.commit(part(x, less_equal, k, where));
}
Output triu(Output x, std::int64_t k, Where where) {
  BuildTransaction transaction(graph_of_matrices("triu", x, where));
  return transaction.commit(part(x, greater_equal, k, where));
}

}  // namespace gradgraph
