#include "graph/program.h"
#include "ops/builders.h"

/// What the fusion pass makes of elementwise ops. Never in a user's graph.
namespace gradgraph {
namespace {

const ElementwiseProgram& checked_program(InferContext& context) {
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
  return program;
}

void infer_fused(InferContext& context) {
  const ElementwiseProgram& program = checked_program(context);
  for (const std::int32_t result : program.results)
    context.output(program.dtype(result), program.shape);
}

/// Parts of values that must be there as a whole.
void infer_fused_parts(InferContext& context) {
  const auto& program = *context.attribute<std::shared_ptr<const ElementwiseProgram>>("program");
  const std::int64_t count = program.shape.num_elements();
  const auto check = [&](const ElementwiseProgram::Place& place, const Shape& whole) {
    const std::int64_t rows = place.row > 0 ? count / place.row : 0;
    context.require(place.row == 0 || (rows * place.row == count && place.pitch >= place.row &&
                                       place.offset + (rows - 1) * place.pitch + place.row <=
                                           whole.num_elements()),
                    "a part lies outside of its value");
  };
  for (std::size_t i = 0; i < program.reads.size(); ++i) {
    const int value = program.reads[i].value;
    context.require(context.dtype(value) == program.dtype(static_cast<std::int32_t>(i)),
                    "an input's dtype is not the program's");
    check(program.reads[i], context.shape(value));
  }
  std::vector<DType> dtypes(program.values.size());
  for (std::size_t i = 0; i < program.writes.size(); ++i) {
    const auto value = static_cast<std::size_t>(program.writes[i].value);
    dtypes[value] = program.dtype(program.results[i]);
    check(program.writes[i], program.values[value]);
  }
  for (std::size_t i = 0; i < dtypes.size(); ++i) context.output(dtypes[i], program.values[i]);
}

/// A product of matrices, of which a may have its rows in several axes, then a program. Variables
/// come first where the program updates any, then what is
/// multiplied, then the program's other inputs; the product stands for its two operands there.
void infer_product(InferContext& context) {
  const auto& program = *context.attribute<std::shared_ptr<const ElementwiseProgram>>("program");
  context.require_inputs(program.num_inputs() + 1);
  for (const std::int32_t result : program.results)
    context.output(program.dtype(result), program.shape);
}

/// The program's result, where "keeps_elements", and its sums over the axes from "first" to
/// "split" ("leading") or from "split" on, as an array of "shape"; with "mean" divided by their
/// number.
void infer_fused_sums(InferContext& context) {
  const ElementwiseProgram& program = checked_program(context);
  context.require(program.results.size() == 1, "the program must have one result");
  const DType dtype = program.dtype(program.results[0]);
  if (context.attribute<bool>("keeps_elements")) context.output(dtype, program.shape);
  const auto split = static_cast<std::size_t>(context.attribute<std::int64_t>("split"));
  const auto dims = program.shape.dims();
  const auto product = [](std::span<const std::int64_t> sizes) {
    return Shape(sizes).num_elements();
  };
  std::int64_t left = 0;
  if (context.attribute<bool>("leading")) {
    const auto first = static_cast<std::size_t>(context.attribute<std::int64_t>("first"));
    left = product(dims.first(first)) * product(dims.subspan(split));
  } else {
    left = product(dims.first(split));
  }
  const Shape& shape = context.attribute<Shape>("shape");
  context.require(left == shape.num_elements(), "there are not as many sums");
  context.output(dtype, shape);
}

/// The left operand follows the variables that are updated.
double product_flops(const Node& node) {
  const Shape& a = node.input(node.op().traits.updates_variable ? node.num_outputs() : 0).shape();
  const std::int64_t inner = a[node.attributes().get<bool>("transpose_a") ? 0 : a.rank() - 1];
  return 2.0 * static_cast<double>(node.shape().num_elements()) * static_cast<double>(inner);
}

}  // namespace

void register_fused_ops(OpRegistry& registry) {
  registry
      .add({.name = "fused",
            .traits = {.elementwise = true, .in_place = true, .internal = true, .fused = true},
            .infer = infer_fused})
      .describe("an elementwise program", {"values..."})
      .required_attribute<std::shared_ptr<const ElementwiseProgram>>(
          "program", "what is computed for each element");
  registry
      .add({.name = "fused_parts",
            .traits = {.internal = true, .fused = true},
            .infer = infer_fused_parts})
      .describe("an elementwise program of parts of values", {"values..."})
      .required_attribute<std::shared_ptr<const ElementwiseProgram>>(
          "program", "what is computed for each element, and where it lies");
  registry
      .add({.name = "fused_sums",
            .traits = {.internal = true, .fused = true},
            .infer = infer_fused_sums})
      .describe("an elementwise program and sums of what it gives", {"values..."})
      .required_attribute<std::shared_ptr<const ElementwiseProgram>>(
          "program", "what is computed for each element")
      .required_attribute<bool>("leading", "axes before the split are summed")
      .attribute("first", std::int64_t{0}, "the first of these")
      .required_attribute<std::int64_t>("split", "the first of the other axes")
      .required_attribute<bool>("mean", "divided by their number")
      .required_attribute<bool>("keeps_elements", "the program's result is a result")
      .required_attribute<Shape>("shape", "of the sums");
  // Its first inputs are variables, one per output.
  registry
      .add({.name = "fused_update",
            .traits =
                {.stateful = true, .updates_variable = true, .internal = true, .fused = true},
            .infer = infer_fused})
      .describe("updates of variables by an elementwise program", {"values..."})
      .required_attribute<std::shared_ptr<const ElementwiseProgram>>(
          "program", "what is computed for each element");
  registry
      .add({.name = "matmul_with_epilogue",
            .traits = {.internal = true, .fused = true},
            .infer = infer_product,
            .flops = product_flops})
      .describe("a product of matrices, and an elementwise program of it", {"values..."})
      .required_attribute<bool>("transpose_a", "a is read by columns")
      .required_attribute<bool>("transpose_b", "b is read by columns")
      .required_attribute<std::shared_ptr<const ElementwiseProgram>>(
          "program", "what is computed for each element");
  registry
      .add({.name = "matmul_with_update",
            .traits =
                {.stateful = true, .updates_variable = true, .internal = true, .fused = true},
            .infer = infer_product,
            .flops = product_flops})
      .describe("updates of variables by a product of matrices", {"values..."})
      .required_attribute<bool>("transpose_a", "a is read by columns")
      .required_attribute<bool>("transpose_b", "b is read by columns")
      .required_attribute<std::shared_ptr<const ElementwiseProgram>>(
          "program", "what is computed for each element");
}

}  // namespace gradgraph
