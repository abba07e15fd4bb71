#include "cuda_emulation/planted.h"

#include "device/cuda/launch.h"

namespace planted {
namespace {

using gradgraph::cuda::dynamic_shared;
using gradgraph::cuda::launch;

constexpr unsigned kAll = 0xFFFFFFFFu;

__global__ void reverse_kernel(const int* in, int* out) {
  __shared__ int kept[128];
  kept[threadIdx.x] = in[threadIdx.x];
  // __syncthreads() is missing
  out[threadIdx.x] = kept[127 - threadIdx.x];
}
__global__ void count_kernel(int* count) {
  __shared__ int own;
  if (threadIdx.x == 0) own = 0;
  __syncthreads();
  own += 1;  // not atomic
  __syncthreads();
  if (threadIdx.x == 0) *count = own;
}
__global__ void count_global_kernel(int* count) {
  if (threadIdx.x == 0) *count += 1;  // by all blocks
}
__global__ void past_kernel(const float* a, float* out, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i <= n) out[i] = a[i];  // < is meant
}
__global__ void shared_past_kernel(float* out) {
  __shared__ float kept[64];
  kept[threadIdx.x + 1] = 1;
  __syncthreads();
  out[threadIdx.x] = kept[threadIdx.x];
}
__global__ void pointer_past_kernel(float* out) {
  __shared__ float kept[64];
  float* const next = kept + 1;
  next[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = next[threadIdx.x];
}
__global__ void dynamic_past_kernel(float* out) {
  float* kept = dynamic_shared<float>();
  kept[threadIdx.x + 1] = 1;
  __syncthreads();
  out[threadIdx.x] = kept[threadIdx.x];
}
__global__ void branch_kernel(float* out, int n) {
  if (static_cast<int>(threadIdx.x) < n) {
    out[threadIdx.x] = 1;
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void early_kernel(float* out, int n) {
  if (static_cast<int>(threadIdx.x) >= n) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void shuffle_branch_kernel(float* out) {
  float value = static_cast<float>(threadIdx.x);
  if (threadIdx.x < 16) value = __shfl_down_sync(kAll, value, 1);
  out[threadIdx.x] = value;
  __syncthreads();
}
__global__ void short_kernel(float* out) {
  float value = 1;
  for (unsigned delta = 16; delta > 0; delta /= 2) value += __shfl_down_sync(kAll, value, delta);
  if (threadIdx.x == 0) *out = value;
}
__global__ void misaligned_kernel(const float* in, float* out) {
  *reinterpret_cast<float4*>(out) = *reinterpret_cast<const float4*>(in + 1);
}
__global__ void unwritten_kernel(float* out) { out[threadIdx.x] += 1; }
__global__ void float_atomics_kernel(const float* in, float* out, int n) {
  for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x))
    atomicAdd(out, in[i]);
}
__global__ void step_kernel(const float* in, float* out, int step) {
  out[threadIdx.x] = in[threadIdx.x] + static_cast<float>(step);
}

}  // namespace

cudaError_t reverse_without_barrier(const int* in, int* out, cudaStream_t stream) {
  return launch(reverse_kernel, 1, 128, 0, stream, in, out);
}
cudaError_t count_without_atomic(int* count, cudaStream_t stream) {
  return launch(count_kernel, 1, 64, 0, stream, count);
}
cudaError_t count_in_global_without_atomic(int* count, cudaStream_t stream) {
  return launch(count_global_kernel, 4, 32, 0, stream, count);
}
cudaError_t add_past_the_end(const float* a, float* out, int n, cudaStream_t stream) {
  return launch(past_kernel, static_cast<unsigned>(n) / 64 + 1, 64, 0, stream, a, out, n);
}
cudaError_t shared_past_the_end(float* out, cudaStream_t stream) {
  return launch(shared_past_kernel, 1, 64, 0, stream, out);
}
cudaError_t shared_past_the_end_by_pointer(float* out, cudaStream_t stream) {
  return launch(pointer_past_kernel, 1, 64, 0, stream, out);
}
cudaError_t dynamic_shared_past_the_end(float* out, cudaStream_t stream) {
  return launch(dynamic_past_kernel, 1, 64, 64 * sizeof(float), stream, out);
}
cudaError_t barrier_in_branch(float* out, int n, cudaStream_t stream) {
  return launch(branch_kernel, 1, 64, 0, stream, out, n);
}
cudaError_t early_return(float* out, int n, cudaStream_t stream) {
  return launch(early_kernel, 1, 64, 0, stream, out, n);
}
cudaError_t shuffle_in_branch(float* out, cudaStream_t stream) {
  return launch(shuffle_branch_kernel, 1, 32, 0, stream, out);
}
cudaError_t warp_too_short(float* out, cudaStream_t stream) {
  return launch(short_kernel, 1, 20, 0, stream, out);
}
cudaError_t misaligned(const float* in, float* out, cudaStream_t stream) {
  return launch(misaligned_kernel, 1, 1, 0, stream, in, out);
}
cudaError_t reads_unwritten(float* out, cudaStream_t stream) {
  return launch(unwritten_kernel, 1, 32, 0, stream, out);
}
cudaError_t float_atomics(const float* in, float* out, int n, cudaStream_t stream) {
  return launch(float_atomics_kernel, 1, 64, 0, stream, in, out, n);
}
cudaError_t add_step(const float* in, float* out, int step, cudaStream_t stream) {
  return launch(step_kernel, 1, 128, 0, stream, in, out, step);
}

}  // namespace planted
