#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

/// What is used of cuBLAS. It is opened when the first product runs, so programs start without
/// it; these declarations, of versions 12 and 13, are all that is needed to build.
extern "C" {
struct cublasContext;
using cublasHandle_t = cublasContext*;
}

namespace gradgraph::cuda {

using cublasStatus = int;  ///< 0: success
/// The dtypes and modes that are used, as cuBLAS numbers them.
enum class CublasOperation : int { none = 0, transpose = 1 };
enum class CublasType : int { float32 = 0, float64 = 1, float16 = 2, bfloat16 = 14 };
enum class CublasCompute : int { float32 = 68, float64 = 70, tf32 = 77 };

/// The functions of libcublas.so, by what they are called there.
struct Cublas {
  const char* (*cublasGetStatusString)(cublasStatus);
  cublasStatus (*cublasCreate_v2)(cublasHandle_t*);
  cublasStatus (*cublasDestroy_v2)(cublasHandle_t);
  cublasStatus (*cublasSetStream_v2)(cublasHandle_t, cudaStream_t);
  cublasStatus (*cublasSetWorkspace_v2)(cublasHandle_t, void*, std::size_t);
  cublasStatus (*cublasGemmStridedBatchedEx)(cublasHandle_t, CublasOperation, CublasOperation,
                                             int m, int n, int k, const void* alpha,
                                             const void* a, CublasType a_type, int lda,
                                             long long stride_a, const void* b, CublasType b_type,
                                             int ldb, long long stride_b, const void* beta,
                                             void* c, CublasType c_type, int ldc,
                                             long long stride_c, int batches,
                                             CublasCompute compute, int algorithm);
};

/// Opens the library at the first call. Throws a KernelError that says what is missing.
const Cublas& cublas();
/// A function of the library, which it opens; null where it has none of that name.
void* cublas_function(const char* name);
/// Throws a KernelError that says what failed, unless all went well.
void check_cublas(cublasStatus status, const char* what);

}  // namespace gradgraph::cuda
