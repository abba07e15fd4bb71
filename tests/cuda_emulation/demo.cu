#include "cuda_emulation/demo.h"

#include <cfloat>

#include "device/cuda/launch.h"

namespace demo {
namespace {

using gradgraph::cuda::dynamic_shared;
using gradgraph::cuda::launch;

constexpr int kWarp = 32;
constexpr unsigned kAll = 0xFFFFFFFFu;
constexpr unsigned ceil_div(int a, int b) { return static_cast<unsigned>((a + b - 1) / b); }

struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
  static constexpr float none = 0;
};
struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
  static constexpr float none = -FLT_MAX;
};

/// The whole block's reduction, known to every thread. Shuffles within warps, then one warp over
/// the warps' results.
template <int kThreads, class F>
__device__ float block_reduce(float value, F combine) {
  static_assert(kThreads % kWarp == 0);
  __shared__ float partial[kThreads / kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp,
            warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int delta = kWarp / 2; delta > 0; delta /= 2)
    value = combine(value, __shfl_xor_sync(kAll, value, delta));
  __syncthreads();  // who still reads the last call's partials
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  value = lane < kThreads / kWarp ? partial[lane] : F::none;
  for (int delta = kWarp / 2; delta > 0; delta /= 2)
    value = combine(value, __shfl_xor_sync(kAll, value, delta));
  return value;
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(const float* __restrict__ in, float* out, int n) {
  float total = 0;
  for (int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x); i < n;
       i += static_cast<int>(gridDim.x) * kThreads)
    total += in[i];
  total = block_reduce<kThreads>(total, Sum{});
  if (threadIdx.x == 0) out[blockIdx.x] = total;
}

constexpr int kTile = 16;
__global__ void matmul_kernel(const float* a, const float* b, float* c, int m, int n, int k) {
  __shared__ float tile_a[kTile][kTile], tile_b[kTile][kTile + 1];
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int row = static_cast<int>(blockIdx.y) * kTile + y,
            column = static_cast<int>(blockIdx.x) * kTile + x;
  float sum = 0;
  for (int from = 0; from < k; from += kTile) {
    tile_a[y][x] = row < m && from + x < k ? a[row * k + from + x] : 0.0f;
    tile_b[y][x] = from + y < k && column < n ? b[(from + y) * n + column] : 0.0f;
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum += tile_a[y][i] * tile_b[i][x];
    __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;
}

/// Four elements at a time, the last few one by one.
template <class F>
__global__ void map_kernel(const float* a, const float* b, float* out, int n, F f) {
  const int stride = static_cast<int>(gridDim.x * blockDim.x);
  const int first = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const auto* a4 = reinterpret_cast<const float4*>(a);
  const auto* b4 = reinterpret_cast<const float4*>(b);
  auto* out4 = reinterpret_cast<float4*>(out);
  for (int i = first; i < n / 4; i += stride) {
    const float4 p = __ldg(a4 + i), q = __ldg(b4 + i);
    out4[i] = make_float4(f(p.x, q.x), f(p.y, q.y), f(p.z, q.z), f(p.w, q.w));
  }
  for (int i = n / 4 * 4 + first; i < n; i += stride) out[i] = f(a[i], b[i]);
}
struct AddRelu {
  __device__ float operator()(float a, float b) const { return fmaxf(a + b, 0.0f); }
};

struct Counter {
  std::uint32_t word[4];
};
/// Philox 4x32-10, Salmon et al. 2011.
__host__ __device__ inline Counter philox(Counter c, std::uint64_t key) {
  std::uint32_t low = static_cast<std::uint32_t>(key),
                high = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round, low += 0x9E3779B9u, high += 0xBB67AE85u) {
    const std::uint64_t p = 0xD2511F53ull * c.word[0], q = 0xCD9E8D57ull * c.word[2];
    c = {{static_cast<std::uint32_t>(q >> 32) ^ c.word[1] ^ low, static_cast<std::uint32_t>(q),
          static_cast<std::uint32_t>(p >> 32) ^ c.word[3] ^ high, static_cast<std::uint32_t>(p)}};
  }
  return c;
}
__global__ void random_kernel(std::uint32_t* out, int n, std::uint64_t key) {
  const int block = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (block * 4 >= n) return;  // there is no barrier
  const Counter words = philox({{static_cast<std::uint32_t>(block), 0, 0, 0}}, key);
  for (int i = 0; i < 4 && block * 4 + i < n; ++i) out[block * 4 + i] = words.word[i];
}

/// One block for a row, which it keeps in dynamic shared memory.
template <int kThreads>
__global__ void softmax_kernel(const float* in, float* out, int columns) {
  float* row = dynamic_shared<float>();
  in += static_cast<std::ptrdiff_t>(blockIdx.x) * columns;
  out += static_cast<std::ptrdiff_t>(blockIdx.x) * columns;
  float largest = Max::none;
  for (int i = static_cast<int>(threadIdx.x); i < columns; i += kThreads)
    largest = fmaxf(largest, row[i] = in[i]);
  largest = block_reduce<kThreads>(largest, Max{});
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < columns; i += kThreads)
    sum += row[i] = __expf(row[i] - largest);
  sum = block_reduce<kThreads>(sum, Sum{});
  for (int i = static_cast<int>(threadIdx.x); i < columns; i += kThreads) out[i] = row[i] / sum;
}

