#include "device/cpu/matmul/blas.h"

#include <cblas.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <utility>

#include "device/cpu/isa/isa.h"
#include "device/cpu/matmul/one_thread.h"
#include "device/parallel.h"

// OpenBLAS with run-time detection has these, other BLAS libraries do not.
extern "C" {
__attribute__((weak)) void gotoblas_dynamic_init();
__attribute__((weak)) void gotoblas_dynamic_quit();
}

namespace gradgraph {
namespace {

/// OpenBLAS' AVX-512 kernels for small matrices allocate memory for the last columns where there
/// are up to half a vector beyond a multiple of whole ones. How many these are here.
template <class T>
std::int64_t columns_that_allocate(const Matrix<const T>& a, const Matrix<const T>& b,
                                   const Matrix<T>& c) {
  constexpr double kSmall = 100. * 100. * 100.;
  const bool is_small = static_cast<double>(c.rows) * static_cast<double>(c.columns) *
                            static_cast<double>(a.columns) <=
                        kSmall;
  constexpr std::int64_t kVector = 64 / sizeof(T);
  const std::int64_t rest = c.columns % kVector;
  return is_small && !a.transposed && !b.transposed && rest <= kVector / 2 ? rest : 0;
}

/// `gemm` on row-major matrices; a transposed result is the product of the flipped operands.
template <class T, class Gemm, class Gemv>
void multiply_by(Gemm gemm, Gemv gemv, Matrix<const T> a, Matrix<const T> b, Matrix<T> c,
                 bool add) {
  if (c.transposed) {
    c = c.flip();
    std::swap(a, b);
    a = a.flip();
    b = b.flip();
  }
  if (c.rows == 0 || c.columns == 0) return;
  if (a.columns == 0) {
    for (std::int64_t i = 0; i < c.rows && !add; ++i)
      std::fill_n(c.data + i * c.stride, c.columns, T{0});
    return;
  }
  const auto size = [](std::int64_t n) {
    return static_cast<blasint>(std::max<std::int64_t>(n, 1));
  };
  const auto transpose = [](bool transposed) { return transposed ? CblasTrans : CblasNoTrans; };
  [[maybe_unused]] const OneThread one_thread;
  if (const std::int64_t rest = columns_that_allocate(a, b, c); rest > 0) {
    const std::int64_t kept = c.columns - rest;
    multiply_by<T>(gemm, gemv, a, b.block(0, 0, b.rows, kept), c.block(0, 0, c.rows, kept), add);
    for (std::int64_t j = kept; j < c.columns; ++j)
      gemv(CblasRowMajor, CblasNoTrans, static_cast<blasint>(c.rows),
           static_cast<blasint>(a.columns), T{1}, a.data, size(a.stride), b.data + j,
           size(b.stride), add ? T{1} : T{0}, c.data + j, size(c.stride));
    return;
  }
  gemm(CblasRowMajor, transpose(a.transposed), transpose(b.transposed),
       static_cast<blasint>(c.rows), static_cast<blasint>(c.columns),
       static_cast<blasint>(a.columns), T{1}, a.data, size(a.stride), b.data, size(b.stride),
       add ? T{1} : T{0}, c.data, size(c.stride));
}

/// Multiplications that a block should at least have.
constexpr std::int64_t kBlockProducts = 1 << 17;

template <class T>
void multiply_blocks(int threads, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool add) {
  const ProductGrid grid = grid_for(c.rows, c.columns, a.columns, kMaxParts);
  parallel_for(grid.blocks(), 1, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block)
      multiply_block(grid, block, a, b, c, add);
  });
}

}  // namespace

/// The grid whose largest block is smallest; of equal ones that which reads least of a and b.
ProductGrid grid_for(std::int64_t rows, std::int64_t columns, std::int64_t inner,
                     std::int64_t most) {
  const std::int64_t blocks = std::clamp<std::int64_t>(rows * columns * inner / kBlockProducts, 1,
                                                       std::max<std::int64_t>(most, 1));
  ProductGrid best;
  const auto cost = [&](const ProductGrid& grid) {
    const std::int64_t height = (rows + grid.rows - 1) / grid.rows;
    const std::int64_t width = (columns + grid.columns - 1) / grid.columns;
    return std::pair(height * width, height + width);
  };
  for (std::int64_t count = 1; count <= blocks; ++count) {
    const ProductGrid grid = {count, blocks / count};
    if (cost(grid) < cost(best)) best = grid;
  }
  return best;
}

void multiply(Matrix<const float> a, Matrix<const float> b, Matrix<float> c, bool add) {
  multiply_by<float>(cblas_sgemm, cblas_sgemv, a, b, c, add);
}
void multiply(Matrix<const double> a, Matrix<const double> b, Matrix<double> c, bool add) {
  multiply_by<double>(cblas_dgemm, cblas_dgemv, a, b, c, add);
}

void multiply_on(int threads, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
                 bool add) {
  multiply_blocks(threads, a, b, c, add);
}
void multiply_on(int threads, Matrix<const double> a, Matrix<const double> b, Matrix<double> c,
                 bool add) {
  multiply_blocks(threads, a, b, c, add);
}

bool fits_blas(std::int64_t rows, std::int64_t columns) {
  return std::max(rows, columns) <= std::numeric_limits<blasint>::max();
}

void choose_blas_kernels() {
#ifdef __x86_64__
  if (!gotoblas_dynamic_init || !gotoblas_dynamic_quit || std::getenv("OPENBLAS_CORETYPE"))
    return;
  const std::string_view core = openblas_get_corename();
  const Isa isa = processor_isa();
  const char* better = nullptr;
  if (isa == Isa::avx512 && (core == "Prescott" || core == "Haswell" || core == "Zen"))
    better = "SkylakeX";
  else if (isa >= Isa::avx2 && core == "Prescott")
    better = "Haswell";
  if (!better) return;
  setenv("OPENBLAS_CORETYPE", better, 1);
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
  unsetenv("OPENBLAS_CORETYPE");
#endif
}

}  // namespace gradgraph
