#include "core/text.h"
#include "ops/builders.h"

/// Ops that repeat values, and the sums that are their gradients.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

/// Fails unless `small` broadcasts to `large`, as far as the dimensions are known.
void require_broadcast(const InferContext& context, const Shape& small, const Shape& large) {
  const int leading = large.rank() - small.rank();
  bool fits = leading >= 0;
  for (int axis = 0; fits && axis < small.rank(); ++axis) {
    const std::int64_t from = small[axis], to = large[axis + leading];
    fits = from == 1 || from == to || from == any || to == any;
  }
  if (!fits) context.fail(fmt::format("{} does not broadcast to {}", small, large));
}

void infer_broadcast_to(InferContext& context) {
  require_entries(context, 1, 0);
  const Shape& x = context.shape(0);
  Shape shape = context.vector_value(1);
  require_broadcast(context, x, shape);
  const int leading = shape.rank() - x.rank();
  for (int axis = 0; axis < x.rank(); ++axis)
    if (shape[axis + leading] == any && x[axis] != 1) shape.set(axis + leading, x[axis]);
  context.output(context.dtype(0), shape);
}

void infer_sum_to(InferContext& context) {
  context.require_number(0);
  require_entries(context, 1, 0);
  const Shape& x = context.shape(0);
  Shape shape = context.vector_value(1);
  require_broadcast(context, shape, x);
  const int leading = x.rank() - shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (shape[axis] == any && x[axis + leading] == 1) shape.set(axis, 1);
  context.output(context.dtype(0), shape);
}

void infer_fill(InferContext& context) {
  require_entries(context, 0, 0);
  context.require_rank(1, 0);
  context.output(context.dtype(1), context.vector_value(0));
}

void infer_tile(InferContext& context) {
  require_entries(context, 1, 0);
  const Shape multiples = context.vector_value(1);
  Shape shape = context.shape(0);
  if (multiples.rank() != shape.rank())
    context.fail(fmt::format("{} multiples for {} axes", multiples.rank(), shape.rank()));
  for (int axis = 0; axis < shape.rank(); ++axis) {
    std::int64_t dim = any;
    if (shape[axis] != any && multiples[axis] != any &&
        __builtin_mul_overflow(shape[axis], multiples[axis], &dim))
      context.fail(fmt::format("axis {} overflows", axis));
    shape.set(axis, dim);
  }
  context.output(context.dtype(0), shape);
}

Grads grad_broadcast_to(Context c) { return {unbroadcast(c.grad(), c.input(0)), {}}; }
Grads grad_sum_to(Context c) { return {broadcast_to(c.grad(), shape_of(c.input(0))), {}}; }
Grads grad_fill(Context c) { return {{}, sum_to(c.grad(), {})}; }

/// Adds up the copies along one axis after the other: [.., m * d, ..] as [.., m, d, ..].
Grads grad_tile(Context c) {
  const Output from = shape_of(c.input(0)), to = shape_of(c.output());
  const Shape multiples = known_vector(c.input(1)).value_or(Shape());
  Output grad = c.grad();
  for (std::int64_t axis = 0; axis < grad.rank(); ++axis) {
    if (multiples.rank() > axis && multiples[static_cast<int>(axis)] == 1) continue;
    const Output first = slice(from, {0}, {axis}), last = slice(to, {axis + 1}, {-1});
    const Output here = slice(from, {axis}, {1}), count = slice(c.input(1), {axis}, {1});
    grad = sum(reshape(grad, concat({first, count, here, last}, 0)), static_cast<int>(axis));
  }
  return {grad, {}};
}

Output filled_like(Output x, double value, Where where) {
  Graph& graph = graph_of("fill", {x}, where);
  return fill(shape_of(x, where), constant(graph, Tensor::full(x.dtype(), {}, value), {}, where),
              where);
}

}  // namespace

Output broadcast_to(Output x, IntVector shape, Where where) {
  Graph& graph = graph_of("broadcast_to", {x}, where);
  return make_with_vectors("broadcast_to", graph, {x, shape}, where);
}

Output sum_to(Output x, IntVector shape, Where where) {
  return make_with_vectors("sum_to", graph_of("sum_to", {x}, where), {x, shape}, where);
}

Output fill(IntVector shape, Output value, Where where) {
  return make_with_vectors("fill", graph_of("fill", {value}, where), {shape, value}, where);
}

Output zeros_like(Output x, Where where) { return filled_like(x, 0, where); }
Output ones_like(Output x, Where where) { return filled_like(x, 1, where); }

Output tile(Output x, IntVector multiples, Where where) {
  return make_with_vectors("tile", graph_of("tile", {x}, where), {x, multiples}, where);
}

void register_broadcasting_ops(OpRegistry& registry) {
  registry.add({"broadcast_to", {.static_inputs = 0b10}, infer_broadcast_to, grad_broadcast_to})
      .describe("x repeated to a shape", {"x", "shape"});
  registry.add({"sum_to", {.static_inputs = 0b10}, infer_sum_to, grad_sum_to})
      .describe("x summed to a shape that broadcasts to its own", {"x", "shape"});
  registry.add({"fill", {.static_inputs = 0b01}, infer_fill, grad_fill})
      .describe("a value everywhere", {"shape", "value"});
  registry.add({"tile", {.static_inputs = 0b10}, infer_tile, grad_tile})
      .describe("x repeated along each axis", {"x", "multiples"});
}

}  // namespace gradgraph
