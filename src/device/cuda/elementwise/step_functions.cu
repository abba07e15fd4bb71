#include "device/cuda/elementwise/float_code.h"

/// The steps of float programs, each as a function of PTX (step_functions.h). They come from the
/// functors that everything else takes, so generated kernels give the same bits.
namespace gradgraph::cuda {

template <int kCode>
__device__ float run_step(float a, float b, float c) {
  return codes::calculate<kCode>(a, b, c);
}

/// Makes nvcc write them all.
template <int... kCodes>
__device__ float run_any(std::integer_sequence<int, kCodes...>, int code, float x) {
  float (*const functions[])(float, float, float) = {run_step<kCodes>...};
  return functions[code](x, x, x);
}
__global__ void keep_all(int code, float* x) {
  *x = run_any(std::make_integer_sequence<int, codes::count(codes::Generated{})>{}, code, *x);
}

}  // namespace gradgraph::cuda
