#include "core/text.h"
#include "ops/array/slices.h"
#include "ops/builders.h"

/// Orders along an axis, and elements picked along it.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

void infer_argsort(InferContext& context) {
  context.require_number(0);
  Shape shape = context.shape(0);
  const int axis = front_axis(context, context.attribute<std::int64_t>("axis"), shape.rank());
  const std::int64_t count = context.attribute<std::int64_t>("count");
  if (count != kWhole) {
    if (count < 0 || (shape[axis] != any && count > shape[axis]))
      context.fail(fmt::format("there are no {} elements along axis {}", count, axis));
    shape.set(axis, count);
  }
  context.output(int64, shape);
}

/// `whole`, with the extents of `part` but along `axis`, where these differ.
Shape beside(const InferContext& context, Shape whole, const Shape& part, int axis) {
  bool fits = whole.rank() == part.rank();
  for (int i = 0; fits && i < whole.rank(); ++i) {
    if (i == axis) continue;
    fits = whole[i] == any || part[i] == any || whole[i] == part[i];
    if (whole[i] == any) whole.set(i, part[i]);
  }
  if (!fits)
    context.fail(fmt::format("{} and {} may differ along axis {} alone", whole, part, axis));
  return whole;
}

void infer_take_along_axis(InferContext& context) {
  context.require_dtype(1, {int32, int64});
  const int axis = front_axis(context, context.attribute<std::int64_t>("axis"), context.rank(0));
  context.output(context.dtype(0), beside(context, context.shape(1), context.shape(0), axis));
}

void infer_add_along_axis(InferContext& context) {
  require_entries(context, 0, 0);
  context.require_dtype(1, {int32, int64});
  context.require_number(2);
  const Shape shape = context.vector_value(0);
  const int axis = front_axis(context, context.attribute<std::int64_t>("axis"), shape.rank());
  context.require(context.shape(1).compatible_with(context.shape(2)),
                  "there must be an index for each update");
  context.output(context.dtype(2), beside(context, shape, context.shape(2), axis));
}

Grads grad_take_along_axis(Context c) {
  return {add_along_axis(shape_of(c.input(0)), c.input(1), c.grad(),
                         c.attribute<std::int64_t>("axis")),
          {}};
}
Grads grad_add_along_axis(Context c) {
  return {{}, {}, take_along_axis(c.grad(), c.input(1), c.attribute<std::int64_t>("axis"))};
}

Output order(Output x, std::int64_t count, std::int64_t axis, bool descending, Where where) {
  graph_of("argsort", {x}, where);
  return make(
      "argsort", {x}, where,
      {{"axis", from_front(axis, x.rank())}, {"descending", descending}, {"count", count}});
}

}  // namespace

Output argsort(Output x, std::int64_t axis, bool descending, Where where) {
  return order(x, kWhole, axis, descending, where);
}

Output sort(Output x, std::int64_t axis, bool descending, Where where) {
  BuildTransaction transaction(graph_of("sort", {x}, where));
  return transaction.commit(take_along_axis(x, argsort(x, axis, descending, where), axis, where));
}

TopK top_k(Output x, std::int64_t k, std::int64_t axis, Where where) {
  BuildTransaction transaction(graph_of("top_k", {x}, where));
  const Output indices = order(x, std::max(k, kWhole + 1), axis, true, where);
  return {transaction.commit(take_along_axis(x, indices, axis, where)), indices};
}

Output take_along_axis(Output x, Output indices, std::int64_t axis, Where where) {
  graph_of("take_along_axis", {x}, where);
  return make("take_along_axis", {x, indices}, where, {{"axis", from_front(axis, x.rank())}});
}

Output add_along_axis(IntVector shape, Output indices, Output updates, std::int64_t axis,
                      Where where) {
  Graph& graph = graph_of("add_along_axis", {updates}, where);
  return make_with_vectors("add_along_axis", graph, {shape, indices, updates}, where,
                           {{"axis", from_front(axis, updates.rank())}});
}

void register_sorting_ops(OpRegistry& registry) {
  registry.add({"argsort", {.non_differentiable = true}, infer_argsort})
      .describe("the indices that sort x along an axis, int64", {"x"})
      .required_attribute<std::int64_t>("axis", "from 0")
      .attribute("descending", false, "whether the largest comes first")
      .attribute("count", kWhole, "how many of them; the least int64: all");
  registry
      .add({"take_along_axis", {.may_fail = true}, infer_take_along_axis, grad_take_along_axis})
      .describe("the elements of x that indices name along an axis, each in its own row",
                {"x", "indices"})
      .required_attribute<std::int64_t>("axis", "from 0");
  registry
      .add({"add_along_axis",
            {.may_fail = true, .static_inputs = 0b1, .kernel_input = 2},
            infer_add_along_axis,
            grad_add_along_axis})
      .describe("zeros, to which updates are added where indices say, each in its own row",
                {"shape", "indices", "updates"})
      .required_attribute<std::int64_t>("axis", "from 0");
}

}  // namespace gradgraph
