#include <algorithm>
#include <type_traits>
#include <utility>

#include "device/cpu/kernels.h"
#include "device/cpu/matmul/blas.h"
#include "device/parallel.h"
#include "device/shared/products.h"

namespace gradgraph {
namespace {

template <class T>
Kernel make_blas_matmul(const KernelSite& site) {
  Products p = products_of(site);
  if (!fits_blas(p.rows, p.columns) || !fits_blas(p.inner, 1))
    throw KernelError("a dimension is beyond the 32 bits of BLAS");
  const auto count = static_cast<std::int64_t>(p.batches.size());
  // Few products are cut into blocks, so that as many threads have work.
  const ProductGrid grid = grid_for(p.rows, p.columns, p.inner,
                                    (kMaxParts + count - 1) / std::max<std::int64_t>(count, 1));
  return {[p = std::move(p), count, grid, threads = site.threads()](const KernelArgs& args) {
    const std::int64_t blocks = grid.blocks(), work = p.rows * p.columns * p.inner / blocks;
    parallel_for(
        count * blocks, kProductGrain / std::max<std::int64_t>(work, 1), threads,
        [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t batch = i / blocks;
            const auto [offset_a, offset_b] = p.batches[static_cast<std::size_t>(batch)];
            const Matrix<const T> a{args.input<T>(0) + offset_a, p.rows, p.inner,
                                    p.transpose_a ? p.rows : p.inner, p.transpose_a};
            const Matrix<const T> b{args.input<T>(1) + offset_b, p.inner, p.columns,
                                    p.transpose_b ? p.inner : p.columns, p.transpose_b};
            T* c = args.output<T>() + batch * p.rows * p.columns;
            multiply_block(grid, i % blocks, a, b, Matrix<T>{c, p.rows, p.columns, p.columns});
          }
        });
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
