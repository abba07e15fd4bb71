/// cuBLAS's matrix products as work of a stream: checked as the real ones check, then plain loops
/// that sum in double. Real sums round in an order of their own, so tests compare with tolerance.
/// Enumerations are passed as integers, by the numbers that cuBLAS 12 and 13 give them.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <utility>

#include "cuda_emulation/access_check.h"
#include "cuda_emulation/engine.h"
#include "cuda_emulation/libraries.h"
#include "gradgraph/half.h"

/// What handles point to.
struct cublasContext {
  cudaStream_t stream = nullptr;
  bool pointers_on_device = false;
};

namespace {

using cuda_emulation::Kind;
using cuda_emulation::Work;
using Handle = cublasContext*;
using gradgraph::BFloat16;
using gradgraph::Half;

/// A float32, of which products see 11 significant bits, rounded as cuBLAS' conversion does.
struct Tf32 {
  float value;
  explicit operator double() const {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (!std::isfinite(value)) return static_cast<double>(value);
    return static_cast<double>(std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu));
  }
};

enum Status {
  kSuccess = 0,
  kNotInitialized = 1,
  kInvalidValue = 7,
  kFailed = 13,
  kUnsupported = 15
};
enum Type { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBfloat16 = 14 };
enum Compute { kCompute32 = 68, kCompute64 = 70, kComputeTf32 = 77 };

struct Matrix {
  const void* data;
  int rows, columns, leading;
  long long stride;  // to the next one of a batch
  std::size_t bytes(int batch, std::size_t element) const {
    if (rows == 0 || columns == 0 || batch == 0) return 0;
    const long long last = stride * (batch - 1) + static_cast<long long>(leading) * (columns - 1);
    return static_cast<std::size_t>(last + rows) * element;
  }
};

/// C := alpha op(A) op(B) + beta C for each of a batch, all of them by columns.
struct Product {
  bool transposes_a, transposes_b;
  int m, n, k;
  const void *alpha, *beta;
  Matrix a, b, c;
  int batch;
};

/// Tells the access checks of all columns of a batch of matrices.
std::string note(const Matrix& matrix, int batch, std::size_t element,
                 std::string (*access)(const void*, std::size_t)) {
  const auto* const data = static_cast<const std::byte*>(matrix.data);
  const auto bytes = static_cast<std::size_t>(matrix.rows) * element;
  for (int item = 0; item < batch; ++item)
    for (int column = 0; column < matrix.columns; ++column) {
      const long long offset =
          item * matrix.stride + static_cast<long long>(column) * matrix.leading;
      const std::string error = access(data + offset * static_cast<long long>(element), bytes);
      if (!error.empty()) return error;
    }
  return "";
}

/// Elements of A and B are T, of C To; alpha and beta are Scale.
template <class T, class To, class Scale>
std::string multiply(const Product& p, double by, double keep) {
  const auto* const a = static_cast<const T*>(p.a.data);
  const auto* const b = static_cast<const T*>(p.b.data);
  auto* const c = static_cast<To*>(const_cast<void*>(p.c.data));
  const std::ptrdiff_t lda = p.a.leading, ldb = p.b.leading, ldc = p.c.leading;
  for (int item = 0; item < p.batch; ++item)
    for (int j = 0; j < p.n; ++j)
      for (int i = 0; i < p.m; ++i) {
        double sum = 0;
        for (int l = 0; l < p.k; ++l)
          sum += static_cast<double>(
                     a[item * p.a.stride + (p.transposes_a ? l + i * lda : i + l * lda)]) *
                 static_cast<double>(
                     b[item * p.b.stride + (p.transposes_b ? j + l * ldb : l + j * ldb)]);
        To& to = c[item * p.c.stride + i + j * ldc];
        // A beta of 0 does not read what is there, which may be NaN.
        const double kept = keep == 0 ? 0.0 : keep * static_cast<double>(to);
        to = static_cast<To>(static_cast<Scale>(by * sum + kept));
      }
  using cuda_emulation::note_read;
  std::string error = note(p.a, p.batch, sizeof(T), note_read);
  if (error.empty()) error = note(p.b, p.batch, sizeof(T), note_read);
  if (error.empty() && keep != 0) error = note(p.c, p.batch, sizeof(To), note_read);
  if (error.empty()) error = note(p.c, p.batch, sizeof(To), cuda_emulation::note_written);
  return error;
}

