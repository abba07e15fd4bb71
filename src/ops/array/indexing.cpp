#include "core/text.h"
#include "ops/builders.h"

/// Ops whose indices are values.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

/// `shape` with `axis` replaced by the axes of `indices`.
Shape indexed_shape(const InferContext& context, const Shape& shape, int axis,
                    const Shape& indices) {
  if (shape.rank() - 1 + indices.rank() > Shape::kMaxRank)
    context.fail(fmt::format("the result would have more than {} axes", Shape::kMaxRank));
  Shape result;
  for (int i = 0; i < axis; ++i) result.append(shape[i]);
  for (const std::int64_t dim : indices) result.append(dim);
  for (int i = axis + 1; i < shape.rank(); ++i) result.append(shape[i]);
  return result;
}

void infer_gather(InferContext& context) {
  context.require_dtype(1, {int32, int64});
  const int axis = front_axis(context, context.attribute<std::int64_t>("axis"), context.rank(0));
  context.output(context.dtype(0),
                 indexed_shape(context, context.shape(0), axis, context.shape(1)));
}

std::optional<Shape> gather_value(const Node& node) {
  const auto from = known_vector(node.input(0));
  const Tensor* indices = constant_value(node.input(1));
  if (!from || !indices || node.shape().rank() != 1 || node.shape()[0] > Shape::kMaxRank)
    return std::nullopt;
  const Tensor at = indices->cast(int64);
  Shape value;
  for (const std::int64_t i : at.span<std::int64_t>()) {
    if (i < 0 || i >= from->rank()) return std::nullopt;
    value.append((*from)[static_cast<int>(i)]);
  }
  return value;
}

void infer_scatter_add(InferContext& context) {
  require_entries(context, 0, 0);
  context.require_dtype(1, {int32, int64});
  context.require_number(2);
  Shape shape = context.vector_value(0);
  const int axis = front_axis(context, context.attribute<std::int64_t>("axis"), shape.rank());
  const int index_axes = context.rank(1);
  const Shape expected = indexed_shape(context, shape, axis, context.shape(1));
  const Shape& updates = context.shape(2);
  if (!expected.compatible_with(updates))
    context.fail(fmt::format("the updates of {} must have the shape {}", shape, expected));
  for (int i = 0; i < shape.rank(); ++i)
    if (i != axis && shape[i] == any) shape.set(i, updates[i < axis ? i : i - 1 + index_axes]);
  context.output(context.dtype(2), shape);
}

void infer_check_indices(InferContext& context) {
  infer_same(context);
  context.require_dtype(0, {int32, int64, uint8});
  const std::int64_t size = context.attribute<std::int64_t>("size");
  if (size < 0) context.fail(fmt::format("the size is {}", size));
}

void infer_one_hot(InferContext& context) {
  context.require_dtype(0, {int32, int64, uint8});
  const std::int64_t depth = context.attribute<std::int64_t>("depth");
  if (depth < 0) context.fail(fmt::format("the depth is {}", depth));
  context.require(context.rank(0) < Shape::kMaxRank, "there are as many axes as there can be");
  Shape shape = context.shape(0);
  shape.append(depth);
  context.output(context.attribute<DType>("dtype"), shape);
}

Grads grad_gather(Context c) {
  return {
      scatter_add(shape_of(c.input(0)), c.input(1), c.grad(), c.attribute<std::int64_t>("axis")),
      {}};
}
Grads grad_scatter_add(Context c) {
  return {{}, {}, gather(c.grad(), c.input(1), c.attribute<std::int64_t>("axis"))};
}

}  // namespace

Output gather(Output x, Output indices, std::int64_t axis, Where where) {
  graph_of("gather", {x}, where);
  return make("gather", {x, indices}, where, {{"axis", from_front(axis, x.rank())}});
}

Output scatter_add(IntVector shape, Output indices, Output updates, std::int64_t axis,
                   Where where) {
  Graph& graph = graph_of("scatter_add", {updates}, where);
  BuildTransaction transaction(graph);
  const Output size = shape.resolve(graph, where);
  const std::int64_t rank = size.rank() == 1 ? size.shape()[0] : 0;
  return transaction.commit(make("scatter_add", {size, indices, updates}, where,
                                 {{"axis", from_front(axis, static_cast<int>(rank))}}));
}

Output check_indices(Output indices, std::int64_t size, Where where) {
  return make("check_indices", {indices}, where, {{"size", size}});
}

Output one_hot(Output indices, std::int64_t depth, DType dtype, Where where) {
  return make("one_hot", {indices}, where, {{"depth", depth}, {"dtype", dtype}});
}

void register_indexing_ops(OpRegistry& registry) {
  registry
      .add({"gather",
            {.may_fail = true, .reads_part = true},
            infer_gather,
            grad_gather,
            gather_value})
      .describe("the parts of x along an axis that indices name", {"x", "indices"})
      .required_attribute<std::int64_t>("axis", "from 0");
  registry
      .add({"scatter_add",
            {.may_fail = true, .static_inputs = 0b001, .kernel_input = 2},
            infer_scatter_add,
            grad_scatter_add})
      .describe("zeros, to which updates are added where indices say",
                {"shape", "indices", "updates"})
      .required_attribute<std::int64_t>("axis", "from 0");
  registry
      .add({"check_indices",
            {.in_place = true, .may_fail = true, .non_differentiable = true},
            infer_check_indices})
      .describe("indices, which must be in [0, size)", {"indices"})
      .required_attribute<std::int64_t>("size", "the number of classes or rows");
  registry.add({"one_hot", {.non_differentiable = true}, infer_one_hot})
      .describe("1 at the index, else 0, along a last axis", {"indices"})
      .required_attribute<std::int64_t>("depth", "of that axis")
      .required_attribute<DType>("dtype", "of the result");
}

}  // namespace gradgraph
