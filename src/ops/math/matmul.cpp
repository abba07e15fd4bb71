#include "ops/builders.h"

/// Matrix products.
namespace gradgraph {
namespace {

Shape leading(const Shape& shape) { return Shape(shape.dims().first(shape.dims().size() - 2)); }

void infer_matmul(InferContext& context) {
  context.require_same_dtype(0, 1);
  context.require_dtype(0, {float32, float64, int32, int64, float16, bfloat16});
  context.require(context.rank(0) >= 2 && context.rank(1) >= 2,
                  "both operands must have at least 2 axes");
  const Shape &a = context.shape(0), &b = context.shape(1);
  const int rows = context.attribute<bool>("transpose_a") ? 1 : 2;
  const int columns = context.attribute<bool>("transpose_b") ? 2 : 1;
  const std::int64_t inner_a = a[a.rank() - (3 - rows)], inner_b = b[b.rank() - (3 - columns)];
  context.require(inner_a == any || inner_b == any || inner_a == inner_b,
                  "inner dimensions differ");
  Shape shape;
  context.require(broadcast_shapes(leading(a), leading(b), shape),
                  "batch dimensions do not broadcast");
  shape.append(a[a.rank() - rows]);
  shape.append(b[b.rank() - columns]);
  context.output(context.dtype(0), shape);
}

/// [..., n] as [everything else, n], so that a product with it sums over the batches as well.
Output merge_rows(Output x) { return reshape(x, {any, x.shape()[x.rank() - 1]}); }

/// With y = op(a) op(b): the gradient by op(a) is g op(b)', that by op(b) is op(a)' g. Where a or
/// b itself was transposed, so are both sides.
std::vector<Output> grad_matmul(const GradientContext& context) {
  const bool ta = context.attribute<bool>("transpose_a"),
             tb = context.attribute<bool>("transpose_b");
  Output a = context.input(0), b = context.input(1), g = context.grad();
  const Output by_a = ta ? matmul(b, g, {tb, true}) : matmul(g, b, {false, !tb});
  const bool shared_b = b.rank() == 2 && a.rank() > 2 && !ta && a.shape()[a.rank() - 1] > 0 &&
                        g.shape()[g.rank() - 1] > 0;
  if (shared_b) a = merge_rows(a), g = merge_rows(g);
  const Output by_b = tb ? matmul(g, a, {true, ta}) : matmul(a, g, {!ta, false});
  return {unbroadcast(by_a, context.input(0)), unbroadcast(by_b, b)};
}

double matmul_flops(const Node& node) {
  const Shape& a = node.input(0).shape();
  const bool transposed = node.attributes().get<bool>("transpose_a");
  const std::int64_t inner = a[a.rank() - (transposed ? 2 : 1)];
  return 2.0 * static_cast<double>(node.shape().num_elements()) * static_cast<double>(inner);
}

}  // namespace

Output matmul(Output a, Output b, MatmulOptions options, Where where) {
  return make("matmul", {a, b}, where,
              {{"transpose_a", options.transpose_a}, {"transpose_b", options.transpose_b}});
}

void register_matmul_ops(OpRegistry& registry) {
  registry
      .add({.name = "matmul",
            .infer = infer_matmul,
            .gradient = grad_matmul,
            .flops = matmul_flops})
      .describe("the product of matrices, or of batches of them", {"a", "b"})
      .attribute("transpose_a", false, "a is read by columns")
      .attribute("transpose_b", false, "b is read by columns");
}

}  // namespace gradgraph
