#include <algorithm>
#include <numeric>

#include "core/text.h"
#include "ops/builders.h"

/// Ops that make one value out of many, along some axes.
///
/// The attribute "axes" is sorted, explicit and counted from the front.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;
using AxisList = std::vector<std::int64_t>;

// --- Gradients ---------------------------------------------------------------------------------

/// `value`, of the reduction's output shape, with the reduced axes back as axes of size 1.
Output restored(Context c, Output value) {
  if (!c.attribute<bool>("keep_dims"))
    for (const std::int64_t axis : c.attribute<AxisList>("axes"))
      value = expand_dims(value, axis);
  return value;
}

/// How many elements one of the output stands for, as a scalar beside `peer`.
Output reduced_count(Context c, Output peer) {
  const Output x = c.input(0);
  const AxisList& axes = c.attribute<AxisList>("axes");
  Shape reduced;
  for (const std::int64_t axis : axes) reduced.append(x.shape()[static_cast<int>(axis)]);
  if (reduced.fully_known()) return Operand(reduced.num_elements()).resolve("mul", peer, {});
  const Output dims = gather(shape_of(x), int_vector(x.graph(), axes, {}));
  return cast(prod(dims), x.dtype());
}

Grads grad_sum(Context c) { return {broadcast_to(restored(c, c.grad()), shape_of(c.input(0)))}; }
Grads grad_mean(Context c) {
  const Output share = c.grad() / reduced_count(c, c.grad());
  return {broadcast_to(restored(c, share), shape_of(c.input(0)))};
}

/// For max and min: in equal parts to all elements that are equal to the result. NaN is equal to
/// nothing: then all of them get NaN, 0 / 0.
Grads grad_extremum(Context c) {
  const Output wins = equal(c.input(0), restored(c, c.output()));
  const Output winners =
      sum(cast(wins, c.grad().dtype()), c.attribute<AxisList>("axes"), /*keep_dims=*/true);
  return {where(wins, restored(c, c.grad()) / winners, 0 / winners)};
}

/// The product of the other elements along `axis`. No division, so zeros do no harm.
Output product_of_others(Output x, std::int64_t axis) {
  return cumprod(x, axis, {.exclusive = true}) *
         cumprod(x, axis, {.exclusive = true, .reverse = true});
}

/// How many elements `axes` of x have, as a vector of one.
Output count_along(Output x, const AxisList& axes) {
  return prod(gather(shape_of(x), int_vector(x.graph(), axes, {})), 0, /*keep_dims=*/true);
}

/// x with its reduced axes last, as [rows, n].
struct Rows {
  AxisList permutation;
  Output moved, flat;
};
Rows as_rows(Output x, const AxisList& reduced) {
  AxisList order;
  for (std::int64_t axis = 0; axis < x.rank(); ++axis)
    if (!std::binary_search(reduced.begin(), reduced.end(), axis)) order.push_back(axis);
  const Output rows = count_along(x, order);
  order.insert(order.end(), reduced.begin(), reduced.end());
  const Output moved = std::is_sorted(order.begin(), order.end()) ? x : transpose(x, order);
  return {order, moved, reshape(moved, concat({rows, count_along(x, reduced)}, 0))};
}
Output from_rows(const Rows& rows, Output flat) {
  const Output moved = reshape(flat, shape_of(rows.moved));
  AxisList back(rows.permutation.size());
  for (std::size_t i = 0; i < back.size(); ++i)
    back[static_cast<std::size_t>(rows.permutation[i])] = static_cast<std::int64_t>(i);
  return std::is_sorted(back.begin(), back.end()) ? moved : transpose(moved, back);
}

Grads grad_prod(Context c) {
  const Output x = c.input(0), grad = restored(c, c.grad());
  const AxisList& axes = c.attribute<AxisList>("axes");
  if (axes.empty()) return {grad};
  if (axes.size() == 1) return {grad * product_of_others(x, axes[0])};
  const Rows rows = as_rows(x, axes);
  return {grad * from_rows(rows, product_of_others(rows.flat, 1))};
}

// --- Inference ---------------------------------------------------------------------------------

Shape reduced_shape(InferContext& context, const AxisList& axes, bool keep_dims) {
  const Shape& x = context.shape(0);
  std::uint32_t reduced = 0;
  for (const std::int64_t axis : axes) {
    const std::uint32_t bit = 1u << front_axis(context, axis, x.rank());
    if (reduced & bit) context.fail(fmt::format("axis {} is named twice", axis));
    context.require(axis >= 0 && bit > reduced, "the attribute's axes are not in order");
    reduced |= bit;
  }
  Shape shape;
  for (int axis = 0; axis < x.rank(); ++axis) {
    if ((reduced >> axis & 1u) == 0)
      shape.append(x[axis]);
    else if (keep_dims)
      shape.append(1);
  }
  return shape;
}

void infer_over_axes(InferContext& context) {
  context.output(context.dtype(0), reduced_shape(context, context.attribute<AxisList>("axes"),
                                                 context.attribute<bool>("keep_dims")));
}

void infer_sum(InferContext& context) {
  context.require_dtype(0, {float32, float64, int32, int64, float16, bfloat16});
  infer_over_axes(context);
}

void infer_any_all(InferContext& context) {
  context.require_dtype(0, {boolean});
  infer_over_axes(context);
}

void infer_mean(InferContext& context) {
  context.require_floating(0);
  infer_over_axes(context);
}

