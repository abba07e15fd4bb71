#include <cmath>
#include <limits>

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

void require_floating(const char* function, const Output& x, SourceLocation where) {
  if (!is_floating(x.dtype()))
    throw BuildError(fmt::format("{}: '{}' {}{} is not of a floating dtype", function, x.name(),
                                 x.dtype(), x.shape()),
                     where);
}

/// Where the absolute values of all elements add up to more than `large` or less than `small`,
/// they are multiplied by a power of two before they are squared: then neither overflows, and
/// nothing that matters vanishes.
struct Range {
  double large, shrink, small, grow, largest, smallest;
};
constexpr Range kFloat32 = {0x1p58, 0x1p-88, 0x1p-20, 0x1p82, 0x1p126, 0x1p-126};
constexpr Range kFloat64 = {0x1p450, 0x1p-600, 0x1p-400, 0x1p600, 0x1p1022, 0x1p-1022};

/// Clips by the joint norm of `xs`, which are all float32 or all float64. Below the limit they
/// stay what they are, to the bit, and the gradient at 0 is that of the identity.
std::vector<Output> clip_together(const std::vector<Output>& xs, double norm,
                                  SourceLocation line) {
  const DType dtype = xs.front().dtype();
  const Range& range = dtype == float32 ? kFloat32 : kFloat64;
  // Of so small a part of each that the sum does not overflow.
  constexpr double kPart = 0x1p-32;
  Output size, square_sum;
  for (const Output& x : xs) {
    const Output part = sum(abs(mul(x, kPart, line), line), {}, false, line);
    size = size ? add(size, part, line) : part;
  }
  const Output one = constant(size.graph(), Tensor::full(dtype, {}, 1), {}, line);
  // The result does not depend on it, so no gradient does.
  const Output scale = stop_gradient(
      where(greater(size, range.large * kPart, line), range.shrink,
            where(less(size, range.small * kPart, line), range.grow, one, line), line),
      line);

  std::vector<Output> scaled;
  for (const Output& x : xs) {
    scaled.push_back(mul(x, scale, line));
    const Output part = sum(square(scaled.back(), line), {}, false, line);
    square_sum = square_sum ? add(square_sum, part, line) : part;
  }
  const Output length = sqrt(maximum(square_sum, range.smallest, line), line);
  const Output limit = constant(size.graph(), Tensor::full(dtype, {}, norm), {}, line);
  const Output is_within =
      less_equal(length, minimum(mul(limit, scale, line), range.largest, line), line);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Output inverse = where(less(length, kInfinity, line), div(1, length, line),
                               std::numeric_limits<double>::quiet_NaN(), line);
  std::vector<Output> clipped;
  for (std::size_t i = 0; i < xs.size(); ++i)
    clipped.push_back(
        where(is_within, xs[i], mul(mul(scaled[i], inverse, line), limit, line), line));
  return clipped;
}

Output as(Output x, DType dtype, SourceLocation line) {
  return x.dtype() == dtype ? x : cast(x, dtype, line);
}

}  // namespace

Output clip_by_value(Output x, Number low, Number high, SourceLocation where) {
  const auto in_order = [](auto a, auto b) {
    if constexpr (std::same_as<decltype(a), decltype(b)>) return a <= b;
    return static_cast<double>(a) <= static_cast<double>(b);
  };
  if (!std::visit(in_order, low.value(), high.value()))
    throw BuildError(
        fmt::format("clip_by_value: [{}, {}] is no interval", text_of(low), text_of(high)),
        where);
  BuildTransaction transaction(graph_of("clip_by_value", {x}, where));
  return transaction.commit(minimum(maximum(x, low, where), high, where));
}

Output clip_by_norm(Output x, double norm, SourceLocation where) {
  require_norm("clip_by_norm", norm, where);
  BuildTransaction transaction(graph_of("clip_by_norm", {x}, where));
  require_floating("clip_by_norm", x, where);
  const DType dtype = x.dtype() == float64 ? float64 : float32;
  return transaction.commit(
      as(clip_together({as(x, dtype, where)}, norm, where).front(), x.dtype(), where));
}

std::vector<Output> clip_by_global_norm(const std::vector<Output>& xs, double norm,
                                        SourceLocation where) {
  require_norm("clip_by_global_norm", norm, where);
  DType common = float32;
  for (const Output& x : xs) {
    if (x) require_floating("clip_by_global_norm", x, where);
    if (x && x.dtype() == float64) common = float64;
  }
  std::vector<Output> together;
  for (const Output& x : xs)
    if (x) together.push_back(as(x, common, where));
  if (together.empty()) return xs;
  BuildTransaction transaction(together.front().graph());
  together = clip_together(together, norm, where);
  std::vector<Output> clipped = xs;
  auto next = together.begin();
  for (Output& x : clipped)
    if (x) x = as(*next++, x.dtype(), where);
  return transaction.commit(clipped);
}

}  // namespace gradgraph
