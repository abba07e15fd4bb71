#include "ops/builders.h"

namespace gradgraph {

OpRegistry& op_registry() {
  static OpRegistry registry = [] {
    OpRegistry ops;
    register_attention_ops(ops);
    register_broadcasting_ops(ops);
    register_control_flow_ops(ops);
    register_convolution_ops(ops);
    register_custom_gradient_op(ops);
    register_decomposition_ops(ops);
    register_elementwise_ops(ops);
    register_fused_ops(ops);
    register_indexing_ops(ops);
    register_matmul_ops(ops);
    register_movement_ops(ops);
    register_pooled_convolution_ops(ops);
    register_pooling_ops(ops);
    register_random_ops(ops);
    register_range_op(ops);
    register_reduction_ops(ops);
    register_scan_ops(ops);
    register_shape_ops(ops);
    register_slicing_ops(ops);
    register_softmax_ops(ops);
    register_solving_ops(ops);
    register_sorting_ops(ops);
    register_source_ops(ops);
    register_standardize_ops(ops);
    return ops;
  }();
  return registry;
}

}  // namespace gradgraph
