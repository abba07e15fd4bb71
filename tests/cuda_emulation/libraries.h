#pragma once

#include <string_view>

namespace cuda_emulation {

/// What dlsym gives for a function of cuBLAS ("cublasCreate_v2"): the emulated one, or null. Has
/// the products of matrices, in float32, float64, float16 and bfloat16.
void* cublas_function(std::string_view name);

}  // namespace cuda_emulation
