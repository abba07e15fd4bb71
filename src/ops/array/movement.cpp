#include <algorithm>

#include "core/text.h"
#include "ops/array/parts.h"
#include "ops/builders.h"

/// Ops that move elements without looking at them: permute, join, cut, surround.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;
using Ints = std::vector<std::int64_t>;

/// The size of an axis that is put together from two, `any` where one is unknown.
std::int64_t joined(const InferContext& context, std::int64_t a, std::int64_t b) {
  std::int64_t size = any;
  if (a != any && b != any && __builtin_add_overflow(a, b, &size))
    context.fail(fmt::format("an axis of {} + {} elements is too long", a, b));
  return size;
}

void infer_transpose(InferContext& context) {
  const Ints& permutation = context.attribute<Ints>("permutation");
  const Shape& shape = context.shape(0);
  Ints sorted = permutation;
  std::sort(sorted.begin(), sorted.end());
  bool valid = static_cast<int>(sorted.size()) == shape.rank();
  for (std::size_t i = 0; valid && i < sorted.size(); ++i)
    valid = sorted[i] == static_cast<std::int64_t>(i);
  if (!valid)
    context.fail(fmt::format("({}) is no permutation of {} axes", fmt::join(permutation, ","),
                             shape.rank()));
  Shape result;
  for (const std::int64_t axis : permutation) result.append(shape[static_cast<int>(axis)]);
  context.output(context.dtype(0), result);
}

Grads grad_transpose(Context c) {
  const Ints& permutation = c.attribute<Ints>("permutation");
  Ints inverse(permutation.size());
  for (std::size_t i = 0; i < inverse.size(); ++i)
    inverse[static_cast<std::size_t>(permutation[i])] = static_cast<std::int64_t>(i);
  return {transpose(c.grad(), inverse)};
}

void infer_concat(InferContext& context) {
  context.require(context.num_inputs() > 0, "needs at least one part");
  Shape shape = context.shape(0);
  const int along = front_axis(context, context.attribute<std::int64_t>("axis"), shape.rank());
  for (int i = 1; i < context.num_inputs(); ++i) {
    context.require_same_dtype(0, i);
    context.require_rank(i, shape.rank());
    for (int axis = 0; axis < shape.rank(); ++axis) {
      const std::int64_t dim = context.shape(i)[axis], before = shape[axis];
      if (axis == along)
        shape.set(axis, joined(context, before, dim));
      else if (before == any)
        shape.set(axis, dim);
      else if (dim != any && dim != before)
        context.fail(
            fmt::format("axis {} has size {} in part 0 but {} in part {}", axis, before, dim, i));
    }
  }
  context.output(context.dtype(0), shape);
}

std::optional<Shape> concat_value(const Node& node) {
  const std::int64_t length = node.shape()[0];
  if (node.shape().rank() != 1 || length == any || length > Shape::kMaxRank) return std::nullopt;
  Shape value;
  for (const Output& part : node.inputs()) {
    const Shape unknown(Ints(static_cast<std::size_t>(part.shape()[0]), any));
    for (const std::int64_t entry : known_vector(part).value_or(unknown)) value.append(entry);
  }
  return value;
}

/// Part i begins where the parts before it end, which may be known in a run only.
Grads grad_concat(Context c) {
  const std::int64_t rank = c.output().rank(), axis = c.attribute<std::int64_t>("axis");
  Ints along(static_cast<std::size_t>(rank), 0);
  Output begin = int_vector(c.node().graph(), along, {});
  along[static_cast<std::size_t>(axis)] = 1;
  const Output axis_only = int_vector(c.node().graph(), along, {});
  Grads grads;
  for (int i = 0; i < c.num_inputs(); ++i) {
    const Output size = shape_of(c.input(i));
    grads.push_back(slice(c.grad(), begin, size));
    begin = begin + size * axis_only;
  }
  return grads;
}

std::optional<Parts> concat_parts(const Node& node) {
  const int axis = static_cast<int>(node.attributes().get<std::int64_t>("axis"));
  return parts_along(node.shape(), axis, node.num_inputs(), true,
                     [&](int i) { return node.input(i).shape()[axis]; });
}

