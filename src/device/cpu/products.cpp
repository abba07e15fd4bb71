#include "device/cpu/products.h"

#include "device/cpu/blas.h"

namespace gradgraph {
namespace {

std::int64_t batch_size(const Shape& shape) {
  std::int64_t count = 1;
  for (int axis = 0; axis + 2 < shape.rank(); ++axis) count *= shape[axis];
  return count;
}

/// The index of the matrix of `operand` that meets batch `index` of `result`.
std::int64_t operand_batch(const Shape& operand, const Shape& result, std::int64_t index) {
  std::int64_t batch = 0, stride = 1;
  for (int axis = result.rank() - 3, own = operand.rank() - 3; own >= 0; --axis, --own) {
    if (operand[own] != 1) batch += index % result[axis] * stride;
    stride *= operand[own];
    index /= result[axis];
  }
  return batch;
}

}  // namespace

Products products_of(const KernelSite& site) {
  const Shape &a = site.input_shape(0), &b = site.input_shape(1), &c = site.output_shape();
  Products p{.transpose_a = site.attribute<bool>("transpose_a"),
             .transpose_b = site.attribute<bool>("transpose_b")};
  p.rows = c[c.rank() - 2];
  p.columns = c[c.rank() - 1];
  p.inner = a[a.rank() - (p.transpose_a ? 2 : 1)];
  const std::int64_t count = batch_size(c);
  // Against a single b, batches of rows are just more rows.
  const bool merge = batch_size(b) == 1 && batch_size(a) == count && !p.transpose_a &&
                     fits_blas(count * p.rows, 1);
  if (merge) {
    p.rows *= count;
    p.batches = {{0, 0}};
    return p;
  }
  for (std::int64_t i = 0; i < count; ++i)
    p.batches.emplace_back(operand_batch(a, c, i) * p.rows * p.inner,
                           operand_batch(b, c, i) * p.inner * p.columns);
  return p;
}

}  // namespace gradgraph
