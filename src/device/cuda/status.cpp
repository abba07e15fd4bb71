#include "device/cuda/status.h"

#include "core/text.h"
#include "gradgraph/error.h"

namespace gradgraph::cuda {

void check(cudaError_t status, std::string_view device, std::string_view what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // else the next call would report it again
  throw RunError(fmt::format("{}: {}: {}", device, what, cudaGetErrorString(status)));
}

}  // namespace gradgraph::cuda
