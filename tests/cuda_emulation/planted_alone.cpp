/// Commits one planted fault, by name: those that end a process which sanitizers watch.

#include <cstdio>
#include <string_view>

#include "cuda_emulation/emulation.h"
#include "cuda_emulation/planted.h"

namespace {

// No multiple of the alignment: what is behind may be padding, which does not fault.
constexpr int kSize = 100;

float touch(const float* memory) { return *static_cast<const volatile float*>(memory); }

cudaError_t commit(std::string_view fault, float* a, float* b, cudaStream_t stream) {
  if (fault == "global") return planted::add_past_the_end(a, b, kSize, stream);
  if (fault == "static") return planted::shared_past_the_end(b, stream);
  if (fault == "pointer") return planted::shared_past_the_end_by_pointer(b, stream);
  if (fault == "dynamic") return planted::dynamic_shared_past_the_end(b, stream);
  if (fault == "misaligned") return planted::misaligned(a, b, stream);
  if (fault == "barrier") return planted::barrier_in_branch(b, 20, stream);
  if (fault == "host") return touch(a) < 0 ? cudaErrorUnknown : cudaSuccess;
  return cudaErrorInvalidValue;
}

}  // namespace

int main(int, char** arguments) {
  constexpr std::size_t kBytes = kSize * sizeof(float);
  cudaStream_t stream = nullptr;
  float *a = nullptr, *b = nullptr;
  if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess ||
      cudaMalloc(reinterpret_cast<void**>(&a), kBytes) != cudaSuccess ||
      cudaMalloc(reinterpret_cast<void**>(&b), kBytes) != cudaSuccess ||
      cudaMemsetAsync(a, 0, kBytes, stream) != cudaSuccess ||
      cudaStreamSynchronize(stream) != cudaSuccess)
    return 2;
  cudaError_t status = commit(arguments[1], a, b, stream);
  if (status == cudaSuccess) status = cudaStreamSynchronize(stream);
  std::puts(cuda_emulation::take_error().c_str());
  return status == cudaSuccess ? 0 : 1;
}
