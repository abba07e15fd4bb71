#include "device/cuda/cublas.h"

#include "core/text.h"
#include "device/kernel.h"

namespace gradgraph::cuda {
namespace {

template <class Function>
void find(const char* name, Function& function) {
  function = reinterpret_cast<Function>(cublas_function(name));
  if (!function) throw KernelError(fmt::format("this cuBLAS has no function {}", name));
}

Cublas load_cublas() {
  Cublas table;
#define GRADGRAPH_FIND(function) find(#function, table.function)
  GRADGRAPH_FIND(cublasGetStatusString);
  GRADGRAPH_FIND(cublasCreate_v2);
  GRADGRAPH_FIND(cublasDestroy_v2);
  GRADGRAPH_FIND(cublasSetStream_v2);
  GRADGRAPH_FIND(cublasSetWorkspace_v2);
  GRADGRAPH_FIND(cublasGemmStridedBatchedEx);
#undef GRADGRAPH_FIND
  return table;
}

}  // namespace

const Cublas& cublas() {
  static const Cublas table = load_cublas();
  return table;
}

void check_cublas(cublasStatus status, const char* what) {
  if (status != 0)
    throw KernelError(fmt::format("{}: {}", what, cublas().cublasGetStatusString(status)));
}

}  // namespace gradgraph::cuda
