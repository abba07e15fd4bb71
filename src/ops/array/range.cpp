#include <cmath>

#include "core/text.h"
#include "ops/builders.h"

namespace gradgraph {
namespace {

void infer_range(InferContext& context) {
  require_entries(context, 0, 0);
  const Shape shape = context.vector_value(0);
  context.require(shape.rank() == 1, "the count must be a vector of one number");
  const DType dtype = context.attribute<DType>("dtype");
  context.require(dtype != boolean, "there are no steps between booleans");
  const double start = context.attribute<double>("start");
  const double step = context.attribute<double>("step");
  if (!std::isfinite(start) || !std::isfinite(step))
    context.fail(fmt::format("there are no steps of {} from {} on", step, start));
  if (!is_floating(dtype) && (std::trunc(start) != start || std::trunc(step) != step))
    context.fail(fmt::format("steps of {} from {} on are no integers", step, start));
  const auto fits = [&](double value) {
    return Tensor::full(dtype, {}, value).cast(float64).item<double>() == value;
  };
  if (!is_floating(dtype) && shape[0] != any && shape[0] > 0) {
    const double last = start + step * static_cast<double>(shape[0] - 1);
    if (!fits(start) || !fits(last))
      context.fail(fmt::format("{} to {} do not fit {}", start, last, dtype));
  }
  context.output(dtype, shape);
}

}  // namespace

Output range(Graph& graph, IntVector count, DType dtype, double start, double step, Where where) {
  return make_with_vectors("range", graph, {count}, where,
                           {{"dtype", dtype}, {"start", start}, {"step", step}});
}

Output arange(Graph& graph, double start, double limit, double step, DType dtype, Where where) {
  const double count = std::ceil((limit - start) / step);
  if (!(std::fabs(count) < 0x1p53))
    throw BuildError(
        fmt::format("[range]: no number of steps of {} leads from {} to {}", step, start, limit),
        where);
  return range(graph, {std::max<std::int64_t>(static_cast<std::int64_t>(count), 0)}, dtype, start,
               step, where);
}

void register_range_op(OpRegistry& registry) {
  registry
      .add({"range",
            {.non_differentiable = true, .static_inputs = 0b1, .kernel_input = Traits::kOutput},
            infer_range})
      .describe("start, start + step, ...", {"count"})
      .required_attribute<DType>("dtype", "of the result")
      .attribute("start", 0.0, "the first number")
      .attribute("step", 1.0, "from one to the next");
}

}  // namespace gradgraph
