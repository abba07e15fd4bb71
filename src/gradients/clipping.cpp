#include <cmath>

#include "core/text.h"
#include "gradgraph/gradients.h"
#include "gradgraph/ops.h"
#include "ops/builders.h"

namespace gradgraph {
namespace {

void require_norm(const char* function, double norm, SourceLocation where) {
  if (!(norm > 0) || !std::isfinite(norm))
    throw BuildError(fmt::format("{}: the norm must be positive, not {}", function, norm), where);
}

/// norm / max(|x|, norm) for an x of squared length `square_sum`: exactly 1 below the limit, and
/// with a gradient at 0, where that of the square root alone has none.
Output scale_to_norm(Output square_sum, double norm, SourceLocation where) {
  Output limit =
      constant(square_sum.graph(), Tensor::full(square_sum.dtype(), {}, norm), {}, where);
  return div(limit, sqrt(maximum(square_sum, square(limit, where), where), where), where);
}

Output square_sum(Output x, SourceLocation where) {
  return sum(square(x, where), {}, false, where);
}

}  // namespace

Output clip_by_value(Output x, double low, double high, SourceLocation where) {
  if (!(low <= high))
    throw BuildError(fmt::format("clip_by_value: [{}, {}] is no interval", low, high), where);
  return minimum(maximum(x, low, where), high, where);
}

Output clip_by_norm(Output x, double norm, SourceLocation where) {
  require_norm("clip_by_norm", norm, where);
  graph_of("clip_by_norm", {x}, where);
  return mul(x, scale_to_norm(square_sum(x, where), norm, where), where);
}

std::vector<Output> clip_by_global_norm(const std::vector<Output>& xs, double norm,
                                        SourceLocation where) {
  require_norm("clip_by_global_norm", norm, where);
  Output total;
  for (const Output& x : xs) {
    if (!x) continue;
    const Output part = square_sum(x, where);
    total = total ? add(total,
                        total.dtype() == part.dtype() ? part : cast(part, total.dtype(), where),
                        where)
                  : part;
  }
  if (!total) return xs;
  const Output scale = scale_to_norm(total, norm, where);
  std::vector<Output> clipped;
  for (const Output& x : xs) {
    if (!x)
      clipped.push_back(x);
    else
      clipped.push_back(
          mul(x, x.dtype() == scale.dtype() ? scale : cast(scale, x.dtype(), where), where));
  }
  return clipped;
}

}  // namespace gradgraph
