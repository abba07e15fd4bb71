#include "ops/builders.h"

/// What is carried along an axis from element to element: running sums and products.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

void infer_cumulative(InferContext& context) {
  context.require_number(0);
  front_axis(context, context.attribute<std::int64_t>("axis"), context.rank(0));
  context.output(context.dtype(0), context.shape(0));
}

void infer_recurrence(InferContext& context) {
  context.require_floating(0);
  context.require_same_dtype(0, 1);
  context.require(context.shape(0).compatible_with(context.shape(1)),
                  "factors and terms differ in shape");
  Shape shape = context.shape(0);
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (shape[axis] == any) shape.set(axis, context.shape(1)[axis]);
  front_axis(context, context.attribute<std::int64_t>("axis"), shape.rank());
  context.output(context.dtype(0), shape);
}

std::int64_t axis_of(Context c) { return c.attribute<std::int64_t>("axis"); }
bool is_exclusive(Context c) { return c.attribute<bool>("exclusive"); }
bool is_reverse(Context c) { return c.attribute<bool>("reverse"); }

/// How the state behind each element moves the results, if by `factors` it moves the next state.
Output by_state(Context c, Output factors) {
  const CumulativeOptions back = {.exclusive = true, .reverse = !is_reverse(c)};
  if (is_exclusive(c)) return linear_recurrence(factors, c.grad(), axis_of(c), back);
  return c.grad() + linear_recurrence(factors, factors * c.grad(), axis_of(c), back);
}

Grads grad_cumsum(Context c) {
  return {
      cumsum(c.grad(), axis_of(c), {.exclusive = is_exclusive(c), .reverse = !is_reverse(c)})};
}
/// No division: so zeros do no harm, in derivatives of any order.
Grads grad_cumprod(Context c) {
  const Output x = c.input(0);
  return {by_state(c, x) * cumprod(x, axis_of(c), {.exclusive = true, .reverse = is_reverse(c)})};
}
Grads grad_linear_recurrence(Context c) {
  const Output a = c.input(0), b = c.input(1), by_b = by_state(c, a);
  const CumulativeOptions before = {.exclusive = true, .reverse = is_reverse(c)};
  return {by_b * (is_exclusive(c) ? c.output() : linear_recurrence(a, b, axis_of(c), before)),
          by_b};
}

Output scan(std::string_view op, OutputList inputs, std::int64_t axis, CumulativeOptions options,
            Where where) {
  graph_of(op, inputs, where);
  const Output& x = *inputs.begin();
  return make(op, inputs, where,
              {{"axis", x ? from_front(axis, x.rank()) : axis},
               {"exclusive", options.exclusive},
               {"reverse", options.reverse}});
}

}  // namespace

Output cumsum(Output x, std::int64_t axis, CumulativeOptions options, Where where) {
  return scan("cumsum", {x}, axis, options, where);
}
Output cumprod(Output x, std::int64_t axis, CumulativeOptions options, Where where) {
  return scan("cumprod", {x}, axis, options, where);
}
Output linear_recurrence(Output a, Output b, std::int64_t axis, CumulativeOptions options,
                         Where where) {
  return scan("linear_recurrence", {a, b}, axis, options, where);
}

void register_scan_ops(OpRegistry& registry) {
  registry.add({"cumsum", {}, infer_cumulative, grad_cumsum})
      .describe("the sums of all elements up to each, along an axis", {"x"})
      .required_attribute<std::int64_t>("axis", "from 0")
      .attribute("exclusive", false, "whether each leaves itself out")
      .attribute("reverse", false, "whether it goes from the end");
  registry.add({"cumprod", {}, infer_cumulative, grad_cumprod})
      .describe("the products of all elements up to each, along an axis", {"x"})
      .required_attribute<std::int64_t>("axis", "from 0")
      .attribute("exclusive", false, "whether each leaves itself out")
      .attribute("reverse", false, "whether it goes from the end");
  registry.add({"linear_recurrence", {}, infer_recurrence, grad_linear_recurrence})
      .describe("y = a * (the y before it) + b, from 0 on, along an axis", {"a", "b"})
      .required_attribute<std::int64_t>("axis", "from 0")
      .attribute("exclusive", false, "whether each y stands one place further, after a 0")
      .attribute("reverse", false, "whether it goes from the end");
}

}  // namespace gradgraph
