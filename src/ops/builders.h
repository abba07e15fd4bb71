#pragma once

#include "gradgraph/op.h"
#include "gradgraph/ops.h"

/// What the op families share: how front functions make nodes, and inference in common use.
namespace gradgraph {

/// The families, each in a file of its own; called once, by op_registry().
void register_attention_ops(OpRegistry& registry);
void register_broadcasting_ops(OpRegistry& registry);
void register_control_flow_ops(OpRegistry& registry);
void register_convolution_ops(OpRegistry& registry);
void register_custom_gradient_op(OpRegistry& registry);
void register_decomposition_ops(OpRegistry& registry);
void register_elementwise_ops(OpRegistry& registry);
void register_fused_ops(OpRegistry& registry);
void register_indexing_ops(OpRegistry& registry);
void register_matmul_ops(OpRegistry& registry);
void register_movement_ops(OpRegistry& registry);
void register_pooled_convolution_ops(OpRegistry& registry);
void register_pooling_ops(OpRegistry& registry);
void register_random_ops(OpRegistry& registry);
void register_range_op(OpRegistry& registry);
void register_reduction_ops(OpRegistry& registry);
void register_scan_ops(OpRegistry& registry);
void register_shape_ops(OpRegistry& registry);
void register_slicing_ops(OpRegistry& registry);
void register_softmax_ops(OpRegistry& registry);
void register_solving_ops(OpRegistry& registry);
void register_sorting_ops(OpRegistry& registry);
void register_source_ops(OpRegistry& registry);
void register_standardize_ops(OpRegistry& registry);

/// Throws BuildError "[op] '<scope>op': message" for a node that cannot even be asked for.
[[noreturn]] void fail_to_build(std::string_view op, Graph& graph, const std::string& message,
                                SourceLocation where);

/// The graph of the first of `inputs` that is not empty; throws BuildError when all are.
Graph& graph_of(std::string_view op, OutputList inputs, SourceLocation where);

/// The number as messages have it.
std::string text_of(const Number& number);

/// Adds a node of `op` to its inputs' graph.
Node& make_node(std::string_view op, OutputList inputs, Attributes attributes,
                SourceLocation where, std::string_view name = {});
/// The same for an op with one output.
inline Output make(std::string_view op, OutputList inputs, SourceLocation where,
                   Attributes attributes = {}, std::string_view name = {}) {
  return make_node(op, inputs, std::move(attributes), where, name).output();
}
/// The same for inputs of which some may be written out as vectors: these become constants, which
/// go again when the node cannot be made.
Output make_with_vectors(std::string_view op, Graph& graph,
                         std::initializer_list<IntVector> inputs, SourceLocation where,
                         Attributes attributes = {});
/// A node of `op` with two operands, one of which may be a number or a Tensor.
Output make_binary(std::string_view op, const Operand& a, const Operand& b, SourceLocation where);

/// A constant int64 vector.
Output int_vector(Graph& graph, const std::vector<std::int64_t>& values, SourceLocation where);

/// A negative axis counted from the front. One out of range stays as it is, for inference to
/// refuse.
constexpr std::int64_t from_front(std::int64_t axis, int rank) {
  return axis < 0 && axis >= -rank ? axis + rank : axis;
}

/// An axis among attributes, which keep axes counted from the front.
int front_axis(const InferContext& context, std::int64_t axis, int rank);

/// The value of a "constant" node, else null.
const Tensor* constant_value(const Output& output);

/// Fails when input i is a constant vector with an entry below `lowest`.
void require_entries(const InferContext& context, int i, std::int64_t lowest);

/// Throws BuildError in the name of a composed op whose input is of no floating dtype.
void require_floating(std::string_view op, Output x, SourceLocation where);

/// The square root of x, whose gradient is 0 where x is.
Output flat_root(Output x, SourceLocation where);

/// What sums are made of: x, or where it has 16 bits as float32, since they may be beyond float16
/// and would be rounded.
Output wide(Output x, SourceLocation where = {});

/// `grad` summed down to the shape of `like`, which was broadcast to grad's shape.
Output unbroadcast(Output grad, Output like);

/// Output 0 has input 0's dtype and shape.
void infer_same(InferContext& context);
/// The same, and input 0 is of a floating dtype.
void infer_floating(InferContext& context);

}  // namespace gradgraph