/// Fails when there are results to make out of no elements, as far as that is known.
void require_elements(InferContext& context, const AxisList& axes, const Shape& result) {
  const bool none_wanted = std::find(result.begin(), result.end(), 0) != result.end();
  for (const std::int64_t axis : axes)
    if (!none_wanted && context.shape(0)[static_cast<int>(axis)] == 0)
      context.fail("there is no largest or smallest of no elements");
}

void infer_extremum(InferContext& context) {
  context.require_number(0);
  infer_over_axes(context);
  require_elements(context, context.attribute<AxisList>("axes"), context.outputs()[0].shape);
}

void infer_index(InferContext& context) {
  context.require_number(0);
  const AxisList axes = {context.attribute<std::int64_t>("axis")};
  const Shape shape = reduced_shape(context, axes, context.attribute<bool>("keep_dims"));
  require_elements(context, axes, shape);
  context.output(int64, shape);
}

Output reduce(std::string_view op, Output x, const Axes& axes, bool keep_dims, Where where) {
  graph_of(op, {x}, where);
  AxisList list = axes.list();
  if (axes.all()) {
    list.resize(static_cast<std::size_t>(x.rank()));
    std::iota(list.begin(), list.end(), 0);
  }
  for (std::int64_t& axis : list) axis = from_front(axis, x.rank());
  std::sort(list.begin(), list.end());
  return make(op, {x}, where, {{"axes", std::move(list)}, {"keep_dims", keep_dims}});
}

Output index_of(std::string_view op, Output x, std::int64_t axis, bool keep_dims, Where where) {
  graph_of(op, {x}, where);
  return make(op, {x}, where, {{"axis", from_front(axis, x.rank())}, {"keep_dims", keep_dims}});
}

}  // namespace

Output sum(Output x, Axes axes, bool keep_dims, Where where) {
  return reduce("sum", x, axes, keep_dims, where);
}
Output mean(Output x, Axes axes, bool keep_dims, Where where) {
  return reduce("mean", x, axes, keep_dims, where);
}
Output prod(Output x, Axes axes, bool keep_dims, Where where) {
  return reduce("prod", x, axes, keep_dims, where);
}
Output max(Output x, Axes axes, bool keep_dims, Where where) {
  return reduce("max", x, axes, keep_dims, where);
}
Output min(Output x, Axes axes, bool keep_dims, Where where) {
  return reduce("min", x, axes, keep_dims, where);
}
Output any_of(Output x, Axes axes, bool keep_dims, Where where) {
  return reduce("any", x, axes, keep_dims, where);
}
Output all_of(Output x, Axes axes, bool keep_dims, Where where) {
  return reduce("all", x, axes, keep_dims, where);
}
Output argmax(Output x, std::int64_t axis, bool keep_dims, Where where) {
  return index_of("argmax", x, axis, keep_dims, where);
}
Output argmin(Output x, std::int64_t axis, bool keep_dims, Where where) {
  return index_of("argmin", x, axis, keep_dims, where);
}

void register_reduction_ops(OpRegistry& registry) {
  registry.add({"sum", {}, infer_sum, grad_sum})
      .describe("the sum over axes", {"x"})
      .required_attribute<std::vector<std::int64_t>>("axes", "that are reduced")
      .attribute("keep_dims", false, "whether the axes stay, of extent 1");
  registry.add({"mean", {}, infer_mean, grad_mean})
      .describe("the mean over axes", {"x"})
      .required_attribute<std::vector<std::int64_t>>("axes", "that are reduced")
      .attribute("keep_dims", false, "whether the axes stay, of extent 1");
  registry.add({"prod", {}, infer_sum, grad_prod})
      .describe("the product over axes", {"x"})
      .required_attribute<std::vector<std::int64_t>>("axes", "that are reduced")
      .attribute("keep_dims", false, "whether the axes stay, of extent 1");
  registry.add({"max", {}, infer_extremum, grad_extremum})
      .describe("the largest element; NaN if any is over axes", {"x"})
      .required_attribute<std::vector<std::int64_t>>("axes", "that are reduced")
      .attribute("keep_dims", false, "whether the axes stay, of extent 1");
  registry.add({"min", {}, infer_extremum, grad_extremum})
      .describe("the smallest element; NaN if any is over axes", {"x"})
      .required_attribute<std::vector<std::int64_t>>("axes", "that are reduced")
      .attribute("keep_dims", false, "whether the axes stay, of extent 1");
  registry.add({"any", {.non_differentiable = true}, infer_any_all})
      .describe("whether any element is true, over axes", {"x"})
      .required_attribute<std::vector<std::int64_t>>("axes", "that are reduced")
      .attribute("keep_dims", false, "whether the axes stay, of extent 1");
  registry.add({"all", {.non_differentiable = true}, infer_any_all})
      .describe("whether all elements are true, over axes", {"x"})
      .required_attribute<std::vector<std::int64_t>>("axes", "that are reduced")
      .attribute("keep_dims", false, "whether the axes stay, of extent 1");
  registry.add({"argmax", {.non_differentiable = true}, infer_index})
      .describe("the index of the first largest element, int64", {"x"})
      .required_attribute<std::int64_t>("axis", "from 0")
      .attribute("keep_dims", false, "whether the axes stay, of extent 1");
  registry.add({"argmin", {.non_differentiable = true}, infer_index})
      .describe("the index of the first smallest element, int64", {"x"})
      .required_attribute<std::int64_t>("axis", "from 0")
      .attribute("keep_dims", false, "whether the axes stay, of extent 1");
}

}  // namespace gradgraph