template <class T, class To, class Scale>
int issue_product(Handle handle, const Product& p) {
  if (!handle) return kNotInitialized;
  if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0) return kInvalidValue;
  const std::pair<Matrix, std::size_t> matrices[] = {
      {p.a, sizeof(T)}, {p.b, sizeof(T)}, {p.c, sizeof(To)}};
  for (const auto& [matrix, element] : matrices) {
    if (matrix.leading < std::max(1, matrix.rows)) return kInvalidValue;
    const std::size_t bytes = matrix.bytes(p.batch, element);
    if (bytes == 0 || cuda_emulation::is_device(matrix.data, bytes)) continue;
    cuda_emulation::fail_device("cuBLAS gets a matrix that is not in one piece of device memory");
    return kFailed;
  }
  const auto value = [](const void* scale) {
    return static_cast<double>(*static_cast<const Scale*>(scale));
  };
  const bool later = handle->pointers_on_device;
  const double by = later ? 0 : value(p.alpha), keep = later ? 0 : value(p.beta);
  const auto run = [=](const Work&) -> std::string {
    return multiply<T, To, Scale>(p, later ? value(p.alpha) : by, later ? value(p.beta) : keep);
  };
  // Scales are frozen in a captured product, as a kernel's plain arguments are.
  std::vector<std::byte> scales(2 * sizeof(double));
  std::memcpy(scales.data(), &by, sizeof by);
  std::memcpy(scales.data() + sizeof by, &keep, sizeof keep);
  const cudaError_t error = cuda_emulation::issue(
      handle->stream, {.kind = Kind::library, .arguments = {std::move(scales)}, .run = run});
  return error == cudaSuccess ? kSuccess : kFailed;
}

Product product_of(int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int lda,
                   long long stride_a, const void* b, int ldb, long long stride_b,
                   const void* beta, void* c, int ldc, long long stride_c, int batch) {
  const bool transposes_a = ta != 0, transposes_b = tb != 0;
  return {transposes_a,
          transposes_b,
          m,
          n,
          k,
          alpha,
          beta,
          {a, transposes_a ? k : m, transposes_a ? m : k, lda, stride_a},
          {b, transposes_b ? n : k, transposes_b ? k : n, ldb, stride_b},
          {c, m, n, ldc, stride_c},
          batch};
}

}  // namespace