/// A row's variance: the same reduction twice.
template <int kThreads>
__global__ void variance_kernel(const float* in, float* out, int columns) {
  in += static_cast<std::ptrdiff_t>(blockIdx.x) * columns;
  float sum = 0, squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < columns; i += kThreads) sum += in[i];
  const float mean = block_reduce<kThreads>(sum, Sum{}) / static_cast<float>(columns);
  for (int i = static_cast<int>(threadIdx.x); i < columns; i += kThreads)
    squares += (in[i] - mean) * (in[i] - mean);
  squares = block_reduce<kThreads>(squares, Sum{});
  if (threadIdx.x == 0) out[blockIdx.x] = squares / static_cast<float>(columns);
}

/// Shared atomics, then global ones.
__global__ void histogram_kernel(const std::uint8_t* in, unsigned* counts, int n) {
  __shared__ unsigned own[256];
  own[threadIdx.x] = 0;
  __syncthreads();
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n;
       i += static_cast<int>(gridDim.x * blockDim.x))
    atomicAdd(&own[in[i]], 1u);
  __syncthreads();
  if (own[threadIdx.x] > 0) atomicAdd(&counts[threadIdx.x], own[threadIdx.x]);
}

/// An inclusive scan of up to 1024 values, with warps that hand on through shared memory.
__global__ void scan_kernel(const int* in, int* out, int n) {
  __shared__ int totals[kWarp];
  const int i = static_cast<int>(threadIdx.x), lane = i % kWarp, warp = i / kWarp;
  int value = i < n ? in[i] : 0;
  for (unsigned delta = 1; delta < kWarp; delta *= 2) {
    const int before = __shfl_up_sync(kAll, value, delta);
    if (lane >= static_cast<int>(delta)) value += before;
  }
  if (lane == kWarp - 1) totals[warp] = value;
  if (warp == 0 && lane >= static_cast<int>(blockDim.x) / kWarp) totals[lane] = 0;
  __syncthreads();
  const int whole = warp == 0 ? __reduce_add_sync(kAll, totals[lane]) : 0;
  int before = 0;
  for (int w = 0; w < warp; ++w) before += totals[w];
  if (i < n) out[i] = value + before;
  if (i == 0) out[n] = whole;
}

__constant__ float table[4];
__global__ void table_kernel(float* data, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) data[i] *= table[i % 4];
}

template <class F>
__global__ void for_each_kernel(float* data, int n, F f) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) data[i] = f(data[i]);
}

}  // namespace

cudaError_t sum_partial(const float* in, float* partials, int n, unsigned blocks,
                        cudaStream_t stream) {
  return launch(sum_kernel<128>, blocks, 128, 0, stream, in, partials, n);
}
cudaError_t sum(const float* in, float* out, int n, cudaStream_t stream) {
  return launch(sum_kernel<256>, 1, 256, 0, stream, in, out, n);
}
cudaError_t matmul(const float* a, const float* b, float* c, int m, int n, int k,
                   cudaStream_t stream) {
  const dim3 grid(ceil_div(n, kTile), ceil_div(m, kTile));
  return launch(matmul_kernel, grid, dim3(kTile, kTile), 0, stream, a, b, c, m, n, k);
}
cudaError_t add_relu(const float* a, const float* b, float* out, int n, unsigned blocks,
                     cudaStream_t stream) {
  return launch(map_kernel<AddRelu>, blocks, 128, 0, stream, a, b, out, n, AddRelu{});
}
cudaError_t random_words(std::uint32_t* out, int n, std::uint64_t key, cudaStream_t stream) {
  return launch(random_kernel, ceil_div(n, 4 * 128), 128, 0, stream, out, n, key);
}
cudaError_t softmax(const float* in, float* out, unsigned rows, int columns,
                    cudaStream_t stream) {
  return launch(softmax_kernel<64>, rows, 64, static_cast<std::size_t>(columns) * sizeof(float),
                stream, in, out, columns);
}
cudaError_t variance(const float* in, float* out, unsigned rows, int columns,
                     cudaStream_t stream) {
  return launch(variance_kernel<64>, rows, 64, 0, stream, in, out, columns);
}
cudaError_t histogram(const std::uint8_t* in, unsigned* counts, int n, cudaStream_t stream) {
  return launch(histogram_kernel, 3, 256, 0, stream, in, counts, n);
}
cudaError_t scan(const int* in, int* out, int n, cudaStream_t stream) {
  return launch(scan_kernel, 1, ceil_div(n, kWarp) * kWarp, 0, stream, in, out, n);
}
cudaError_t set_table(const float (&values)[4], cudaStream_t stream) {
  return cudaMemcpyToSymbolAsync(table, values, sizeof values, 0, cudaMemcpyHostToDevice, stream);
}
cudaError_t scale_by_table(float* data, int n, cudaStream_t stream) {
  return launch(table_kernel, ceil_div(n, 64), 64, 0, stream, data, n);
}
cudaError_t apply_double(float* data, int n, cudaStream_t stream) {
  const float factor = 2;
  const auto twice = [factor] __device__(float x) { return factor * x; };
  return launch(for_each_kernel<decltype(twice)>, ceil_div(n, 64), 64, 0, stream, data, n, twice);
}

}  // namespace demo
