#include <limits>

#include "core/text.h"
#include "ops/builders.h"

/// Running sums, and reductions that are composed of others.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

void infer_cumsum(InferContext& context) {
  context.require_number(0);
  front_axis(context, context.attribute<std::int64_t>("axis"), context.rank(0));
  context.output(context.dtype(0), context.shape(0));
}

Grads grad_cumsum(Context c) {
  return {cumsum(
      c.grad(), c.attribute<std::int64_t>("axis"),
      {.exclusive = c.attribute<bool>("exclusive"), .reverse = !c.attribute<bool>("reverse")})};
}

}  // namespace

Output cumsum(Output x, std::int64_t axis, CumsumOptions options, Where where) {
  graph_of("cumsum", {x}, where);
  return make("cumsum", {x}, where,
              {{"axis", from_front(axis, x.rank())},
               {"exclusive", options.exclusive},
               {"reverse", options.reverse}});
}

Output logsumexp(Output x, Axes axes, bool keep_dims, Where where) {
  BuildTransaction transaction(graph_of("logsumexp", {x}, where));
  const Output largest = max(stop_gradient(x, where), axes, true, where);
  // Infinite ones are not subtracted: of -inf alone the sum is 0, and no gradient is NaN.
  const Output offset =
      gradgraph::where(less(abs(largest, where), std::numeric_limits<double>::infinity(), where),
                       largest, 0, where);
  const Output total = sum(exp(sub(x, offset, where), where), axes, keep_dims, where);
  const Output none = equal(total, 0, where);
  const Output logarithm =
      gradgraph::where(none, -std::numeric_limits<double>::infinity(),
                       log(gradgraph::where(none, 1, total, where), where), where);
  return transaction.commit(
      add(logarithm, reshape(offset, shape_of(logarithm, where), where), where));
}

Output var(Output x, Axes axes, bool keep_dims, double correction, Where where) {
  BuildTransaction transaction(graph_of("var", {x}, where));
  const Output centred = sub(x, mean(x, axes, true, where), where);
  Output result = mean(square(centred, where), axes, keep_dims, where);
  if (correction != 0) {
    std::vector<std::int64_t> list = axes.list();
    for (std::int64_t axis = 0; axes.all() && axis < x.rank(); ++axis) list.push_back(axis);
    for (std::int64_t& axis : list) axis = from_front(axis, x.rank());
    const Output dims = gather(shape_of(x, where), int_vector(x.graph(), list, where), 0, where);
    const Output count = cast(prod(dims, {}, false, where), x.dtype(), where);
    const Output left = maximum(sub(count, correction, where), 0, where);
    result = mul(result, div(count, left, where), where);
  }
  return transaction.commit(result);
}

void register_statistic_ops(OpRegistry& registry) {
  registry.add({"cumsum", {}, infer_cumsum, grad_cumsum})
      .describe("the sums of all elements up to each, along an axis", {"x"})
      .required_attribute<std::int64_t>("axis", "from 0")
      .attribute("exclusive", false, "whether each leaves itself out")
      .attribute("reverse", false, "whether it goes from the end");
}

}  // namespace gradgraph
