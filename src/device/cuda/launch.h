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

/// What another launch may be changing just now, by atomic operations.
__device__ inline unsigned load_relaxed(const unsigned* address) {
#ifdef __CUDACC__
  unsigned value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
#else
  return cuda_emulation::load_relaxed(address);
#endif
}

/// The nearest number of 11 significant bits.
__device__ inline float round_to_tf32(float x) {
#ifdef __CUDACC__
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
#else
  return cuda_emulation::round_to_tf32(x);
#endif
}

/// A warp adds a product of matrices of such numbers, [16,8] by [8,8], to `sums`. A lane has what
/// PTX calls its fragments of mma.m16n8k8. With g = lane / 4 and t = lane % 4 these are of a
/// (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4), of b (t, g), (t + 4, g), and of the sums
/// (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ inline void add_product(float (&sums)[4], const float (&a)[4], const float (&b)[2]) {
#ifdef __CUDACC__
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
        "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#else
  cuda_emulation::add_product(sums, a, b);
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
