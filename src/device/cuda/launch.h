#pragma once

/// What every .cu file includes, and the only header that knows of two builds: nvcc's, and an
/// ordinary compiler's, whose kernels run on the CPU (tests/cuda_emulation/).

#ifdef __CUDACC__
#include <cuda_runtime.h>
/// Before a loop whose variables index registers.
#define GRADGRAPH_UNROLL _Pragma("unroll")
/// Before a loop whose body would be long several times.
#define GRADGRAPH_NO_UNROLL _Pragma("unroll 1")
#else
#include "cuda_emulation/device_code.h"
#define GRADGRAPH_UNROLL
#define GRADGRAPH_NO_UNROLL
#endif

#include <cstddef>
#include <tuple>
#include <utility>

namespace gradgraph::cuda {

/// The block's dynamic shared memory, as many bytes as its launch asked for.
template <class T>
__device__ T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];
  return reinterpret_cast<T*>(dynamic_shared_bytes);
#else
  return static_cast<T*>(cuda_emulation::dynamic_shared());
#endif
}

/// Starts a kernel: `kernel<<<grid, block, shared_bytes, stream>>>(arguments...)`. The arguments
/// are converted to the kernel's own types and copied before this returns.
template <class... P, class... A>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes,
                   cudaStream_t stream, A&&... arguments) {
#ifndef __CUDACC__
  cuda_emulation::describe(kernel);
#endif
  std::tuple<P...> values(std::forward<A>(arguments)...);
  return std::apply(
      [&](auto&... value) {
        void* addresses[] = {const_cast<void*>(static_cast<const void*>(&value))..., nullptr};
        return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, addresses,
                                shared_bytes, stream);
      },
      values);
}

}  // namespace gradgraph::cuda
