#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

namespace gradgraph::cuda {

/// Throws a RunError, "cuda:0: copying: an illegal memory access ...", unless all went well.
void check(cudaError_t status, std::string_view device, std::string_view what);

}  // namespace gradgraph::cuda
