#include "core/text.h"
#include "ops/array/parts.h"
#include "ops/array/slices.h"
#include "ops/builders.h"

/// Slices with steps, and axes in reverse.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;
using Ints = std::vector<std::int64_t>;

void infer_flip(InferContext& context) {
  std::uint32_t reversed = 0;
  for (const std::int64_t axis : context.attribute<Ints>("axes")) {
    const std::uint32_t bit = 1u << front_axis(context, axis, context.rank(0));
    if (reversed & bit) context.fail(fmt::format("axis {} is named twice", axis));
    reversed |= bit;
  }
  context.output(context.dtype(0), context.shape(0));
}

Grads grad_flip(Context c) { return {flip(c.grad(), c.attribute<Ints>("axes"))}; }

/// The shape of the slice of `x` that the attributes say.
Shape sliced_shape(const InferContext& context, const Shape& x) {
  const Ints &begin = context.attribute<Ints>("begin"), &end = context.attribute<Ints>("end"),
             &step = context.attribute<Ints>("step");
  const auto rank = static_cast<std::size_t>(x.rank());
  if (begin.size() != rank || end.size() != rank || step.size() != rank)
    context.fail(fmt::format("{} slices for {} axes", step.size(), rank));
  Shape shape;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (step[axis] == 0) context.fail(fmt::format("the step along axis {} is 0", axis));
    const std::int64_t dim = x[static_cast<int>(axis)];
    shape.append(dim == any ? any : take(begin[axis], end[axis], step[axis], dim).count);
  }
  return shape;
}

void infer_strided_slice(InferContext& context) {
  context.output(context.dtype(0), sliced_shape(context, context.shape(0)));
}

std::optional<Shape> strided_slice_value(const Node& node) {
  const auto from = known_vector(node.input(0));
  if (!from || node.shape().rank() != 1) return std::nullopt;
  const std::int64_t step = node.attributes().get<Ints>("step")[0];
  const TakenElements taken = take(node.attributes().get<Ints>("begin")[0],
                                   node.attributes().get<Ints>("end")[0], step, from->rank());
  Shape value;
  for (std::int64_t i = 0; i < taken.count; ++i)
    value.append((*from)[static_cast<int>(taken.first + i * step)]);
  return value;
}

std::optional<Parts> strided_slice_parts(const Node& node) {
  const Shape& whole = node.input(0).shape();
  Shape first;
  for (int axis = 0; axis < whole.rank(); ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    const std::int64_t step = node.attributes().get<Ints>("step")[i];
    const TakenElements taken = take(node.attributes().get<Ints>("begin")[i],
                                     node.attributes().get<Ints>("end")[i], step, whole[axis]);
    if (step != 1 && taken.count > 1) return std::nullopt;
    first.append(taken.first);
  }
  const auto offset = offset_of_block(whole, first, node.shape());
  if (!offset) return std::nullopt;
  return Parts{.of_output = false, .offsets = {*offset}};
}

void infer_strided_slice_grad(InferContext& context) {
  require_entries(context, 0, 0);
  const Shape shape = context.vector_value(0);
  const Shape expected = sliced_shape(context, shape);
  if (!expected.compatible_with(context.shape(1)))
    context.fail(fmt::format("the gradient must have the slice's shape, {}", expected));
  context.output(context.dtype(1), shape);
}

/// The slices that a node's attributes say.
std::vector<Slice> slices_of(Context c) {
  const auto bound = [](std::int64_t index) {
    return index == kWhole ? std::nullopt : std::optional(index);
  };
  std::vector<Slice> slices;
  for (std::size_t axis = 0; axis < c.attribute<Ints>("step").size(); ++axis)
    slices.push_back({bound(c.attribute<Ints>("begin")[axis]),
                      bound(c.attribute<Ints>("end")[axis]), c.attribute<Ints>("step")[axis]});
  return slices;
}

Grads grad_strided_slice(Context c) {
  return {strided_slice_grad(shape_of(c.input(0)), c.grad(), slices_of(c))};
}
Grads grad_strided_slice_grad(Context c) { return {{}, strided_slice(c.grad(), slices_of(c))}; }

/// As attributes, with whole axes behind the slices given.
Attributes slice_attributes(const std::vector<Slice>& slices, int rank) {
  Ints begin, end, step;
  for (const Slice& slice : slices) {
    begin.push_back(slice.begin.value_or(kWhole));
    end.push_back(slice.end.value_or(kWhole));
    step.push_back(slice.step);
  }
  while (step.size() < static_cast<std::size_t>(rank)) {
    begin.push_back(kWhole);
    end.push_back(kWhole);
    step.push_back(1);
  }
  return {{"begin", std::move(begin)}, {"end", std::move(end)}, {"step", std::move(step)}};
}

}  // namespace

Output flip(Output x, Axes axes, Where where) {
  graph_of("flip", {x}, where);
  Ints list = axes.list();
  for (std::int64_t axis = 0; axes.all() && axis < x.rank(); ++axis) list.push_back(axis);
  for (std::int64_t& axis : list) axis = from_front(axis, x.rank());
  return make("flip", {x}, where, {{"axes", std::move(list)}});
}

Output strided_slice(Output x, const std::vector<Slice>& slices, Where where) {
  graph_of("strided_slice", {x}, where);
  return make("strided_slice", {x}, where, slice_attributes(slices, x.rank()));
}

Output strided_slice_grad(IntVector shape, Output grad, const std::vector<Slice>& slices,
                          Where where) {
  Graph& graph = graph_of("strided_slice_grad", {grad}, where);
  return make_with_vectors("strided_slice_grad", graph, {shape, grad}, where,
                           slice_attributes(slices, grad.rank()));
}

void register_slicing_ops(OpRegistry& registry) {
  const auto add_slices = [](OpDef& op) {
    op.required_attribute<Ints>("begin", "for each axis; the least int64: from its end on")
        .required_attribute<Ints>("end", "for each axis, excluded; the least int64: all")
        .required_attribute<Ints>("step", "for each axis, not 0");
  };
  registry.add({"flip", {}, infer_flip, grad_flip})
      .describe("axes in reverse", {"x"})
      .required_attribute<Ints>("axes", "from 0");
  add_slices(registry
                 .add({"strided_slice",
                       {.reads_part = true},
                       infer_strided_slice,
                       grad_strided_slice,
                       strided_slice_value,
                       nullptr,
                       strided_slice_parts})
                 .describe("x[begin:end:step], as in Python", {"x"}));
  add_slices(registry
                 .add({"strided_slice_grad",
                       {.static_inputs = 0b1, .kernel_input = 1},
                       infer_strided_slice_grad,
                       grad_strided_slice_grad})
                 .describe("zeros with grad where strided_slice takes elements from",
                           {"x_shape", "grad"}));
}

}  // namespace gradgraph
