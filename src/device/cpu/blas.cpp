#include "device/cpu/blas.h"

#include <cblas.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif

// OpenBLAS with run-time detection has these, other BLAS libraries do not.
extern "C" {
__attribute__((weak)) void gotoblas_dynamic_init();
__attribute__((weak)) void gotoblas_dynamic_quit();
}

namespace gradgraph {
namespace {

/// `gemm` on row-major matrices; a transposed result is the product of the flipped operands.
template <class T, class Gemm>
void multiply_by(Gemm gemm, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool add) {
  if (c.transposed) {
    c = c.flip();
    std::swap(a, b);
    a = a.flip();
    b = b.flip();
  }
  if (c.rows == 0 || c.columns == 0) return;
  const auto size = [](std::int64_t n) {
    return static_cast<blasint>(std::max<std::int64_t>(n, 1));
  };
  const auto transpose = [](bool transposed) { return transposed ? CblasTrans : CblasNoTrans; };
  gemm(CblasRowMajor, transpose(a.transposed), transpose(b.transposed),
       static_cast<blasint>(c.rows), static_cast<blasint>(c.columns),
       static_cast<blasint>(a.columns), T{1}, a.data, size(a.stride), b.data, size(b.stride),
       add ? T{1} : T{0}, c.data, size(c.stride));
}

}  // namespace

void multiply(Matrix<const float> a, Matrix<const float> b, Matrix<float> c, bool add) {
  multiply_by<float>(cblas_sgemm, a, b, c, add);
}
void multiply(Matrix<const double> a, Matrix<const double> b, Matrix<double> c, bool add) {
  multiply_by<double>(cblas_dgemm, a, b, c, add);
}

bool fits_blas(std::int64_t rows, std::int64_t columns) {
  return std::max(rows, columns) <= std::numeric_limits<blasint>::max();
}

void choose_blas_kernels() {
#ifdef __x86_64__
  if (!gotoblas_dynamic_init || !gotoblas_dynamic_quit || std::getenv("OPENBLAS_CORETYPE"))
    return;
  const std::string_view core = openblas_get_corename();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const char* better = nullptr;
  if (avx512 && (core == "Prescott" || core == "Haswell" || core == "Zen"))
    better = "SkylakeX";
  else if (avx2 && core == "Prescott")
    better = "Haswell";
  if (!better) return;
  setenv("OPENBLAS_CORETYPE", better, 1);
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
  unsetenv("OPENBLAS_CORETYPE");
#endif
}

// Debian's OpenBLAS for OpenMP asks omp_get_max_threads() at each call, and stays on one thread
// inside a parallel region. That setting belongs to the calling thread, so nobody else sees it.
#ifdef _OPENMP
BlasThreads::BlasThreads(int threads) : before_(omp_get_max_threads()) {
  if (threads != before_) omp_set_num_threads(threads);
}
BlasThreads::~BlasThreads() {
  if (omp_get_max_threads() != before_) omp_set_num_threads(before_);
}
#else
BlasThreads::BlasThreads(int threads) : before_(threads) {}
BlasThreads::~BlasThreads() = default;
#endif

}  // namespace gradgraph
