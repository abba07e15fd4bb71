#pragma once

#include "device/kernel.h"

/// The CPU's kernels, a function per family, each in a file of the family's name.
namespace gradgraph {

inline constexpr std::string_view kCpu = "cpu";

void register_cpu_kernels(KernelRegistry& registry);  ///< all of them

void register_attention_kernels(KernelRegistry& registry);
void register_blocked_attention_kernels(KernelRegistry& registry);
void register_control_flow_kernels(KernelRegistry& registry);
void register_convolution_kernels(KernelRegistry& registry);
void register_direct_convolution_kernels(KernelRegistry& registry);
void register_patch_convolution_kernels(KernelRegistry& registry);
void register_direct_pooled_convolution_kernels(KernelRegistry& registry);
void register_cross_entropy_kernels(KernelRegistry& registry);
void register_elementwise_kernels(KernelRegistry& registry);
void register_fused_kernels(KernelRegistry& registry);
void register_fused_reduction_kernels(KernelRegistry& registry);
void register_gemm_kernels(KernelRegistry& registry);  ///< products by own vector code
void register_indexing_kernels(KernelRegistry& registry);
void register_linalg_kernels(KernelRegistry& registry);
void register_matmul_kernels(KernelRegistry& registry);
void register_movement_kernels(KernelRegistry& registry);
void register_part_kernels(KernelRegistry& registry);  ///< after the movement kernels
void register_pooled_convolution_kernels(KernelRegistry& registry);
void register_pooling_kernels(KernelRegistry& registry);
void register_random_kernels(KernelRegistry& registry);
void register_reduction_kernels(KernelRegistry& registry);
void register_scan_kernels(KernelRegistry& registry);
void register_shape_kernels(KernelRegistry& registry);
void register_softmax_kernels(KernelRegistry& registry);
void register_source_kernels(KernelRegistry& registry);
void register_standardize_kernels(KernelRegistry& registry);
/// For float16 and bfloat16, of every op that has a kernel of float32 and none of theirs.
void register_half_kernels(KernelRegistry& registry);

}  // namespace gradgraph
