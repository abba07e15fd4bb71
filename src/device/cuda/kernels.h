#pragma once

#include "device/kernel.h"

/// The GPU's kernels, a function per family, each in a file of the family's name.
namespace gradgraph {

void register_cuda_kernels(KernelRegistry& registry);  ///< all of them

namespace cuda {

void register_attention_kernels(KernelRegistry& registry);
void register_convolution_kernels(KernelRegistry& registry);
void register_cross_entropy_kernels(KernelRegistry& registry);
void register_elementwise_kernels(KernelRegistry& registry);
void register_indexing_kernels(KernelRegistry& registry);
void register_matmul_kernels(KernelRegistry& registry);
void register_movement_kernels(KernelRegistry& registry);
void register_parts_kernels(KernelRegistry& registry);
void register_pooled_convolution_kernels(KernelRegistry& registry);
void register_pooling_kernels(KernelRegistry& registry);
void register_small_product_kernels(KernelRegistry& registry);
void register_random_kernels(KernelRegistry& registry);
void register_reduction_kernels(KernelRegistry& registry);
void register_softmax_kernels(KernelRegistry& registry);
void register_sorting_kernels(KernelRegistry& registry);
void register_standardize_kernels(KernelRegistry& registry);
/// For float16 and bfloat16, of every op that has a kernel of float32 and none of theirs.
void register_half_kernels(KernelRegistry& registry);
void register_half_convolution_kernels(KernelRegistry& registry);

}  // namespace cuda
}  // namespace gradgraph
