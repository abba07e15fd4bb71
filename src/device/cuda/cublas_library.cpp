#include <dlfcn.h>

#include "core/text.h"
#include "device/cuda/cublas.h"
#include "device/kernel.h"

namespace gradgraph::cuda {
namespace {

/// cuBLAS of a version that the declarations fit.
void* open_cublas() {
  for (const char* const name : {"libcublas.so.13", "libcublas.so.12"})
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  const char* const reason = dlerror();
  throw KernelError(fmt::format(
      "products of matrices on a GPU need cuBLAS, libcublas.so.13 or libcublas.so.12, "
      "which cannot be opened: {}",
      reason ? reason : "it is not there"));
}

}  // namespace

void* cublas_function(const char* name) {
  static void* const library = open_cublas();
  return dlsym(library, name);
}

}  // namespace gradgraph::cuda
