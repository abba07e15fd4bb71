#include "gradgraph/optimizers.h"

#include "core/text.h"
#include "gradgraph/ops.h"
#include "gradients/updates.h"

/// Every update is one chain of expressions of old values, and ends in assigns: a step reads
/// nothing that it writes.
namespace gradgraph {
namespace {

void require(bool condition, const char* optimizer, const char* message, SourceLocation where) {
  if (!condition) throw BuildError(fmt::format("{}: {}", optimizer, message), where);
}

void require_fraction(const char* optimizer, const char* setting, double value,
                      SourceLocation where) {
  if (!(value >= 0 && value < 1))
    throw BuildError(fmt::format("{}: {} must be in [0, 1), not {}", optimizer, setting, value),
                     where);
}

void require_not_negative(const char* optimizer, const char* setting, double value,
                          SourceLocation where) {
  if (!(value >= 0))
    throw BuildError(
        fmt::format("{}: {} must not be negative, but is {}", optimizer, setting, value), where);
}

/// x + weight * (target - x).
Output towards(Output x, Output target, Output weight) { return x + weight * (target - x); }

Output with_weight_decay(Updates& updates, Output variable, Output grad, double weight_decay) {
  if (weight_decay == 0) return grad;
  return grad + updates.number(weight_decay, grad.dtype()) * updates.value(variable);
}

/// What Adam and AdamW share. `shrink` is AdamW's decay: rate * shrink of the variable is lost.
Output apply_adam(const char* name, const LossGradients& gradients, const AdamW& settings,
                  double weight_decay, double shrink, SourceLocation where) {
  require_fraction(name, "beta1", settings.beta1, where);
  require_fraction(name, "beta2", settings.beta2, where);
  require_not_negative(name, "epsilon", settings.epsilon, where);
  require_not_negative(name, "weight_decay", weight_decay, where);
  require_not_negative(name, "weight_decay", shrink, where);

  Updates updates(name, gradients, settings.clip, where);
  const Output count = updates.step_count() + 1;
  const Output beta1 = updates.number(settings.beta1, float64);
  const Output beta2 = updates.number(settings.beta2, float64);
  const Output rate = settings.learning_rate.at(updates.step(), float64);
  const Output step_size = rate / (1 - pow(beta1, count));
  const Output correction = rsqrt(1 - pow(beta2, count));
  const Output kept = shrink == 0 ? Output() : 1 - rate * shrink;

  for (const auto& [variable, raw_grad] : updates.pairs()) {
    const DType dtype = raw_grad.dtype();
    const Output mean = updates.state(variable, "first_moment");
    const Output variance = updates.state(variable, "second_moment");
    updates.enter(variable);
    const Output grad = with_weight_decay(updates, variable, raw_grad, weight_decay);
    const Output new_mean = towards(mean, grad, updates.number(1 - settings.beta1, dtype));
    const Output new_variance = updates.number(settings.beta2, dtype) * variance +
                                updates.number(1 - settings.beta2, dtype) * square(grad);
    const Output denominator = sqrt(new_variance) * updates.converted(correction, dtype) +
                               updates.number(settings.epsilon, dtype);
    const Output now = updates.value(variable);
    const Output old = kept ? now * updates.converted(kept, dtype) : now;
    updates.set(mean, new_mean);
    updates.set(variance, new_variance);
    updates.set(variable, old - updates.converted(step_size, dtype) * (new_mean / denominator));
  }
  return updates.finish();
}

}  // namespace

Output build_updates(const GradientDescent& settings, const LossGradients& gradients,
                     SourceLocation where) {
  constexpr const char* kName = "gradient_descent";
  require_not_negative(kName, "momentum", settings.momentum, where);
  require_not_negative(kName, "weight_decay", settings.weight_decay, where);
  require(!settings.nesterov || (settings.momentum > 0 && settings.dampening == 0), kName,
          "nesterov needs momentum and no dampening", where);

  Updates updates(kName, gradients, settings.clip, where);
  const Output rate = settings.learning_rate.at(updates.step(), float64);
  // The first gradient enters the momentum whole, whatever the dampening.
  const Output undamped = settings.dampening == 0 ? Output()
                                                  : gradgraph::where(equal(updates.step(), 0),
                                                                     updates.number(1, float64),
                                                                     1 - settings.dampening);
  for (const auto& [variable, raw_grad] : updates.pairs()) {
    const DType dtype = raw_grad.dtype();
    updates.enter(variable);
    Output direction = with_weight_decay(updates, variable, raw_grad, settings.weight_decay);
    if (settings.momentum != 0) {
      const Output factor = updates.number(settings.momentum, dtype);
      const Output buffer = updates.state(variable, "momentum");
      const Output entering =
          undamped ? updates.converted(undamped, dtype) * direction : direction;
      const Output new_buffer = factor * buffer + entering;
      updates.set(buffer, new_buffer);
      direction = settings.nesterov ? direction + factor * new_buffer : new_buffer;
    }
    updates.set(variable, updates.value(variable) - updates.converted(rate, dtype) * direction);
  }
  return updates.finish();
}

Output build_updates(const RmsProp& settings, const LossGradients& gradients,
                     SourceLocation where) {
  constexpr const char* kName = "rms_prop";
  require_fraction(kName, "alpha", settings.alpha, where);
  require_not_negative(kName, "epsilon", settings.epsilon, where);
  require_not_negative(kName, "momentum", settings.momentum, where);
  require_not_negative(kName, "weight_decay", settings.weight_decay, where);

  Updates updates(kName, gradients, settings.clip, where);
  const Output rate = settings.learning_rate.at(updates.step(), float64);
  for (const auto& [variable, raw_grad] : updates.pairs()) {
    const DType dtype = raw_grad.dtype();
    const Output entering = updates.number(1 - settings.alpha, dtype);
    // Centred, the mean square less the square of the mean: followed as what it is, since the
    // difference of the two has no digits left where gradients hardly change.
    const Output spread = updates.state(variable, settings.centered ? "variance" : "mean_square");
    updates.enter(variable);
    const Output grad = with_weight_decay(updates, variable, raw_grad, settings.weight_decay);
    Output new_spread;
    if (settings.centered) {
      const Output mean = updates.state(variable, "mean");
      const Output distance = grad - mean;
      updates.set(mean, mean + entering * distance);
      new_spread = updates.number(settings.alpha, dtype) * (spread + entering * square(distance));
    } else {
      new_spread = updates.number(settings.alpha, dtype) * spread + entering * square(grad);
    }
    updates.set(spread, new_spread);
    Output direction = grad / (sqrt(new_spread) + updates.number(settings.epsilon, dtype));
    if (settings.momentum != 0) {
      const Output buffer = updates.state(variable, "momentum");
      direction = updates.number(settings.momentum, dtype) * buffer + direction;
      updates.set(buffer, direction);
    }
    updates.set(variable, updates.value(variable) - updates.converted(rate, dtype) * direction);
  }
  return updates.finish();
}

Output build_updates(const Adagrad& settings, const LossGradients& gradients,
                     SourceLocation where) {
  constexpr const char* kName = "adagrad";
  require_not_negative(kName, "learning_rate_decay", settings.learning_rate_decay, where);
  require_not_negative(kName, "initial_accumulator", settings.initial_accumulator, where);
  require_not_negative(kName, "epsilon", settings.epsilon, where);
  require_not_negative(kName, "weight_decay", settings.weight_decay, where);

  Updates updates(kName, gradients, settings.clip, where);
  Output rate = settings.learning_rate.at(updates.step(), float64);
  if (settings.learning_rate_decay != 0)
    rate = rate / (1 + updates.step_count() * settings.learning_rate_decay);
  for (const auto& [variable, raw_grad] : updates.pairs()) {
    const DType dtype = raw_grad.dtype();
    const Output accumulator =
        updates.state(variable, "accumulator", settings.initial_accumulator);
    updates.enter(variable);
    const Output grad = with_weight_decay(updates, variable, raw_grad, settings.weight_decay);
    const Output new_accumulator = accumulator + square(grad);
    const Output denominator = sqrt(new_accumulator) + updates.number(settings.epsilon, dtype);
    updates.set(accumulator, new_accumulator);
    updates.set(variable,
                updates.value(variable) - updates.converted(rate, dtype) * (grad / denominator));
  }
  return updates.finish();
}

Output build_updates(const Adam& settings, const LossGradients& gradients, SourceLocation where) {
  const AdamW shared = {.learning_rate = settings.learning_rate,
                        .beta1 = settings.beta1,
                        .beta2 = settings.beta2,
                        .epsilon = settings.epsilon,
                        .clip = settings.clip};
  return apply_adam("adam", gradients, shared, settings.weight_decay, 0, where);
}

Output build_updates(const AdamW& settings, const LossGradients& gradients,
                     SourceLocation where) {
  return apply_adam("adam_w", gradients, settings, 0, settings.weight_decay, where);
}

Output GradientDescent::apply(const std::vector<GradientPair>& gradients,
                              SourceLocation where) const {
  return apply_by(*this, "gradient_descent", gradients, where);
}
Output RmsProp::apply(const std::vector<GradientPair>& gradients, SourceLocation where) const {
  return apply_by(*this, "rms_prop", gradients, where);
}
Output Adagrad::apply(const std::vector<GradientPair>& gradients, SourceLocation where) const {
  return apply_by(*this, "adagrad", gradients, where);
}
Output Adam::apply(const std::vector<GradientPair>& gradients, SourceLocation where) const {
  return apply_by(*this, "adam", gradients, where);
}
Output AdamW::apply(const std::vector<GradientPair>& gradients, SourceLocation where) const {
  return apply_by(*this, "adam_w", gradients, where);
}
Output GradientDescent::minimize(Output loss, const std::vector<Output>& variables,
                                 SourceLocation where) const {
  return minimize_by(*this, "gradient_descent", loss, variables, where);
}
Output RmsProp::minimize(Output loss, const std::vector<Output>& variables,
                         SourceLocation where) const {
  return minimize_by(*this, "rms_prop", loss, variables, where);
}
Output Adagrad::minimize(Output loss, const std::vector<Output>& variables,
                         SourceLocation where) const {
  return minimize_by(*this, "adagrad", loss, variables, where);
}
Output Adam::minimize(Output loss, const std::vector<Output>& variables,
                      SourceLocation where) const {
  return minimize_by(*this, "adam", loss, variables, where);
}
Output AdamW::minimize(Output loss, const std::vector<Output>& variables,
                       SourceLocation where) const {
  return minimize_by(*this, "adam_w", loss, variables, where);
}

}  // namespace gradgraph
