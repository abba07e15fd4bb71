#include "gradgraph/optimizers.h"

#include "gradgraph/ops.h"
#include "gradients/optimizers/settings.h"
#include "gradients/optimizers/updates.h"

/// Every update is one chain of expressions of old values, and ends in assigns: a step reads
/// nothing that it writes.
namespace gradgraph {

Output build_updates(const GradientDescent& settings, const LossGradients& gradients,
                     SourceLocation where) {
  constexpr const char* kName = "gradient_descent";
  require_not_negative(kName, "momentum", settings.momentum, where);
  require_setting(!settings.nesterov || (settings.momentum > 0 && settings.dampening == 0), kName,
                  "nesterov needs momentum and no dampening", where);

  Updates updates(kName, gradients, settings, where);
  // The first gradient enters the momentum whole, whatever the dampening.
  const Output undamped = settings.dampening == 0 ? Output()
                                                  : gradgraph::where(equal(updates.step(), 0),
                                                                     updates.number(1, float64),
                                                                     1 - settings.dampening);
  for (const auto& [variable, raw_grad] : updates.pairs()) {
    const DType dtype = raw_grad.dtype();
    updates.enter(variable);
    Output direction = updates.with_weight_decay(variable, raw_grad);
    if (settings.momentum != 0) {
      const Output factor = updates.number(settings.momentum, dtype);
      const Output buffer = updates.state(variable, "momentum");
      const Output entering =
          undamped ? updates.converted(undamped, dtype) * direction : direction;
      const Output new_buffer = factor * buffer + entering;
      updates.set(buffer, new_buffer);
      direction = settings.nesterov ? direction + factor * new_buffer : new_buffer;
    }
    updates.descend(variable, direction);
  }
  return updates.finish();
}

Output build_updates(const RmsProp& settings, const LossGradients& gradients,
                     SourceLocation where) {
  constexpr const char* kName = "rms_prop";
  require_fraction(kName, "alpha", settings.alpha, where);
  require_not_negative(kName, "epsilon", settings.epsilon, where);
  require_not_negative(kName, "momentum", settings.momentum, where);

  Updates updates(kName, gradients, settings, where);
  for (const auto& [variable, raw_grad] : updates.pairs()) {
    const DType dtype = raw_grad.dtype();
    const Output entering = updates.number(1 - settings.alpha, dtype);
    // Centred, the mean square less the square of the mean: followed as what it is, since the
    // difference of the two has no digits left where gradients hardly change.
    const Output spread = updates.state(variable, settings.centered ? "variance" : "mean_square");
    updates.enter(variable);
    const Output grad = updates.with_weight_decay(variable, raw_grad);
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
    updates.descend(variable, direction);
  }
  return updates.finish();
}

Output build_updates(const Adagrad& settings, const LossGradients& gradients,
                     SourceLocation where) {
  constexpr const char* kName = "adagrad";
  require_not_negative(kName, "learning_rate_decay", settings.learning_rate_decay, where);
  require_not_negative(kName, "initial_accumulator", settings.initial_accumulator, where);
  require_not_negative(kName, "epsilon", settings.epsilon, where);

  Updates updates(kName, gradients, settings, where);
  std::vector<Output> rates;
  for (const GroupSettings& group : updates.groups())
    rates.push_back(settings.learning_rate_decay == 0
                        ? group.rate
                        : group.rate / (1 + updates.step_count() * settings.learning_rate_decay));
  for (const auto& [variable, raw_grad] : updates.pairs()) {
    const DType dtype = raw_grad.dtype();
    const Output accumulator =
        updates.state(variable, "accumulator", settings.initial_accumulator);
    updates.enter(variable);
    const Output grad = updates.with_weight_decay(variable, raw_grad);
    const Output new_accumulator = accumulator + square(grad);
    const Output denominator = sqrt(new_accumulator) + updates.number(settings.epsilon, dtype);
    updates.set(accumulator, new_accumulator);
    updates.set(variable, updates.value(variable) -
                              updates.converted(rates[updates.group_of(variable).number], dtype) *
                                  (grad / denominator));
  }
  return updates.finish();
}

GRADGRAPH_DEFINE_OPTIMIZER(GradientDescent, "gradient_descent")
GRADGRAPH_DEFINE_OPTIMIZER(RmsProp, "rms_prop")
GRADGRAPH_DEFINE_OPTIMIZER(Adagrad, "adagrad")

}  // namespace gradgraph
