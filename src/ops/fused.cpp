#include "graph/program.h"
#include "ops/builders.h"

/// What the fusion pass makes of elementwise ops. Never in a user's graph.
namespace gradgraph {
namespace {

void infer_fused(InferContext& context) {
  const auto& program = *context.attribute<std::shared_ptr<const ElementwiseProgram>>("program");
  context.require_inputs(program.num_inputs());
  for (int i = 0; i < context.num_inputs(); ++i) {
    context.require(context.dtype(i) == program.dtype(i),
                    "an input's dtype is not the program's");
    Shape broadcast;
    context.require(broadcast_shapes(program.shape, context.shape(i), broadcast) &&
                        broadcast == program.shape,
                    "an input does not broadcast to the program's shape");
  }
  for (const std::int32_t result : program.results)
    context.output(program.dtype(result), program.shape);
}

/// A product, then a program. Variables come first where the program updates any, then what is
/// multiplied, then the program's other inputs; the product stands for its two operands there.
void infer_product(InferContext& context) {
  const auto& program = *context.attribute<std::shared_ptr<const ElementwiseProgram>>("program");
  context.require_inputs(program.num_inputs() + 1);
  for (const std::int32_t result : program.results)
    context.output(program.dtype(result), program.shape);
}

}  // namespace

void register_fused_ops(OpRegistry& registry) {
  registry.add(
      {.name = "fused",
       .traits = {.elementwise = true, .in_place = true, .internal = true, .fused = true},
       .infer = infer_fused});
  // Its first inputs are variables, one per output.
  registry.add(
      {.name = "fused_update",
       .traits = {.stateful = true, .updates_variable = true, .internal = true, .fused = true},
       .infer = infer_fused});
  registry.add({.name = "matmul_with_epilogue",
                .traits = {.internal = true, .fused = true},
                .infer = infer_product});
  registry.add(
      {.name = "matmul_with_update",
       .traits = {.stateful = true, .updates_variable = true, .internal = true, .fused = true},
       .infer = infer_product});
}

}  // namespace gradgraph
