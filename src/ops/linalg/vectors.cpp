#include <algorithm>
#include <limits>
#include <optional>

#include "core/text.h"
#include "ops/builders.h"

/// Lengths of vectors, and angles between them.
namespace gradgraph {
namespace {

/// Epsilon is a number of the dtype that lengths are calculated in.
void require_epsilon(std::string_view op, Output x, double epsilon, Where where) {
  const double least = x.dtype() == float64 ? std::numeric_limits<double>::min()
                                            : std::numeric_limits<float>::min();
  if (!(epsilon >= least && epsilon < std::numeric_limits<double>::infinity()))
    fail_to_build(op, x.graph(), fmt::format("an epsilon of {} is no number above 0", epsilon),
                  where);
}

/// Of x that is wide already.
Output length_of(Output x, const Axes& axes, bool keep_dims, Where where) {
  return flat_root(sum(square(x, where), axes, keep_dims, where), where);
}

/// wide(x) by its length, or by epsilon where it is shorter. Gradients of float16 have no room
/// for the inverse of a much smaller one.
Output unit_of(Output x, std::int64_t axis, double epsilon, Where where) {
  const Output from = wide(x, where), length = length_of(from, {axis}, true, where);
  const double least = x.dtype() == float16 ? 1e-4 : 0;
  return div(from, maximum(length, std::max(epsilon, least), where), where);
}

}  // namespace

Output norm(Output x, Axes axes, bool keep_dims, Where where) {
  BuildTransaction transaction(graph_of("norm", {x}, where));
  require_floating("norm", x, where);
  return transaction.commit(
      cast(length_of(wide(x, where), axes, keep_dims, where), x.dtype(), where));
}

Output l2_normalize(Output x, std::int64_t axis, double epsilon, Where where) {
  BuildTransaction transaction(graph_of("l2_normalize", {x}, where));
  require_floating("l2_normalize", x, where);
  require_epsilon("l2_normalize", x, epsilon, where);
  return transaction.commit(cast(unit_of(x, axis, epsilon, where), x.dtype(), where));
}

Output cosine_similarity(Output a, Output b, std::int64_t axis, double epsilon, Where where) {
  constexpr std::string_view kOp = "cosine_similarity";
  Graph& graph = graph_of(kOp, {a, b}, where);
  BuildTransaction transaction(graph);
  for (const Output& x : {a, b}) require_floating(kOp, x, where);
  if (a.dtype() != b.dtype())
    fail_to_build(kOp, graph, fmt::format("{} and {} differ", a.dtype(), b.dtype()), where);
  require_epsilon(kOp, a, epsilon, where);
  const int rank = std::max(a.rank(), b.rank());
  // Counted from the end it is the same one of both.
  const std::int64_t from_end = axis < 0 ? axis : axis - rank;
  const auto extent = [&](const Output& x) -> std::optional<std::int64_t> {
    if (from_end >= 0 || x.rank() + from_end < 0) return std::nullopt;
    return x.shape()[static_cast<int>(x.rank() + from_end)];
  };
  const auto of_a = extent(a), of_b = extent(b);
  if (!of_a || !of_b || (*of_a != any && *of_b != any && *of_a != *of_b))
    fail_to_build(
        kOp, graph,
        fmt::format("axis {} is not one that {} and {} both have", axis, a.shape(), b.shape()),
        where);
  const Output product =
      mul(unit_of(a, from_end, epsilon, where), unit_of(b, from_end, epsilon, where), where);
  return transaction.commit(cast(sum(product, {from_end}, false, where), a.dtype(), where));
}

}  // namespace gradgraph
