#include "device/cpu/kernels.h"

namespace gradgraph {

void register_cpu_kernels(KernelRegistry& registry) {
  register_elementwise_kernels(registry);
  register_source_kernels(registry);
}

}  // namespace gradgraph
