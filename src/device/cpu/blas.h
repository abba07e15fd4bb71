#pragma once

#include <cstdint>
#include <type_traits>

/// Matrix products through BLAS.
namespace gradgraph {

/// `rows` x `columns` elements in memory: (i, j) is data[i * stride + j], or data[j * stride + i]
/// where `transposed`.
template <class T>
struct Matrix {
  T* data = nullptr;
  std::int64_t rows = 0, columns = 0, stride = 0;
  bool transposed = false;

  Matrix flip() const { return {data, columns, rows, stride, !transposed}; }
  operator Matrix<const T>() const requires(!std::is_const_v<T>) {
    return {data, rows, columns, stride, transposed};
  }
};

/// c = a b, or c += a b. Inside a parallel region it runs on the calling thread alone.
void multiply(Matrix<const float> a, Matrix<const float> b, Matrix<float> c, bool add = false);
void multiply(Matrix<const double> a, Matrix<const double> b, Matrix<double> c, bool add = false);

/// Whether BLAS, whose sizes are 32 bits wide, can take such a matrix.
bool fits_blas(std::int64_t rows, std::int64_t columns);

/// Makes OpenBLAS use the best kernels that it has for this processor. Left to itself an OpenBLAS
/// older than the processor takes ones for SSE3 or AVX2; $OPENBLAS_CORETYPE overrules both.
void choose_blas_kernels();

/// Products that are called while this lives use up to `threads` threads of the OpenMP pool.
class BlasThreads {
 public:
  explicit BlasThreads(int threads);
  ~BlasThreads();
  BlasThreads(const BlasThreads&) = delete;
  BlasThreads& operator=(const BlasThreads&) = delete;

 private:
  int before_;
};

}  // namespace gradgraph
