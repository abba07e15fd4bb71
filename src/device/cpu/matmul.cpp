#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/text.h"
#include "device/cpu/blas.h"
#include "device/cpu/kernels.h"
#include "device/cpu/parallel.h"

namespace gradgraph {
namespace {

/// A batched product: for each batch the offsets of its matrices, and how these lie in memory.
struct Products {
  std::int64_t rows, inner, columns;
  bool transpose_a, transpose_b;
  /// Offsets into a and b; c's matrices follow each other.
  std::vector<std::pair<std::int64_t, std::int64_t>> batches;
};

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

/// Multiplications that a thread should at least have.
constexpr std::int64_t kProductGrain = 1 << 16;

template <class T>
Kernel make_blas_matmul(const KernelSite& site) {
  Products p = products_of(site);
  if (!fits_blas(p.rows, p.columns) || !fits_blas(p.inner, 1))
    throw KernelError("a dimension is beyond the 32 bits of BLAS");
  const auto one = [](const Products& of, int threads, const T* a, const T* b, T* c) {
    const Matrix<const T> left{a, of.rows, of.inner, of.transpose_a ? of.rows : of.inner,
                               of.transpose_a};
    const Matrix<const T> right{b, of.inner, of.columns, of.transpose_b ? of.inner : of.columns,
                                of.transpose_b};
    multiply_on(threads, left, right, Matrix<T>{c, of.rows, of.columns, of.columns});
  };
  return {[p = std::move(p), one, threads = site.threads()](const KernelArgs& args) {
    const T *a = args.input<T>(0), *b = args.input<T>(1);
    T* c = args.output<T>();
    const auto count = static_cast<std::int64_t>(p.batches.size());
    const std::int64_t work = p.rows * p.columns * p.inner, size = p.rows * p.columns;
    // With fewer batches than threads each product is split up instead.
    const bool split = count < threads;
    const auto some = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto [offset_a, offset_b] = p.batches[static_cast<std::size_t>(i)];
        one(p, split ? threads : 1, a + offset_a, b + offset_b, c + i * size);
      }
    };
    if (split)
      some(0, count);
    else
      parallel_for(count, kProductGrain / std::max<std::int64_t>(work, 1), threads, some);
  }};
}

/// Integers wrap around, as elsewhere.
template <class T>
Kernel make_integer_matmul(const KernelSite& site) {
  using Wide = std::make_unsigned_t<T>;
  Products p = products_of(site);
  return {[p = std::move(p), threads = site.threads()](const KernelArgs& args) {
    const auto count = static_cast<std::int64_t>(p.batches.size());
    const std::int64_t work = std::max<std::int64_t>(p.inner * p.columns, 1);
    const std::int64_t step_a = p.transpose_a ? p.rows : 1, row_a = p.transpose_a ? 1 : p.inner;
    const std::int64_t step_b = p.transpose_b ? 1 : p.columns;
    const std::int64_t column_b = p.transpose_b ? p.inner : 1;
    parallel_for(
        count * p.rows, kProductGrain / work, threads, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t row = begin; row < end; ++row) {
            const auto [offset_a, offset_b] = p.batches[static_cast<std::size_t>(row / p.rows)];
            const T* a = args.input<T>(0) + offset_a + row % p.rows * row_a;
            const T* b = args.input<T>(1) + offset_b;
            T* c = args.output<T>() + row * p.columns;
            std::fill_n(c, p.columns, T{0});
            for (std::int64_t k = 0; k < p.inner; ++k)
              for (std::int64_t j = 0; j < p.columns; ++j)
                c[j] = static_cast<T>(static_cast<Wide>(c[j]) +
                                      static_cast<Wide>(a[k * step_a]) *
                                          static_cast<Wide>(b[k * step_b + j * column_b]));
          }
        });
  }};
}

}  // namespace

void register_matmul_kernels(KernelRegistry& registry) {
  choose_blas_kernels();
  registry.add("matmul", kCpu, {float32}, make_blas_matmul<float>);
  registry.add("matmul", kCpu, {float64}, make_blas_matmul<double>);
  registry.add("matmul", kCpu, {int32}, make_integer_matmul<std::int32_t>);
  registry.add("matmul", kCpu, {int64}, make_integer_matmul<std::int64_t>);
}

}  // namespace gradgraph
