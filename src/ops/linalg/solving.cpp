#include "core/text.h"
#include "ops/builders.h"
#include "ops/linalg/triangles.h"

/// Inverses, systems of equations and determinants of square matrices.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

/// The dimensions before the last two.
Shape batches(const Shape& shape) { return Shape(shape.dims().first(shape.dims().size() - 2)); }

/// Input i is square matrices of floats; where only one extent is known it is the other's.
Shape square(const InferContext& context, int i) {
  context.require_floating(i);
  Shape shape = context.shape(i);
  const int rank = shape.rank();
  context.require(rank >= 2, "needs matrices, so at least two axes");
  const std::int64_t rows = shape[rank - 2], columns = shape[rank - 1];
  if (rows != any && columns != any && rows != columns)
    context.fail(fmt::format("the matrices are not square: {} rows, {} columns", rows, columns));
  shape.set(rank - 2, rows == any ? columns : rows);
  shape.set(rank - 1, rows == any ? columns : rows);
  return shape;
}

void infer_square(InferContext& context) { context.output(context.dtype(0), square(context, 0)); }

void infer_solve(InferContext& context) {
  const Shape a = square(context, 0);
  context.require_same_dtype(0, 1);
  Shape b = context.shape(1);
  context.require_rank(1, a.rank());
  const int rank = a.rank();
  Shape expected = a;
  expected.set(rank - 1, b[rank - 1]);
  if (!expected.compatible_with(b))
    context.fail("the right-hand sides must have the matrices' batches and rows");
  for (int axis = 0; axis + 1 < rank; ++axis)
    if (b[axis] == any) b.set(axis, expected[axis]);
  context.output(context.dtype(0), b);
}

void infer_det(InferContext& context) {
  context.output(context.dtype(0), batches(square(context, 0)));
}

void infer_logdet(InferContext& context) {
  const Shape shape = batches(square(context, 0));
  context.output(context.dtype(0), shape);
  context.output(context.dtype(0), shape);
}

Grads grad_inverse(Context c) {
  const Output y = matrix_transpose(c.output());
  return {-matmul(y, matmul(c.grad(), y))};
}

Grads grad_solve(Context c) {
  const Output grad = solve(matrix_transpose(c.input(0)), c.grad());
  return {-matmul(grad, c.output(), {.transpose_b = true}), grad};
}

Grads grad_det(Context c) {
  const Output scale = as_column(as_column(c.grad() * c.output()));
  return {scale * matrix_transpose(inverse(c.input(0)))};
}

/// The sign is constant.
Grads grad_logdet(Context c) {
  if (!c.grad(1)) return {zeros_like(c.input(0))};
  return {as_column(as_column(c.grad(1))) * matrix_transpose(inverse(c.input(0)))};
}

}  // namespace

Output inverse(Output x, Where where) { return make("inverse", {x}, where); }
Output solve(Output a, Output b, Where where) {
  BuildTransaction transaction(graph_of("solve", {a, b}, where));
  const auto repeat = [&](Output& x, Shape shape) {
    for (int axis = x.rank() - 2; axis < x.rank(); ++axis) shape.append(x.shape()[axis]);
    if (shape != x.shape()) x = broadcast_to(x, shape, where);
  };
  Shape common;
  // What does not fit is for inference to refuse.
  if (a.rank() >= 2 && b.rank() >= 2 && a.shape().fully_known() && b.shape().fully_known() &&
      broadcast_shapes(batches(a.shape()), batches(b.shape()), common)) {
    repeat(a, common);
    repeat(b, common);
  }
  return transaction.commit(make("solve", {a, b}, where));
}
Output det(Output x, Where where) { return make("det", {x}, where); }
LogDet logdet(Output x, Where where) {
  Node& node = make_node("logdet", {x}, {}, where);
  return {node.output(0), node.output(1)};
}

void register_solving_ops(OpRegistry& registry) {
  registry.add({"inverse", {.may_fail = true}, infer_square, grad_inverse})
      .describe("the inverses of matrices", {"x"});
  registry.add({"solve", {.may_fail = true}, infer_solve, grad_solve})
      .describe("the x of a x = b", {"a", "b"});
  registry.add({"det", {}, infer_det, grad_det}).describe("determinants", {"x"});
  registry.add({"logdet", {}, infer_logdet, grad_logdet})
      .describe("the signs of determinants, and the logarithms of their sizes", {"x"});
}

}  // namespace gradgraph
