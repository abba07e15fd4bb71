#include "cuda_emulation/libraries.h"
#include "device/cuda/cublas.h"

/// In place of the library's own, which opens libcublas.so.
namespace gradgraph::cuda {

void* cublas_function(const char* name) { return cuda_emulation::cublas_function(name); }

}  // namespace gradgraph::cuda