void infer_split(InferContext& context) {
  const Ints& sizes = context.attribute<Ints>("sizes");
  Shape shape = context.shape(0);
  const int axis = front_axis(context, context.attribute<std::int64_t>("axis"), shape.rank());
  const bool valid = !sizes.empty() && *std::min_element(sizes.begin(), sizes.end()) >= 0;
  std::int64_t total = 0;
  for (const std::int64_t size : sizes) total = valid ? joined(context, total, size) : 0;
  if (!valid || (shape[axis] != any && total != shape[axis]))
    context.fail(fmt::format("parts of sizes ({}) do not make up axis {} of {}",
                             fmt::join(sizes, ","), axis, shape));
  for (const std::int64_t size : sizes) {
    shape.set(axis, size);
    context.output(context.dtype(0), shape);
  }
}

Grads grad_split(Context c) {
  Grads parts;
  for (int i = 0; i < c.node().num_outputs(); ++i)
    parts.push_back(c.grad(i) ? c.grad(i) : zeros_like(c.output(i)));
  return {concat(parts, c.attribute<std::int64_t>("axis"))};
}

std::optional<Parts> split_parts(const Node& node) {
  const int axis = static_cast<int>(node.attributes().get<std::int64_t>("axis"));
  return parts_along(node.input(0).shape(), axis, node.num_outputs(), false,
                     [&](int i) { return node.shape(i)[axis]; });
}

/// The int64 vector that is input i, one entry per axis of input 0.
Shape per_axis(const InferContext& context, int i) {
  const Shape vector = context.vector_value(i);
  if (vector.rank() != context.rank(0))
    context.fail(
        fmt::format("{} entries in input {} for {} axes", vector.rank(), i, context.rank(0)));
  return vector;
}

void infer_slice(InferContext& context) {
  require_entries(context, 1, 0);
  require_entries(context, 2, -1);
  const Shape begin = per_axis(context, 1), size = per_axis(context, 2);
  const bool to_end = constant_value(context.input(2)) != nullptr;
  Shape shape = context.shape(0);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const std::int64_t dim = shape[axis], first = begin[axis];
    const std::int64_t least = std::max<std::int64_t>(first, 0);
    const std::int64_t count = std::max<std::int64_t>(size[axis], 0);
    if (dim != any && (least > dim || count > dim - least))
      context.fail(fmt::format("{} elements from {} on do not fit axis {} of {}", count, least,
                               axis, context.shape(0)));
    const bool rest = size[axis] == any && to_end && dim != any && first != any;
    shape.set(axis, rest ? dim - first : size[axis]);
  }
  context.output(context.dtype(0), shape);
}

std::optional<Shape> slice_value(const Node& node) {
  if (node.shape().rank() != 1) return std::nullopt;
  const auto from = known_vector(node.input(0)), begin = known_vector(node.input(1));
  const std::int64_t length = node.shape()[0];
  if (!from || !begin || length == any || (*begin)[0] == any) return std::nullopt;
  return Shape(from->dims().subspan(static_cast<std::size_t>((*begin)[0]),
                                    static_cast<std::size_t>(length)));
}

std::optional<Parts> slice_parts(const Node& node) {
  const auto begin = known_vector(node.input(1));
  if (!begin) return std::nullopt;
  const auto offset = offset_of_block(node.input(0).shape(), *begin, node.shape());
  if (!offset) return std::nullopt;
  return Parts{.of_output = false, .offsets = {*offset}};
}

Grads grad_slice(Context c) {
  const Output before = c.input(1);
  return {pad(c.grad(), before, shape_of(c.input(0)) - before - shape_of(c.output())), {}, {}};
}

void infer_pad(InferContext& context) {
  require_entries(context, 1, 0);
  require_entries(context, 2, 0);
  const Shape before = per_axis(context, 1), after = per_axis(context, 2);
  const double value = context.attribute<double>("value");
  const auto integer = context.attribute<std::int64_t>("integer");
  const DType dtype = context.dtype(0);
  if (!is_floating(dtype) &&
      (static_cast<double>(integer) != value ||
       Tensor::full(dtype, {}, integer).cast(int64).item<std::int64_t>() != integer))
    context.fail(fmt::format("{} is no {}", value, dtype));
  Shape shape = context.shape(0);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const std::int64_t start = joined(context, before[axis], shape[axis]);
    shape.set(axis, joined(context, start, after[axis]));
  }
  context.output(dtype, shape);
}

Grads grad_pad(Context c) { return {slice(c.grad(), c.input(1), shape_of(c.input(0))), {}, {}}; }

}  // namespace

