#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

/// Kernels that use what CUDA has, to test the emulator by; each issues one launch.
namespace demo {

cudaError_t sum(const float* in, float* out, int n, cudaStream_t stream);
cudaError_t sum_partial(const float* in, float* partials, int n, unsigned blocks,
                        cudaStream_t stream);
cudaError_t matmul(const float* a, const float* b, float* c, int m, int n, int k,
                   cudaStream_t stream);
cudaError_t add_relu(const float* a, const float* b, float* out, int n, unsigned blocks,
                     cudaStream_t stream);
cudaError_t random_words(std::uint32_t* out, int n, std::uint64_t key, cudaStream_t stream);
cudaError_t softmax(const float* in, float* out, unsigned rows, int columns, cudaStream_t stream);
cudaError_t variance(const float* in, float* out, unsigned rows, int columns,
                     cudaStream_t stream);
cudaError_t histogram(const std::uint8_t* in, unsigned* counts, int n, cudaStream_t stream);
cudaError_t scan(const int* in, int* out, int n, cudaStream_t stream);
cudaError_t scale_by_table(float* data, int n, cudaStream_t stream);
cudaError_t set_table(const float (&table)[4], cudaStream_t stream);
cudaError_t apply_double(float* data, int n, cudaStream_t stream);

}  // namespace demo
