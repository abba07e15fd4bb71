#include <limits>

#include "core/text.h"
#include "ops/builders.h"

/// Reductions that are composed of others.
namespace gradgraph {

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
  const Output distance = sub(x, mean(x, axes, true, where), where);
  // What the mean was rounded by; so equal elements lie 0 from it. No gradient goes this way.
  const Output rest = stop_gradient(mean(distance, axes, true, where), where);
  const Output centred = sub(distance, rest, where);
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

Output stddev(Output x, Axes axes, bool keep_dims, double correction, Where where) {
  BuildTransaction transaction(graph_of("stddev", {x}, where));
  const Output variance = var(x, axes, keep_dims, correction, where);
  return transaction.commit(flat_root(variance, where));
}

Output flat_root(Output x, Where where) {
  const UnaryFunction root = [where](Output v) { return sqrt(v, where); };
  return apply_where(not_equal(x, 0, where), x, root, 0, 1, where);
}

}  // namespace gradgraph
