#include <cmath>
#include <numbers>

#include "core/text.h"
#include "gradgraph/ops.h"
#include "gradgraph/optimizers.h"

/// Schedules count in float64 whatever the variables are: a step fits exactly.
namespace gradgraph {
namespace {

void require(bool condition, const char* schedule, const std::string& message,
             SourceLocation where) {
  if (!condition) throw BuildError(fmt::format("{}: {}", schedule, message), where);
}

void require_rate(const char* schedule, double rate, SourceLocation where) {
  require(std::isfinite(rate) && rate >= 0, schedule,
          fmt::format("a learning rate cannot be {}", rate), where);
}

void require_steps(const char* schedule, std::int64_t steps, SourceLocation where) {
  require(steps > 0, schedule, fmt::format("the number of steps must be positive, not {}", steps),
          where);
}

}  // namespace

Schedule constant_schedule(double rate, SourceLocation where) {
  require_rate("constant_schedule", rate, where);
  return [rate](Output step) { return constant(step.graph(), Tensor(rate)); };
}

Schedule step_schedule(double rate, std::int64_t every, double factor, SourceLocation where) {
  require_rate("step_schedule", rate, where);
  require_steps("step_schedule", every, where);
  return [rate, every, factor](Output step) {
    return rate * pow(constant(step.graph(), Tensor(factor)), cast(step / every, float64));
  };
}

Schedule exponential_schedule(double rate, std::int64_t every, double factor,
                              SourceLocation where) {
  require_rate("exponential_schedule", rate, where);
  require_steps("exponential_schedule", every, where);
  return [rate, every, factor](Output step) {
    return rate * pow(constant(step.graph(), Tensor(factor)),
                      cast(step, float64) / static_cast<double>(every));
  };
}

Schedule cosine_schedule(double rate, std::int64_t steps, double final_rate,
                         SourceLocation where) {
  require_rate("cosine_schedule", rate, where);
  require_rate("cosine_schedule", final_rate, where);
  require_steps("cosine_schedule", steps, where);
  return [rate, steps, final_rate](Output step) {
    const Output progress = cast(minimum(step, steps), float64) / static_cast<double>(steps);
    return final_rate + (rate - final_rate) / 2 * (1.0 + cos(std::numbers::pi * progress));
  };
}

Schedule warm_up(std::int64_t steps, double rate, Schedule after, SourceLocation where) {
  require_rate("warm_up", rate, where);
  require_steps("warm_up", steps, where);
  require(static_cast<bool>(after), "warm_up", "needs a schedule for the steps after it", where);
  return [steps, rate, where, after = std::move(after)](Output step) {
    const Output rising = rate * (cast(step + 1, float64) / static_cast<double>(steps));
    const Output rest = after(maximum(step - steps, 0));
    require(static_cast<bool>(rest), "warm_up", "the schedule after it gives an empty Output",
            where);
    return gradgraph::where(less(step, steps), rising,
                            rest.dtype() == float64 ? rest : cast(rest, float64));
  };
}

Output LearningRate::at(Output step, DType dtype) const {
  const auto require_here = [&](bool condition, const std::string& message) {
    if (!condition) throw BuildError(message, step.node().where());
  };
  if (const double* number = std::get_if<double>(&value_)) {
    require_here(std::isfinite(*number) && *number >= 0,
                 fmt::format("a learning rate cannot be {}", *number));
    return constant(step.graph(), Tensor::full(dtype, {}, *number), "learning_rate");
  }
  const Schedule* schedule = std::get_if<Schedule>(&value_);
  require_here(!schedule || *schedule, "the learning rate is an empty schedule");
  const Output* given = std::get_if<Output>(&value_);
  const Output rate = given ? *given : (*schedule)(step);
  require_here(static_cast<bool>(rate), "the learning rate is an empty Output");
  require_here(is_floating(rate.dtype()) && rate.rank() == 0,
               fmt::format("the learning rate '{}' is {}{}, not a floating scalar", rate.name(),
                           rate.dtype(), rate.shape()));
  return rate.dtype() == dtype ? rate : cast(rate, dtype);
}

}  // namespace gradgraph
