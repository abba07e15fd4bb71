#include "device/cpu/kernels.h"

#include "device/cpu/reference/kernels.h"

namespace gradgraph {

void register_reference_kernels(KernelRegistry& registry) {
  register_reference_indexing(registry);
  register_reference_reductions(registry);
  register_reference_softmax(registry);
  register_reference_sorting(registry);
  register_reference_standardize(registry);
  register_reference_windows(registry);
}

void register_cpu_kernels(KernelRegistry& registry) {
  register_reference_kernels(registry);
  register_attention_kernels(registry);
  register_blocked_attention_kernels(registry);
  register_control_flow_kernels(registry);
  register_convolution_kernels(registry);
  register_direct_convolution_kernels(registry);
  register_patch_convolution_kernels(registry);
  register_cross_entropy_kernels(registry);
  register_elementwise_kernels(registry);
  register_fused_kernels(registry);
  register_fused_reduction_kernels(registry);
  register_indexing_kernels(registry);
  register_linalg_kernels(registry);
  register_matmul_kernels(registry);
  register_gemm_kernels(registry);
  register_movement_kernels(registry);
  register_part_kernels(registry);
  register_pooled_convolution_kernels(registry);
  register_direct_pooled_convolution_kernels(registry);
  register_pooling_kernels(registry);
  register_random_kernels(registry);
  register_reduction_kernels(registry);
  register_scan_kernels(registry);
  register_shape_kernels(registry);
  register_softmax_kernels(registry);
  register_source_kernels(registry);
  register_standardize_kernels(registry);
  register_half_kernels(registry);  // the last: for what has kernels
}

}  // namespace gradgraph
