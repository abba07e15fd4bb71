#include "device/shared/products.h"

#include <limits>

#include "core/checked.h"

namespace gradgraph {
namespace {

std::int64_t batch_size(const Shape& shape) {
  std::int64_t count = 1;
  for (int axis = 0; axis + 2 < shape.rank(); ++axis) count *= shape[axis];
  return count;
}

/// Where in `operand` the matrix begins that meets batch `index` of `result`.
std::int64_t operand_offset(const Shape& operand, const Shape& result, std::int64_t index) {
  if (operand.rank() == 2) return 0;
  std::int64_t batch = 0, stride = 1;
  for (int axis = result.rank() - 3, own = operand.rank() - 3; own >= 0; --axis, --own) {
    if (operand[own] != 1) batch += index % result[axis] * stride;
    stride *= operand[own];
    index /= result[axis];
  }
  return batch * operand[operand.rank() - 2] * operand[operand.rank() - 1];
}

}  // namespace

Batches::Batches(const Shape& a, const Shape& b, const Shape& c)
    : a_(a), b_(b), c_(c), count_(static_cast<std::size_t>(batch_size(c))) {}

std::pair<std::int64_t, std::int64_t> Batches::operator[](std::size_t index) const {
  if (count_ == 1) return {0, 0};
  const auto batch = static_cast<std::int64_t>(index);
  return {operand_offset(a_, c_, batch), operand_offset(b_, c_, batch)};
}

Products products_of(const KernelSite& site) {
  const Shape &a = site.input_shape(0), &b = site.input_shape(1), &c = site.output_shape();
  Products p{.transpose_a = site.attribute<bool>("transpose_a"),
             .transpose_b = site.attribute<bool>("transpose_b")};
  p.rows = c[c.rank() - 2];
  p.columns = c[c.rank() - 1];
  p.inner = a[a.rank() - (p.transpose_a ? 2 : 1)];
  const std::int64_t count = batch_size(c);
  checked_mul(checked_mul(p.rows, p.columns), checked_mul(p.inner, count));
  // Against a single b, batches of rows are just more rows.
  const bool merge = batch_size(b) == 1 && batch_size(a) == count && !p.transpose_a &&
                     count * p.rows <= std::numeric_limits<std::int32_t>::max();
  if (merge) {
    p.rows *= count;
    return p;
  }
  p.batches = Batches(a, b, c);
  return p;
}

}  // namespace gradgraph
