#include "device/cuda/kernels.h"

namespace gradgraph {

void register_cuda_kernels(KernelRegistry& registry) {
  cuda::register_attention_kernels(registry);
  cuda::register_convolution_kernels(registry);
  cuda::register_cross_entropy_kernels(registry);
  cuda::register_elementwise_kernels(registry);
  cuda::register_indexing_kernels(registry);
  cuda::register_matmul_kernels(registry);
  cuda::register_movement_kernels(registry);
  cuda::register_parts_kernels(registry);
  cuda::register_pooled_convolution_kernels(registry);
  cuda::register_pooling_kernels(registry);
  cuda::register_small_product_kernels(registry);
  cuda::register_random_kernels(registry);
  cuda::register_reduction_kernels(registry);
  cuda::register_softmax_kernels(registry);
  cuda::register_sorting_kernels(registry);
  cuda::register_standardize_kernels(registry);
  cuda::register_half_kernels(registry);              // for what has kernels
  cuda::register_half_convolution_kernels(registry);  // asked before those
}

}  // namespace gradgraph
