#pragma once

#include <cuda_runtime_api.h>

/// Kernels with one mistake each, and the launches that show it.
namespace planted {

cudaError_t reverse_without_barrier(const int* in, int* out, cudaStream_t stream);
cudaError_t count_without_atomic(int* count, cudaStream_t stream);
cudaError_t count_in_global_without_atomic(int* count, cudaStream_t stream);
cudaError_t add_past_the_end(const float* a, float* out, int n, cudaStream_t stream);
cudaError_t shared_past_the_end(float* out, cudaStream_t stream);
cudaError_t shared_past_the_end_by_pointer(float* out, cudaStream_t stream);
cudaError_t dynamic_shared_past_the_end(float* out, cudaStream_t stream);
cudaError_t barrier_in_branch(float* out, int n, cudaStream_t stream);
cudaError_t early_return(float* out, int n, cudaStream_t stream);
cudaError_t shuffle_in_branch(float* out, cudaStream_t stream);
cudaError_t warp_too_short(float* out, cudaStream_t stream);
cudaError_t misaligned(const float* in, float* out, cudaStream_t stream);
cudaError_t reads_unwritten(float* out, cudaStream_t stream);
cudaError_t float_atomics(const float* in, float* out, int n, cudaStream_t stream);
/// No mistake by itself: but a capture keeps `step`.
cudaError_t add_step(const float* in, float* out, int step, cudaStream_t stream);

}  // namespace planted