extern "C" {

int cublasCreate_v2(Handle* handle) { return *handle = new cublasContext, kSuccess; }
int cublasDestroy_v2(Handle handle) { return delete handle, kSuccess; }
int cublasSetStream_v2(Handle handle, cudaStream_t stream) {
  return handle->stream = stream, kSuccess;
}
int cublasSetPointerMode_v2(Handle handle, int mode) {
  return handle->pointers_on_device = mode == 1, kSuccess;
}
int cublasSetMathMode(Handle, int) { return kSuccess; }
int cublasSetWorkspace_v2(Handle, void* memory, std::size_t bytes) {
  return bytes == 0 || cuda_emulation::is_device(memory, bytes) ? kSuccess : kInvalidValue;
}
int cublasGetVersion_v2(Handle, int* version) { return *version = 130000, kSuccess; }
const char* cublasGetStatusString(int status) {
  return status == kSuccess          ? "success"
         : status == kNotInitialized ? "the library was not initialized"
         : status == kInvalidValue   ? "an unsupported value or parameter was passed"
         : status == kUnsupported    ? "the functionality requested is not supported"
                                     : "the emulated product failed";
}

int cublasSgemm_v2(Handle handle, int ta, int tb, int m, int n, int k, const float* alpha,
                   const float* a, int lda, const float* b, int ldb, const float* beta, float* c,
                   int ldc) {
  return issue_product<float, float, float>(
      handle, product_of(ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1));
}
int cublasDgemm_v2(Handle handle, int ta, int tb, int m, int n, int k, const double* alpha,
                   const double* a, int lda, const double* b, int ldb, const double* beta,
                   double* c, int ldc) {
  return issue_product<double, double, double>(
      handle, product_of(ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1));
}
int cublasSgemmStridedBatched(Handle handle, int ta, int tb, int m, int n, int k,
                              const float* alpha, const float* a, int lda, long long stride_a,
                              const float* b, int ldb, long long stride_b, const float* beta,
                              float* c, int ldc, long long stride_c, int batch) {
  return issue_product<float, float, float>(
      handle, product_of(ta, tb, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc,
                         stride_c, batch));
}
int cublasDgemmStridedBatched(Handle handle, int ta, int tb, int m, int n, int k,
                              const double* alpha, const double* a, int lda, long long stride_a,
                              const double* b, int ldb, long long stride_b, const double* beta,
                              double* c, int ldc, long long stride_c, int batch) {
  return issue_product<double, double, double>(
      handle, product_of(ta, tb, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc,
                         stride_c, batch));
}
int cublasGemmStridedBatchedEx(Handle handle, int ta, int tb, int m, int n, int k,
                               const void* alpha, const void* a, int type_a, int lda,
                               long long stride_a, const void* b, int type_b, int ldb,
                               long long stride_b, const void* beta, void* c, int type_c, int ldc,
                               long long stride_c, int batch, int compute, int) {
  const Product product = product_of(ta, tb, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b,
                                     beta, c, ldc, stride_c, batch);
  if (type_a != type_b) return kUnsupported;
  if (compute == kCompute64 && type_a == kFloat64 && type_c == kFloat64)
    return issue_product<double, double, double>(handle, product);
  if (compute == kComputeTf32 && type_a != kFloat32) return kUnsupported;
  if (compute != kCompute32 && compute != kComputeTf32) return kUnsupported;
  if (type_a == kFloat32 && type_c == kFloat32)
    return compute == kComputeTf32 ? issue_product<Tf32, float, float>(handle, product)
                                   : issue_product<float, float, float>(handle, product);
  if (type_a == kFloat16 && type_c == kFloat16)
    return issue_product<Half, Half, float>(handle, product);
  if (type_a == kFloat16 && type_c == kFloat32)
    return issue_product<Half, float, float>(handle, product);
  if (type_a == kBfloat16 && type_c == kBfloat16)
    return issue_product<BFloat16, BFloat16, float>(handle, product);
  if (type_a == kBfloat16 && type_c == kFloat32)
    return issue_product<BFloat16, float, float>(handle, product);
  return kUnsupported;
}
int cublasGemmEx(Handle handle, int ta, int tb, int m, int n, int k, const void* alpha,
                 const void* a, int type_a, int lda, const void* b, int type_b, int ldb,
                 const void* beta, void* c, int type_c, int ldc, int compute, int algorithm) {
  return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, type_a, lda, 0, b, type_b,
                                    ldb, 0, beta, c, type_c, ldc, 0, 1, compute, algorithm);
}

}  // extern "C"

namespace cuda_emulation {

void* cublas_function(std::string_view name) {
  static constexpr auto address = [](auto* function) {
    return reinterpret_cast<void*>(function);
  };
  static const std::map<std::string_view, void*> functions = {
      {"cublasCreate_v2", address(cublasCreate_v2)},
      {"cublasDestroy_v2", address(cublasDestroy_v2)},
      {"cublasSetStream_v2", address(cublasSetStream_v2)},
      {"cublasSetPointerMode_v2", address(cublasSetPointerMode_v2)},
      {"cublasSetMathMode", address(cublasSetMathMode)},
      {"cublasSetWorkspace_v2", address(cublasSetWorkspace_v2)},
      {"cublasGetVersion_v2", address(cublasGetVersion_v2)},
      {"cublasGetStatusString", address(cublasGetStatusString)},
      {"cublasSgemm_v2", address(cublasSgemm_v2)},
      {"cublasDgemm_v2", address(cublasDgemm_v2)},
      {"cublasSgemmStridedBatched", address(cublasSgemmStridedBatched)},
      {"cublasDgemmStridedBatched", address(cublasDgemmStridedBatched)},
      {"cublasGemmStridedBatchedEx", address(cublasGemmStridedBatchedEx)},
      {"cublasGemmEx", address(cublasGemmEx)},
  };
  const auto found = functions.find(name);
  return found == functions.end() ? nullptr : found->second;
}

}  // namespace cuda_emulation
