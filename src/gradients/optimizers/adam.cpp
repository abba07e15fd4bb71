#include "gradgraph/ops.h"
#include "gradients/optimizers/settings.h"
#include "gradients/optimizers/updates.h"

/// Optimisers that follow a mean of gradients, most of them also one of their squares.
namespace gradgraph {
namespace {

/// x + weight * (target - x).
Output towards(Output x, Output target, Output weight) { return x + weight * (target - x); }

/// What Adam and its relatives keep for a variable, moved on by its gradient.
struct Moments {
  Output mean, variance;
};

template <class Settings>
void require_moments(const char* name, const Settings& settings, SourceLocation where) {
  require_fraction(name, "beta1", settings.beta1, where);
  require_fraction(name, "beta2", settings.beta2, where);
  require_not_negative(name, "epsilon", settings.epsilon, where);
}

template <class Settings>
Moments move_moments(Updates& updates, const Output& variable, const Output& grad,
                     const Settings& settings) {
  const DType dtype = grad.dtype();
  const Output mean = updates.state(variable, "first_moment");
  const Output variance = updates.state(variable, "second_moment");
  const Moments moved = {towards(mean, grad, updates.number(1 - settings.beta1, dtype)),
                         updates.number(settings.beta2, dtype) * variance +
                             updates.number(1 - settings.beta2, dtype) * square(grad)};
  updates.set(mean, moved.mean);
  updates.set(variance, moved.variance);
  return moved;
}

/// 1 - beta^count: what a mean that began at 0 is to be divided by.
Output bias_correction(Updates& updates, double beta, const Output& count) {
  return 1 - pow(updates.number(beta, float64), count);
}

/// The root of the mean square, without the bias, plus epsilon.
Output denominator_of(Updates& updates, const Output& variance, const Output& correction,
                      double epsilon) {
  const DType dtype = variance.dtype();
  return sqrt(variance) * updates.converted(correction, dtype) + updates.number(epsilon, dtype);
}

/// Adam and AdamW. A decoupled weight decay takes rate * decay of the variable away.
template <class Settings>
Output build_adam(const char* name, bool decoupled, const Settings& settings,
                  const LossGradients& gradients, SourceLocation where) {
  require_moments(name, settings, where);
  Updates updates(name, gradients, settings, where);
  const Output count = updates.step_count() + 1;
  const Output mean_correction = bias_correction(updates, settings.beta1, count);
  const Output correction = rsqrt(bias_correction(updates, settings.beta2, count));
  std::vector<Output> step_sizes, kept;
  for (const GroupSettings& group : updates.groups()) {
    step_sizes.push_back(group.rate / mean_correction);
    const bool shrinks = decoupled && group.weight_decay != 0;
    kept.push_back(shrinks ? 1 - group.rate * group.weight_decay : Output());
  }
  for (const auto& [variable, raw_grad] : updates.pairs()) {
    const DType dtype = raw_grad.dtype();
    const std::size_t group = updates.group_of(variable).number;
    updates.enter(variable);
    const Output grad = decoupled ? raw_grad : updates.with_weight_decay(variable, raw_grad);
    const Moments moments = move_moments(updates, variable, grad, settings);
    const Output denominator =
        denominator_of(updates, moments.variance, correction, settings.epsilon);
    const Output now = updates.value(variable);
    const Output old = kept[group] ? now * updates.converted(kept[group], dtype) : now;
    updates.set(variable,
                old - updates.converted(step_sizes[group], dtype) * (moments.mean / denominator));
  }
  return updates.finish();
}

/// The Euclidean norm, as a scalar.
Output norm_of(const Output& x) { return sqrt(sum(square(x))); }

}  // namespace

Output build_updates(const Adam& settings, const LossGradients& gradients, SourceLocation where) {
  return build_adam("adam", false, settings, gradients, where);
}

Output build_updates(const AdamW& settings, const LossGradients& gradients,
                     SourceLocation where) {
  return build_adam("adam_w", true, settings, gradients, where);
}

Output build_updates(const Nadam& settings, const LossGradients& gradients,
                     SourceLocation where) {
  constexpr const char* kName = "nadam";
  require_moments(kName, settings, where);
  require_not_negative(kName, "momentum_decay", settings.momentum_decay, where);
  Updates updates(kName, gradients, settings, where);
  const Output count = updates.step_count() + 1;
  const Output correction = rsqrt(bias_correction(updates, settings.beta2, count));
  const auto momentum_at = [&](const Output& step) {
    return settings.beta1 *
           (1 - 0.5 * pow(updates.number(0.96, float64), step * settings.momentum_decay));
  };
  const Output momentum = momentum_at(count), next = momentum_at(count + 1);
  const Output product = updates.shared_state("momentum_product", 1);
  const Output new_product = product * momentum;
  std::vector<Output> grad_sizes, mean_sizes;
  for (const GroupSettings& group : updates.groups()) {
    grad_sizes.push_back(group.rate * (1 - momentum) / (1 - new_product));
    mean_sizes.push_back(group.rate * next / (1 - new_product * next));
  }
  updates.set(product, new_product);
  for (const auto& [variable, raw_grad] : updates.pairs()) {
    const DType dtype = raw_grad.dtype();
    const std::size_t group = updates.group_of(variable).number;
    updates.enter(variable);
    const Output grad = updates.with_weight_decay(variable, raw_grad);
    const Moments moments = move_moments(updates, variable, grad, settings);
    const Output denominator =
        denominator_of(updates, moments.variance, correction, settings.epsilon);
    const Output direction = updates.converted(grad_sizes[group], dtype) * grad +
                             updates.converted(mean_sizes[group], dtype) * moments.mean;
    updates.set(variable, updates.value(variable) - direction / denominator);
  }
  return updates.finish();
}

Output build_updates(const Lion& settings, const LossGradients& gradients, SourceLocation where) {
  constexpr const char* kName = "lion";
  require_fraction(kName, "beta1", settings.beta1, where);
  require_fraction(kName, "beta2", settings.beta2, where);
  Updates updates(kName, gradients, settings, where);
  for (const auto& [variable, grad] : updates.pairs()) {
    const DType dtype = grad.dtype();
    const Output mean = updates.state(variable, "mean");
    updates.enter(variable);
    const Output direction = sign(towards(mean, grad, updates.number(1 - settings.beta1, dtype)));
    updates.set(mean, towards(mean, grad, updates.number(1 - settings.beta2, dtype)));
    updates.descend(variable, updates.with_weight_decay(variable, direction));
  }
  return updates.finish();
}

Output build_updates(const Lamb& settings, const LossGradients& gradients, SourceLocation where) {
  constexpr const char* kName = "lamb";
  require_moments(kName, settings, where);
  Updates updates(kName, gradients, settings, where);
  const Output count = updates.step_count() + 1;
  const Output mean_correction = 1 / bias_correction(updates, settings.beta1, count);
  const Output correction = rsqrt(bias_correction(updates, settings.beta2, count));
  for (const auto& [variable, grad] : updates.pairs()) {
    const DType dtype = grad.dtype();
    updates.enter(variable);
    const Moments moments = move_moments(updates, variable, grad, settings);
    const Output adam = moments.mean * updates.converted(mean_correction, dtype) /
                        denominator_of(updates, moments.variance, correction, settings.epsilon);
    const Output direction = updates.with_weight_decay(variable, adam);
    const Output now = updates.value(variable);
    const Output length = norm_of(now), step_length = norm_of(direction);
    // A variable that is 0 could never leave.
    const Output has_ratio = logical_and(greater(length, 0), greater(step_length, 0));
    const Output ratio =
        gradgraph::where(has_ratio, length / gradgraph::where(has_ratio, step_length, 1), 1);
    updates.set(variable, now - updates.converted(updates.group_of(variable).rate, dtype) *
                                    ratio * direction);
  }
  return updates.finish();
}

GRADGRAPH_DEFINE_OPTIMIZER(Adam, "adam")
GRADGRAPH_DEFINE_OPTIMIZER(AdamW, "adam_w")
GRADGRAPH_DEFINE_OPTIMIZER(Nadam, "nadam")
GRADGRAPH_DEFINE_OPTIMIZER(Lion, "lion")
GRADGRAPH_DEFINE_OPTIMIZER(Lamb, "lamb")

}  // namespace gradgraph
