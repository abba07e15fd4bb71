#include <algorithm>

#include "core/text.h"
#include "ops/builders.h"
#include "ops/linalg/triangles.h"

/// Matrices as products of simpler ones. The gradients are those of Giles (2008), Seeger et al.
/// (2017) and Roberts & Roberts (2020), as in PyTorch.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

Output product(Output a, Output b) { return matmul(a, b); }
Output product_t(Output a, Output b) { return matmul(a, b, {.transpose_b = true}); }
Output t_product(Output a, Output b) { return matmul(a, b, {.transpose_a = true}); }

/// Output i's gradient, zeros where nothing flows.
Output grad_of(Context c, int i) { return c.grad(i) ? c.grad(i) : zeros_like(c.output(i)); }

Shape matrices(const InferContext& context) {
  context.require_floating(0);
  context.require(context.rank(0) >= 2, "needs matrices, so at least two axes");
  return context.shape(0);
}

Shape square_matrices(const InferContext& context) {
  Shape shape = matrices(context);
  const int rank = shape.rank();
  const std::int64_t rows = shape[rank - 2], columns = shape[rank - 1];
  if (rows != any && columns != any && rows != columns)
    context.fail(fmt::format("the matrices are not square: {} rows, {} columns", rows, columns));
  shape.set(rank - 2, rows == any ? columns : rows);
  shape.set(rank - 1, rows == any ? columns : rows);
  return shape;
}

/// `shape` with other matrices.
Shape with_matrices(Shape shape, std::int64_t rows, std::int64_t columns) {
  shape.set(shape.rank() - 2, rows);
  shape.set(shape.rank() - 1, columns);
  return shape;
}
Shape with_vectors(const Shape& shape, std::int64_t size) {
  Shape result(shape.dims().first(shape.dims().size() - 1));
  result.set(result.rank() - 1, size);
  return result;
}
std::int64_t shorter(std::int64_t rows, std::int64_t columns) {
  return rows == any || columns == any ? any : std::min(rows, columns);
}

void infer_cholesky(InferContext& context) {
  context.output(context.dtype(0), square_matrices(context));
}

void infer_eigh(InferContext& context) {
  const Shape shape = square_matrices(context);
  context.output(context.dtype(0), with_vectors(shape, shape[shape.rank() - 1]));
  context.output(context.dtype(0), shape);
}

void infer_qr(InferContext& context) {
  const Shape shape = matrices(context);
  const std::int64_t rows = shape[shape.rank() - 2], columns = shape[shape.rank() - 1];
  const std::int64_t k = shorter(rows, columns);
  context.output(context.dtype(0), with_matrices(shape, rows, k));
  context.output(context.dtype(0), with_matrices(shape, k, columns));
}

void infer_svd(InferContext& context) {
  const Shape shape = matrices(context);
  const std::int64_t rows = shape[shape.rank() - 2], columns = shape[shape.rank() - 1];
  const std::int64_t k = shorter(rows, columns);
  context.output(context.dtype(0), with_matrices(shape, rows, k));
  context.output(context.dtype(0), with_vectors(shape, k));
  context.output(context.dtype(0), with_matrices(shape, k, columns));
}

/// Symmetric, since x is.
Grads grad_cholesky(Context c) {
  const Output factor = c.output(), inner = t_product(factor, c.grad());
  const Output half = tril(inner, -1) + 0.5 * diagonal_part(inner);
  const Output back = inverse(factor);
  const Output grad = t_product(back, product(half, back));
  return {0.5 * (grad + matrix_transpose(grad))};
}

Grads grad_eigh(Context c) {
  const Output values = c.output(0), vectors = c.output(1);
  Output inner = off_diagonal(zeros_like(vectors), as_column(grad_of(c, 0)));
  if (c.grad(1)) {
    const Output gaps = off_diagonal(as_row(values) - as_column(values), 1);
    inner = inner + off_diagonal(t_product(vectors, c.grad(1)) / gaps, 0);
  }
  const Output grad = product(vectors, product_t(inner, vectors));
  return {0.5 * (grad + matrix_transpose(grad))};
}

