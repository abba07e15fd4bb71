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
  Matrix block(std::int64_t row, std::int64_t column, std::int64_t height,
               std::int64_t width) const {
    return {data + (transposed ? column * stride + row : row * stride + column), height, width,
            stride, transposed};
  }
  operator Matrix<const T>() const requires(!std::is_const_v<T>) {
    return {data, rows, columns, stride, transposed};
  }
};

/// c = a b, or c += a b, on the calling thread alone.
void multiply(Matrix<const float> a, Matrix<const float> b, Matrix<float> c, bool add = false);
void multiply(Matrix<const double> a, Matrix<const double> b, Matrix<double> c, bool add = false);

/// c in rows x columns blocks. BLAS may round an element otherwise in a block of another size, so
/// their number depends on shapes alone.
struct ProductGrid {
  std::int64_t rows = 1, columns = 1;

  std::int64_t blocks() const { return rows * columns; }
};
/// How to cut a product with `inner` products for each of rows x columns elements into at most
/// `most` blocks.
ProductGrid grid_for(std::int64_t rows, std::int64_t columns, std::int64_t inner,
                     std::int64_t most);
/// Block `block` of a product.
template <class T>
void multiply_block(const ProductGrid& grid, std::int64_t block, Matrix<const T> a,
                    Matrix<const T> b, Matrix<T> c, bool add = false) {
  const std::int64_t row = block / grid.columns, column = block % grid.columns;
  const std::int64_t top = c.rows * row / grid.rows;
  const std::int64_t height = c.rows * (row + 1) / grid.rows - top;
  const std::int64_t left = c.columns * column / grid.columns;
  const std::int64_t width = c.columns * (column + 1) / grid.columns - left;
  multiply(a.block(top, 0, height, a.columns), b.block(0, left, b.rows, width),
           c.block(top, left, height, width), add);
}

/// The whole product in blocks on up to `threads` threads. (BLAS' own threads would allocate.)
void multiply_on(int threads, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
                 bool add = false);
void multiply_on(int threads, Matrix<const double> a, Matrix<const double> b, Matrix<double> c,
                 bool add = false);

/// Multiplications that a thread should at least have.
inline constexpr std::int64_t kProductGrain = 1 << 16;

/// Whether BLAS, whose sizes are 32 bits wide, can take such a matrix.
bool fits_blas(std::int64_t rows, std::int64_t columns);

/// Makes OpenBLAS use the best kernels that it has for this processor. Left to itself an OpenBLAS
/// older than the processor takes ones for SSE3 or AVX2; $OPENBLAS_CORETYPE overrules both.
void choose_blas_kernels();

}  // namespace gradgraph