Output transpose(Output x, Ints permutation, Where where) {
  graph_of("transpose", {x}, where);
  const int rank = x.rank();
  if (permutation.empty())
    for (std::int64_t axis = rank; axis-- > 0;) permutation.push_back(axis);
  for (std::int64_t& axis : permutation) axis = from_front(axis, rank);
  return make("transpose", {x}, where, {{"permutation", std::move(permutation)}});
}

Output concat(const std::vector<Output>& parts, std::int64_t axis, Where where) {
  graph_of("concat", parts, where);
  const int rank = parts[0] ? parts[0].rank() : 0;
  return make("concat", parts, where, {{"axis", from_front(axis, rank)}});
}

Output stack(const std::vector<Output>& parts, std::int64_t axis, Where where) {
  BuildTransaction transaction(graph_of("stack", parts, where));
  std::vector<Output> layers;
  for (const Output& part : parts) {
    if (part && part.rank() == parts[0].rank() && !part.shape().compatible_with(parts[0].shape()))
      throw BuildError(fmt::format("[stack]: parts of {} and {} cannot be layers of one value",
                                   parts[0].shape(), part.shape()),
                       where);
    layers.push_back(expand_dims(part, axis, where));
  }
  return transaction.commit(concat(layers, axis, where));
}

std::vector<Output> split(Output x, Ints sizes, std::int64_t axis, Where where) {
  graph_of("split", {x}, where);
  axis = from_front(axis, x.rank());
  Node& node = make_node("split", {x}, {{"sizes", std::move(sizes)}, {"axis", axis}}, where);
  std::vector<Output> parts;
  for (int i = 0; i < node.num_outputs(); ++i) parts.push_back(node.output(i));
  return parts;
}

std::vector<Output> unstack(Output x, std::int64_t axis, Where where) {
  Graph& graph = graph_of("unstack", {x}, where);
  BuildTransaction transaction(graph);
  const std::int64_t from = from_front(axis, x.rank());
  if (from < 0 || from >= x.rank() || x.shape()[static_cast<int>(from)] == any)
    fail_to_build("unstack", graph,
                  fmt::format("axis {} of {} is not one of known size", axis, x.shape()), where);
  if (x.shape()[static_cast<int>(from)] == 0) return {};
  std::vector<Output> parts =
      split(x, Ints(static_cast<std::size_t>(x.shape()[static_cast<int>(from)]), 1), from, where);
  for (Output& part : parts) part = squeeze(part, {from}, where);
  return transaction.commit(parts);
}

Output slice(Output x, IntVector begin, IntVector size, Where where) {
  Graph& graph = graph_of("slice", {x}, where);
  return make_with_vectors("slice", graph, {x, begin, size}, where);
}

Output pad(Output x, IntVector before, IntVector after, Number value, Where where) {
  Graph& graph = graph_of("pad", {x}, where);
  return make_with_vectors("pad", graph, {x, before, after}, where,
                           {{"value", value.as_double()}, {"integer", value.as_integer()}});
}

void register_movement_ops(OpRegistry& registry) {
  const Traits cut = {.static_inputs = 0b110};
  const Traits part = {.reads_part = true, .static_inputs = 0b110};
  registry.add({"transpose", {}, infer_transpose, grad_transpose})
      .describe("axes in another order", {"x"})
      .required_attribute<std::vector<std::int64_t>>("permutation",
                                                     "axis i of the result is this one of x");
  registry.add({"concat", {}, infer_concat, grad_concat, concat_value, nullptr, concat_parts})
      .describe("one behind the other along an axis", {"values..."})
      .required_attribute<std::int64_t>("axis", "from 0");
  registry.add({"split", {}, infer_split, grad_split, nullptr, nullptr, split_parts})
      .describe("pieces along an axis", {"x"})
      .required_attribute<std::vector<std::int64_t>>("sizes", "of the pieces")
      .required_attribute<std::int64_t>("axis", "from 0");
  registry.add({"slice", part, infer_slice, grad_slice, slice_value, nullptr, slice_parts})
      .describe("a block of x", {"x", "begin", "size"});
  registry.add({"pad", cut, infer_pad, grad_pad})
      .describe("x with a border", {"x", "before", "after"})
      .attribute("value", 0.0, "of the border")
      .attribute("integer", std::int64_t{0}, "the same for integers and booleans, exactly");
}

}  // namespace gradgraph
