#include "ops/builders.h"

/// Ops that work element by element, with NumPy's broadcasting.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

Grads binary_grads(Context c, Output by_a, Output by_b) {
  return {unbroadcast(by_a, c.input(0)), unbroadcast(by_b, c.input(1))};
}

Grads grad_add(Context c) { return binary_grads(c, c.grad(), c.grad()); }
Grads grad_sub(Context c) { return binary_grads(c, c.grad(), -c.grad()); }
Grads grad_mul(Context c) {
  return binary_grads(c, c.grad() * c.input(1), c.grad() * c.input(0));
}

Shape broadcast_inputs(InferContext& context) {
  Shape shape = context.shape(0);
  for (int i = 1; i < context.num_inputs(); ++i)
    context.require(broadcast_shapes(shape, context.shape(i), shape), "shapes do not broadcast");
  return shape;
}

void infer_binary(InferContext& context) {
  context.require_inputs(2);
  context.require_same_dtype(0, 1);
  context.require_dtype(0, {float32, float64, int32, int64, uint8});
  context.output(context.dtype(0), broadcast_inputs(context));
}

}  // namespace

Output add(Operand a, Operand b, Where where) { return make_binary("add", a, b, where); }
Output sub(Operand a, Operand b, Where where) { return make_binary("sub", a, b, where); }
Output mul(Operand a, Operand b, Where where) { return make_binary("mul", a, b, where); }

void register_elementwise_ops(OpRegistry& registry) {
  const Traits binary = {.elementwise = true, .in_place = true};
  const Traits commutative = {.elementwise = true, .commutative = true, .in_place = true};
  registry.add({"add", commutative, infer_binary, grad_add});
  registry.add({"sub", binary, infer_binary, grad_sub});
  registry.add({"mul", commutative, infer_binary, grad_mul});
}

}  // namespace gradgraph
