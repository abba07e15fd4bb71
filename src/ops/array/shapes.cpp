#include <algorithm>

#include "core/text.h"
#include "ops/builders.h"

/// Shapes as values, and ops that only give a value another shape.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

void infer_shape_of(InferContext& context) { context.output(int64, {context.rank(0)}); }

std::optional<Shape> shape_value(const Node& node) { return node.input(0).shape(); }

/// For ops whose output is input 0 whenever both are vectors.
std::optional<Shape> same_vector(const Node& node) {
  if (node.input(0).rank() != 1 || node.shape().rank() != 1) return std::nullopt;
  return known_vector(node.input(0));
}

/// The product of the dimensions that are known.
std::int64_t known_elements(const InferContext& context, std::span<const std::int64_t> dims) {
  std::int64_t count = 1;
  bool overflows = false;
  for (const std::int64_t dim : dims)
    if (dim != any) overflows |= __builtin_mul_overflow(count, dim, &count);
  if (std::find(dims.begin(), dims.end(), 0) != dims.end()) return 0;
  context.require(!overflows, "there are too many elements");
  return count;
}

/// What `shape`, whose known dimensions have `rest` elements, has in place of its one unknown.
std::int64_t left_over(const InferContext& context, const Shape& shape, std::int64_t rest) {
  const std::int64_t total = known_elements(context, context.shape(0).dims());
  if (rest == 0 && constant_value(context.input(1)))
    context.fail(fmt::format("-1 could be anything beside a 0 in {}", shape));
  if (rest == 0 ? total != 0 : total % rest != 0)
    context.fail(fmt::format("{} elements do not fit {}", total, shape));
  return rest == 0 ? any : total / rest;
}

void infer_reshape(InferContext& context) {
  require_entries(context, 1, -1);
  Shape shape = context.vector_value(1);
  const auto unknowns = std::count(shape.begin(), shape.end(), any);
  context.require(unknowns <= 1 || !constant_value(context.input(1)),
                  "at most one dimension may be -1");
  const std::int64_t from = known_elements(context, context.shape(0).dims());
  const std::int64_t rest = known_elements(context, shape.dims());
  if (context.shape(0).fully_known()) {
    if (unknowns == 0 && rest != from)
      context.fail(fmt::format("{} elements do not fit {}", from, shape));
    if (unknowns == 1)
      shape.set(static_cast<int>(std::find(shape.begin(), shape.end(), any) - shape.begin()),
                left_over(context, shape, rest));
  } else if (unknowns == 0 && (from == 0 ? rest != 0 : rest % from != 0)) {
    context.fail(fmt::format("{} is no multiple of {} elements", shape, from));
  }
  context.output(context.dtype(0), shape);
}

void infer_flatten(InferContext& context) {
  const Shape& shape = context.shape(0);
  context.require(shape.rank() >= 1, "needs at least one axis");
  const auto rest = shape.dims().subspan(1);
  const bool known = std::find(rest.begin(), rest.end(), any) == rest.end();
  context.output(context.dtype(0), {shape[0], known ? known_elements(context, rest) : any});
}

void infer_expand_dims(InferContext& context) {
  const Shape& shape = context.shape(0);
  context.require(shape.rank() < Shape::kMaxRank, "there are as many axes as there can be");
  const int at = front_axis(context, context.attribute<std::int64_t>("axis"), shape.rank() + 1);
  Shape result(shape.dims().first(static_cast<std::size_t>(at)));
  result.append(1);
  for (int axis = at; axis < shape.rank(); ++axis) result.append(shape[axis]);
  context.output(context.dtype(0), result);
}

void infer_squeeze(InferContext& context) {
  const Shape& shape = context.shape(0);
  std::uint32_t dropped = 0;
  for (const std::int64_t axis : context.attribute<std::vector<std::int64_t>>("axes"))
    dropped |= 1u << front_axis(context, axis, shape.rank());
  Shape result;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if ((dropped >> axis & 1u) == 0)
      result.append(shape[axis]);
    else if (shape[axis] != 1 && shape[axis] != any)
      context.fail(fmt::format("axis {} has size {}, not 1", axis, shape[axis]));
  }
  context.output(context.dtype(0), result);
}

Grads grad_reshape(Context c) { return {reshape(c.grad(), shape_of(c.input(0))), {}}; }
Grads grad_same_elements(Context c) { return {reshape(c.grad(), shape_of(c.input(0)))}; }
Grads grad_identity(Context c) { return {c.grad()}; }
Grads grad_none(Context) { return {{}}; }

}  // namespace

Output shape_of(Output x, Where where) { return make("shape_of", {x}, where); }

Output reshape(Output x, IntVector shape, Where where) {
  return make_with_vectors("reshape", graph_of("reshape", {x}, where), {x, shape}, where);
}

Output flatten(Output x, Where where) { return make("flatten", {x}, where); }

Output expand_dims(Output x, std::int64_t axis, Where where) {
  graph_of("expand_dims", {x}, where);
  return make("expand_dims", {x}, where, {{"axis", from_front(axis, x.rank() + 1)}});
}

Output squeeze(Output x, Axes axes, Where where) {
  graph_of("squeeze", {x}, where);
  std::vector<std::int64_t> dropped = axes.list();
  // Chosen now: a batch that turns out to be 1 in some run must stay.
  for (int axis = 0; axes.all() && axis < x.rank(); ++axis)
    if (x.shape()[axis] == 1) dropped.push_back(axis);
  for (std::int64_t& axis : dropped) axis = from_front(axis, x.rank());
  std::ranges::sort(dropped);
  dropped.erase(std::unique(dropped.begin(), dropped.end()), dropped.end());
  return make("squeeze", {x}, where, {{"axes", std::move(dropped)}});
}

Output identity(Output x, std::string_view name, Where where) {
  return make("identity", {x}, where, {}, name);
}

Output stop_gradient(Output x, Where where) { return make("stop_gradient", {x}, where); }

void register_shape_ops(OpRegistry& registry) {
  const Traits alias = {.alias = true};
  registry
      .add({"shape_of",
            {.non_differentiable = true, .shape_only = true},
            infer_shape_of,
            nullptr,
            shape_value})
      .describe("the shape of x, int64", {"x"});
  registry
      .add({"reshape",
            {.alias = true, .static_inputs = 0b10},
            infer_reshape,
            grad_reshape,
            same_vector})
      .describe("the same elements in another shape", {"x", "shape"});
  registry.add({"flatten", alias, infer_flatten, grad_same_elements})
      .describe("all axes but the first become one", {"x"});
  registry.add({"expand_dims", alias, infer_expand_dims, grad_same_elements})
      .describe("one more axis, of extent 1", {"x"})
      .required_attribute<std::int64_t>("axis", "where it is in the result, from 0");
  registry.add({"squeeze", alias, infer_squeeze, grad_same_elements, same_vector})
      .describe("without axes of extent 1", {"x"})
      .required_attribute<std::vector<std::int64_t>>("axes", "that go, from 0");
  registry.add({"identity", alias, infer_same, grad_identity, same_vector}).describe("x", {"x"});
  registry.add({"stop_gradient", alias, infer_same, grad_none, same_vector})
      .describe("x, through which no gradient flows", {"x"});
}

}  // namespace gradgraph
