#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "device/cuda/issue.h"
#include "device/cuda/kernels.h"
#include "device/shared/products.h"

/// Products of matrices: cuBLAS where there are its types, else a tile for each block.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

/// Batches whose matrices lie at equal distances, 0 where one serves all: one call of cuBLAS.
struct Series {
  int64_t first_a, first_b, first_c;
  int64_t step_a, step_b;
  int count;
};

/// The batches of a product as few series, in their order.
std::vector<Series> series_of(const Products& p) {
  std::vector<Series> all;
  for (std::size_t i = 0; i < p.batches.size(); ++i) {
    const auto [a, b] = p.batches[i];
    if (!all.empty() && all.back().count < std::numeric_limits<int>::max()) {
      Series& last = all.back();
      const int64_t step_a = (a - last.first_a), step_b = (b - last.first_b);
      if (last.count == 1) {
        last.step_a = step_a;
        last.step_b = step_b;
      }
      if (last.step_a * last.count == step_a && last.step_b * last.count == step_b &&
          last.step_a >= 0 && last.step_b >= 0) {
        ++last.count;
        continue;
      }
      if (last.count == 1) last.step_a = last.step_b = 0;
    }
    all.push_back({a, b, static_cast<int64_t>(i) * p.rows * p.columns, 0, 0, 1});
  }
  return all;
}

template <class T>
struct Blas;
template <>
struct Blas<float> {
  using Scale = float;
  static constexpr auto type = CublasType::float32;
  static constexpr auto compute = CublasCompute::float32;
};
template <>
struct Blas<double> {
  using Scale = double;
  static constexpr auto type = CublasType::float64;
  static constexpr auto compute = CublasCompute::float64;
};
template <>
struct Blas<Half> : Blas<float> {
  static constexpr auto type = CublasType::float16;
};
template <>
struct Blas<BFloat16> : Blas<float> {
  static constexpr auto type = CublasType::bfloat16;
};

/// cuBLAS counts columns first, so it is asked for the transposed product: c' = b' a'.
template <class T>
Kernel make_matmul(const KernelSite& site) {
  const Products p = products_of(site);
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  if (p.rows > kMost || p.columns > kMost || p.inner > kMost)
    throw KernelError("a dimension is beyond the 32 bits of cuBLAS");
  const int64_t count = site.output_shape().num_elements();
  if (count == 0) return {[](const KernelArgs&) {}};
  if (p.inner == 0)
    return {[bytes = static_cast<std::size_t>(count) * sizeof(T)](const KernelArgs& args) {
      stream_of(args).clear(args.outputs[0], bytes);
    }};
  const auto operation = [](bool transposes) {
    return transposes ? CublasOperation::transpose : CublasOperation::none;
  };
  const auto to_int = [](int64_t size) { return static_cast<int>(size); };
  return {[=, series = series_of(p), rows = to_int(p.rows), columns = to_int(p.columns),
           inner = to_int(p.inner), operation_a = operation(p.transpose_a),
           operation_b = operation(p.transpose_b),
           compute = std::is_same_v<T, float> && site.may_round()
                         ? CublasCompute::tf32
                         : Blas<T>::compute](const KernelArgs& args) {
    const typename Blas<T>::Scale one = 1, zero = 0;
    const int leading_a = operation_a == CublasOperation::none ? inner : rows;
    const int leading_b = operation_b == CublasOperation::none ? columns : inner;
    for (const Series& s : series)
      check_cublas(cublas().cublasGemmStridedBatchedEx(
                       stream_of(args).cublas(), operation_b, operation_a, columns, rows, inner,
                       &one, args.input<T>(1) + s.first_b, Blas<T>::type, leading_b, s.step_b,
                       args.input<T>(0) + s.first_a, Blas<T>::type, leading_a, s.step_a, &zero,
                       args.output<T>() + s.first_c, Blas<T>::type, columns,
                       static_cast<long long>(rows) * columns, s.count, compute, -1),
                   "multiplying matrices");
  }};
}

// --- Integers ----------------------------------------------------------------------------------

constexpr int kTile = 16;

/// How the elements of a product's matrices are found.
struct IntegerProduct {
  int64_t rows, inner, columns;
  int64_t row_a, step_a, step_b, column_b;
};

/// A block for each tile of c. Integers wrap around.
template <class T>
__global__ void __launch_bounds__(kTile* kTile)
    multiply_integers(const T* a, const T* b, T* c, IntegerProduct p) {
  using Wide = std::make_unsigned_t<T>;
  __shared__ T tile_a[kTile][kTile], tile_b[kTile][kTile];
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t tiles = (p.columns + kTile - 1) / kTile;
  for (int64_t task = blockIdx.x; task < tiles * ((p.rows + kTile - 1) / kTile);
       task += gridDim.x) {
    const int64_t row = task / tiles * kTile + y, column = task % tiles * kTile + x;
    Wide sum = 0;
    for (int64_t from = 0; from < p.inner; from += kTile) {
      const bool has_a = row < p.rows && from + x < p.inner;
      const bool has_b = column < p.columns && from + y < p.inner;
      tile_a[y][x] = has_a ? a[row * p.row_a + (from + x) * p.step_a] : T{0};
      tile_b[y][x] = has_b ? b[(from + y) * p.step_b + column * p.column_b] : T{0};
      __syncthreads();
      for (int k = 0; k < kTile; ++k)
        sum += static_cast<Wide>(tile_a[y][k]) * static_cast<Wide>(tile_b[k][x]);
      __syncthreads();
    }
    if (row < p.rows && column < p.columns) c[row * p.columns + column] = static_cast<T>(sum);
  }
}

template <class T>
Kernel make_integer_matmul(const KernelSite& site) {
  const Products p = products_of(site);
  const IntegerProduct one{.rows = p.rows,
                           .inner = p.inner,
                           .columns = p.columns,
                           .row_a = p.transpose_a ? 1 : p.inner,
                           .step_a = p.transpose_a ? p.rows : 1,
                           .step_b = p.transpose_b ? 1 : p.columns,
                           .column_b = p.transpose_b ? p.inner : 1};
  const int64_t tiles = (p.rows + kTile - 1) / kTile * ((p.columns + kTile - 1) / kTile);
  if (tiles == 0) return {[](const KernelArgs&) {}};
  return {[=, batches = p.batches](const KernelArgs& args) {
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const auto [a, b] = batches[i];
      issue(args, multiply_integers<T>, blocks_for(tiles, 1), dim3(kTile, kTile), 0,
            args.input<T>(0) + a, args.input<T>(1) + b,
            args.output<T>() + static_cast<int64_t>(i) * one.rows * one.columns, one);
    }
  }};
}

}  // namespace

void register_matmul_kernels(KernelRegistry& registry) {
  registry.add("matmul", kCuda, {float32}, make_matmul<float>);
  registry.add("matmul", kCuda, {float64}, make_matmul<double>);
  registry.add("matmul", kCuda, {float16}, make_matmul<Half>);
  registry.add("matmul", kCuda, {bfloat16}, make_matmul<BFloat16>);
  registry.add("matmul", kCuda, {int32}, make_integer_matmul<std::int32_t>);
  registry.add("matmul", kCuda, {int64}, make_integer_matmul<int64_t>);
}

}  // namespace gradgraph::cuda
