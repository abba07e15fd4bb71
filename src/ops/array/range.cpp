#include <cmath>
#include <limits>
#include <optional>

#include "core/text.h"
#include "ops/builders.h"

namespace gradgraph {
namespace {

/// `count` is -1 where it is not known.
void require_integers(InferContext& context, DType dtype, std::int64_t count) {
  const auto start = context.attribute<std::int64_t>("integer_start");
  const auto step = context.attribute<std::int64_t>("integer_step");
  const double start_as_written = context.attribute<double>("start");
  const double step_as_written = context.attribute<double>("step");
  if (static_cast<double>(start) != start_as_written ||
      static_cast<double>(step) != step_as_written)
    context.fail(
        fmt::format("steps of {} from {} on are no integers", step_as_written, start_as_written));
  if (count < 1) return;
  const auto fits = [&](std::int64_t value) {
    return Tensor::full(dtype, {}, value).cast(int64).item<std::int64_t>() == value;
  };
  std::int64_t last = 0;
  const bool overflows = __builtin_mul_overflow(step, count - 1, &last) ||
                         __builtin_add_overflow(last, start, &last);
  if (overflows || !fits(start) || !fits(last))
    context.fail(fmt::format("{} to {} do not fit {}", start,
                             start_as_written + step_as_written * static_cast<double>(count - 1),
                             dtype));
}

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
  if (!is_floating(dtype)) require_integers(context, dtype, shape[0]);
  context.output(dtype, shape);
}

/// How many steps lead from `start` to before `limit`; nothing for what cannot be counted.
std::optional<std::int64_t> count_steps(const Number& start, const Number& limit,
                                        const Number& step) {
  if (!start.is_integer() || !limit.is_integer() || !step.is_integer()) {
    const double count = std::ceil((limit.as_double() - start.as_double()) / step.as_double());
    if (!(std::fabs(count) < 0x1p53)) return std::nullopt;
    return std::max<std::int64_t>(static_cast<std::int64_t>(count), 0);
  }
  const std::int64_t from = start.as_integer(), to = limit.as_integer(), by = step.as_integer();
  if (by == 0) return std::nullopt;
  if (by > 0 ? to <= from : to >= from) return 0;
  const auto magnitude = [](std::int64_t a, std::int64_t b) {
    return static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b);
  };
  const std::uint64_t way = by > 0 ? magnitude(to, from) : magnitude(from, to);
  const std::uint64_t count = (way - 1) / (by > 0 ? magnitude(by, 0) : magnitude(0, by)) + 1;
  if (count > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return std::nullopt;
  return static_cast<std::int64_t>(count);
}

}  // namespace

Output range(Graph& graph, IntVector count, DType dtype, Number start, Number step, Where where) {
  return make_with_vectors("range", graph, {count}, where,
                           {{"dtype", dtype},
                            {"start", start.as_double()},
                            {"step", step.as_double()},
                            {"integer_start", start.as_integer()},
                            {"integer_step", step.as_integer()}});
}

Output arange(Graph& graph, Number start, Number limit, Number step, DType dtype, Where where) {
  const std::optional<std::int64_t> count = count_steps(start, limit, step);
  if (!count)
    throw BuildError(fmt::format("[range]: no number of steps of {} leads from {} to {}",
                                 text_of(step), text_of(start), text_of(limit)),
                     where);
  return range(graph, {*count}, dtype, start, step, where);
}

void register_range_op(OpRegistry& registry) {
  registry
      .add({"range",
            {.non_differentiable = true, .static_inputs = 0b1, .kernel_input = Traits::kOutput},
            infer_range})
      .describe("start, start + step, ...", {"count"})
      .required_attribute<DType>("dtype", "of the result")
      .attribute("start", 0.0, "the first number")
      .attribute("step", 1.0, "from one to the next")
      .attribute("integer_start", std::int64_t{0}, "the same for integers, exactly")
      .attribute("integer_step", std::int64_t{1}, "the same for integers, exactly");
}

}  // namespace gradgraph