/// That of a matrix with at least as many rows as columns.
Output grad_tall_qr(Output q, Output r, Output q_grad, Output r_grad) {
  const Output m = product_t(r, r_grad) - t_product(q_grad, q);
  const Output below = tril(m, -1);
  const Output symmetric = below + diagonal_part(m) + matrix_transpose(below);
  return matrix_transpose(solve(r, matrix_transpose(q_grad + product(q, symmetric))));
}

Grads grad_qr(Context c) {
  const Output x = c.input(0), q = c.output(0), r = c.output(1);
  const Output q_grad = grad_of(c, 0), r_grad = grad_of(c, 1);
  const std::int64_t rows = x.shape()[x.rank() - 2], columns = x.shape()[x.rank() - 1];
  if (rows == any || columns == any)
    throw GradientError(
        node_message(c.node().op().name, c.node().name(), "rows and columns must be known"),
        c.node().where());
  if (rows >= columns) return {grad_tall_qr(q, r, q_grad, r_grad)};
  // [X Y] = Q [U V]: V = Q^T Y.
  const auto parts = [&](Output m) { return split(m, {rows, columns - rows}, -1); };
  const Output y = parts(x)[1], v_grad = parts(r_grad)[1];
  const Output first =
      grad_tall_qr(q, parts(r)[0], q_grad + product_t(y, v_grad), parts(r_grad)[0]);
  return {concat({first, product(q, v_grad)}, -1)};
}

Grads grad_svd(Context c) {
  const Output u = c.output(0), s = c.output(1), vt = c.output(2), row = as_row(s);
  const Output gaps = off_diagonal(square(row) - square(as_column(s)), 1);
  const auto skew = [&](Output m) { return (m - matrix_transpose(m)) / gaps; };
  Output inner = off_diagonal(zeros_like(gaps), as_column(grad_of(c, 1))), outer;
  if (c.grad(0)) {
    const Output along = t_product(u, c.grad(0));
    inner = inner + skew(along) * row;
    outer = product((c.grad(0) - product(u, along)) / row, vt);
  }
  if (c.grad(2)) {
    const Output along = product_t(c.grad(2), vt);  // the transposed of v^T grad_v
    inner = inner + as_column(s) * skew(matrix_transpose(along));
    const Output rest = product(u, (c.grad(2) - product(along, vt)) / as_column(s));
    outer = outer ? outer + rest : rest;
  }
  const Output grad = product(u, product(inner, vt));
  return {outer ? grad + outer : grad};
}

}  // namespace

Output cholesky(Output x, Where where) { return make("cholesky", {x}, where); }
Eigh eigh(Output x, Where where) {
  Node& node = make_node("eigh", {x}, {}, where);
  return {node.output(0), node.output(1)};
}
Qr qr(Output x, Where where) {
  Node& node = make_node("qr", {x}, {}, where);
  return {node.output(0), node.output(1)};
}
Svd svd(Output x, Where where) {
  Node& node = make_node("svd", {x}, {}, where);
  return {node.output(0), node.output(1), node.output(2)};
}

void register_decomposition_ops(OpRegistry& registry) {
  registry.add({"cholesky", {.may_fail = true}, infer_cholesky, grad_cholesky})
      .describe("the lower triangle whose product with its transposed is x", {"x"});
  registry.add({"eigh", {}, infer_eigh, grad_eigh})
      .describe("eigenvalues and eigenvectors of symmetric matrices", {"x"});
  registry.add({"qr", {}, infer_qr, grad_qr})
      .describe("orthonormal columns, and the upper triangle that makes x of them", {"x"});
  registry.add({"svd", {}, infer_svd, grad_svd})
      .describe("u, the singular values s, and v transposed: u diag(s) v = x", {"x"});
}

}  // namespace gradgraph
