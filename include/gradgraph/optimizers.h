#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "gradgraph/graph.h"

/// Optimisers, composed of ops: their state is variables named "<variable>/<optimiser>/<slot>".
/// The formulas are PyTorch's (torch.optim), defaults included.
namespace gradgraph GRADGRAPH_API {

/// The learning rate as a function of the step: from the step counter, an int64 scalar variable
/// that counts the updates done, to a scalar. Schedules below make such functions.
using Schedule = std::function<Output(Output step)>;

/// Always `rate`. Schedules throw BuildError for rates that are negative or not finite, and
/// numbers of steps below 1.
Schedule constant_schedule(double rate, SourceLocation where = SourceLocation::current());
/// rate * factor^(floor(step / every)).
Schedule step_schedule(double rate, std::int64_t every, double factor,
                       SourceLocation where = SourceLocation::current());
/// rate * factor^(step / every).
Schedule exponential_schedule(double rate, std::int64_t every, double factor,
                              SourceLocation where = SourceLocation::current());
/// From `rate` down to `final_rate`, which comes after `steps` updates, along half a cosine.
Schedule cosine_schedule(double rate, std::int64_t steps, double final_rate = 0,
                         SourceLocation where = SourceLocation::current());
/// Linear from rate / steps to `rate`, in `steps` updates; then `after`, which starts counting.
Schedule warm_up(std::int64_t steps, double rate, Schedule after,
                 SourceLocation where = SourceLocation::current());

template <class F>
concept ScheduleFunction = std::invocable<F, Output>;
/// A number, an Output (float scalar), or a schedule.
class LearningRate {
 public:
  LearningRate(double rate) : value_(rate) {}                       // NOLINT: implicit
  LearningRate(Output rate) : value_(rate) {}                       // NOLINT: implicit
  LearningRate(Schedule schedule) : value_(std::move(schedule)) {}  // NOLINT: implicit
  /// The same from a lambda.
  template <ScheduleFunction F>
  LearningRate(F schedule)  // NOLINT: implicit
      : LearningRate(Schedule(std::move(schedule))) {}

  /// The rate as a scalar of `dtype`, at the step that `step` counts.
  Output at(Output step, DType dtype) const;

 private:
  std::variant<double, Output, Schedule> value_;
};

/// How gradients are clipped before they are applied; 0 means not at all.
struct Clipping {
  double by_value = 0;
  double by_norm = 0;
  double by_global_norm = 0;
};

/// Keeps gradients from vanishing in float16, whose least number is 6e-8: `minimize` takes those
/// of `scale * loss` and divides them by `scale`, in float32. A step in which one of them is not
/// finite changes no variable of the optimiser's and halves the scale; `growth_steps` others in a
/// row double it. The scale is a variable, "loss_scaling/scale". Source: torch.amp.GradScaler.
struct LossScale {
  double initial = 0;                ///< 0: gradients are those of the loss, as they are
  std::int64_t growth_steps = 2000;  ///< 0: the scale does not grow

  static LossScale dynamic() { return {.initial = 65536}; }
};

/// Settings that some variables have instead of the optimiser's own:
///
///     gg::AdamW{.groups = {{.pattern = "*bias", .weight_decay = 0},
///                          {.pattern = "encoder/*", .learning_rate = 1e-5}}}
///
/// Of the groups that a variable's name fits, the first one counts. A group that fits none of the
/// variables is a BuildError. Source: torch.optim's parameter groups.
struct ParameterGroup {
  std::string pattern;  ///< of names; "*" stands for any text, "?" for a character
  std::optional<LearningRate> learning_rate = {};
  std::optional<double> weight_decay = {};
};

/// A variable and the gradient of the loss by it, which is empty where none reaches it.
using GradientPair = std::pair<Output, Output>;

/// The gradients of `loss` (a floating scalar) by each of `variables`, in their order; when
/// empty, by all floating variables that it depends on, in the order in which they were made. A
/// gradient has its variable's shape and dtype; what `loss` does not depend on gets an empty
/// one. What comes between this and `apply` is the caller's: clipping, averaging, noise. Throws
/// BuildError for a loss that is no floating scalar, depends on no variable, and for an Output
/// that is no variable; GradientError for a path across an op without a gradient. Source:
/// tf.train.Optimizer.compute_gradients.
std::vector<GradientPair> compute_gradients(Output loss,
                                            const std::vector<Output>& variables = {},
                                            SourceLocation where = SourceLocation::current());

/// The optimisers are plain structs of settings: `gg::Adam{.epsilon = 1e-7}.minimize(loss)`.
///
/// `minimize` differentiates `loss` (a scalar) by `variables` (when empty: all variables that it
/// depends on) and returns the train op, which updates them all and adds one to the step counter,
/// "train/step"; layers that the loss depends on, such as batch_norm, move what they track, too.
/// `apply(pairs)` starts from given pairs of a variable and its gradient, of the same shape and
/// dtype, as `compute_gradients` makes them, leaves a loss scale to the caller, and moves what
/// those layers track that have one of the variables:
///
///   auto pairs = gg::compute_gradients(loss);
///   for (auto& [variable, gradient] : pairs)
///     if (gradient) gradient = gg::clip_by_norm(gradient, 1);
///   auto train = gg::Adam{}.apply(pairs);
///
/// Neither changes the graph when it throws. A variable that no gradient reaches, or a pair with
/// an empty gradient, is left out; GradientError when none is left, BuildError for settings out
/// of range, a loss that is no floating scalar, and pairs that do not fit. The train op runs
/// after the control inputs of the scope that it is made in.

/// Gradient descent, with momentum when asked for. Source: torch.optim.SGD.
struct GradientDescent {
  LearningRate learning_rate = 1e-2;
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
  double weight_decay = 0;
  std::vector<ParameterGroup> groups = {};
  Clipping clip = {};
  LossScale loss_scale = {};

  Output minimize(Output loss, const std::vector<Output>& variables = {},
                  SourceLocation where = SourceLocation::current()) const;
  Output apply(const std::vector<GradientPair>& gradients,
               SourceLocation where = SourceLocation::current()) const;
};

/// Source: torch.optim.RMSprop.
struct RmsProp {
  LearningRate learning_rate = 1e-2;
  double alpha = 0.99;
  double epsilon = 1e-8;
  double momentum = 0;
  bool centered = false;
  double weight_decay = 0;
  std::vector<ParameterGroup> groups = {};
  Clipping clip = {};
  LossScale loss_scale = {};

  Output minimize(Output loss, const std::vector<Output>& variables = {},
                  SourceLocation where = SourceLocation::current()) const;
  Output apply(const std::vector<GradientPair>& gradients,
               SourceLocation where = SourceLocation::current()) const;
};

/// Source: torch.optim.Adagrad.
struct Adagrad {
  LearningRate learning_rate = 1e-2;
  double learning_rate_decay = 0;
  double initial_accumulator = 0;
  double epsilon = 1e-10;
  double weight_decay = 0;
  std::vector<ParameterGroup> groups = {};
  Clipping clip = {};
  LossScale loss_scale = {};

  Output minimize(Output loss, const std::vector<Output>& variables = {},
                  SourceLocation where = SourceLocation::current()) const;
  Output apply(const std::vector<GradientPair>& gradients,
               SourceLocation where = SourceLocation::current()) const;
};

/// Source: torch.optim.Adam.
struct Adam {
  LearningRate learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;  ///< L2: added to the gradient
  std::vector<ParameterGroup> groups = {};
  Clipping clip = {};
  LossScale loss_scale = {};

  Output minimize(Output loss, const std::vector<Output>& variables = {},
                  SourceLocation where = SourceLocation::current()) const;
  Output apply(const std::vector<GradientPair>& gradients,
               SourceLocation where = SourceLocation::current()) const;
};

/// Source: torch.optim.AdamW.
struct AdamW {
  LearningRate learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 1e-2;  ///< decoupled: shrinks the variable itself
  std::vector<ParameterGroup> groups = {};
  Clipping clip = {};
  LossScale loss_scale = {};

  Output minimize(Output loss, const std::vector<Output>& variables = {},
                  SourceLocation where = SourceLocation::current()) const;
  Output apply(const std::vector<GradientPair>& gradients,
               SourceLocation where = SourceLocation::current()) const;
};

/// Adam with Nesterov's momentum. Source: Dozat 2016; torch.optim.NAdam.
struct Nadam {
  LearningRate learning_rate = 2e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double momentum_decay = 4e-3;
  double weight_decay = 0;  ///< L2: added to the gradient
  std::vector<ParameterGroup> groups = {};
  Clipping clip = {};
  LossScale loss_scale = {};

  Output minimize(Output loss, const std::vector<Output>& variables = {},
                  SourceLocation where = SourceLocation::current()) const;
  Output apply(const std::vector<GradientPair>& gradients,
               SourceLocation where = SourceLocation::current()) const;
};

/// Moves by the sign of a mean of gradients. Source: Chen et al. 2023, algorithm 2.
struct Lion {
  LearningRate learning_rate = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double weight_decay = 0;  ///< decoupled: shrinks the variable itself
  std::vector<ParameterGroup> groups = {};
  Clipping clip = {};
  LossScale loss_scale = {};

  Output minimize(Output loss, const std::vector<Output>& variables = {},
                  SourceLocation where = SourceLocation::current()) const;
  Output apply(const std::vector<GradientPair>& gradients,
               SourceLocation where = SourceLocation::current()) const;
};

/// Adam whose steps have the length of the rate times the variable's norm, for large batches.
/// Source: You et al. 2020, algorithm 2, with the norms as they are.
struct Lamb {
  LearningRate learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-6;
  double weight_decay = 0;  ///< part of the step, before its length is set
  std::vector<ParameterGroup> groups = {};
  Clipping clip = {};
  LossScale loss_scale = {};

  Output minimize(Output loss, const std::vector<Output>& variables = {},
                  SourceLocation where = SourceLocation::current()) const;
  Output apply(const std::vector<GradientPair>& gradients,
               SourceLocation where = SourceLocation::current()) const;
};

/// Means of variables over their last 1 / (1 - decay) values or so, often better weights than the
/// last ones.
struct MovingAverages {
  /// The train op, and after it the averages' own step.
  Output train;
  /// Variables and averages change places; so before an evaluation and after it.
  Output swap;
  /// A variable, and its average: "<variable>/average", which begins at its initial value. In
  /// float32 where the variable has 16 bits, which small moves would be too small for.
  std::vector<std::pair<Output, Output>> averages;
};
/// Averages of `variables`, when empty of all that are trainable, which move after each step of
/// `train`. The first steps count for more: the decay is min(decay, (1 + step) / (10 + step)).
/// Throws BuildError for a decay outside [0, 1) and an Output that is no floating variable.
/// Source: tf.train.ExponentialMovingAverage.
MovingAverages moving_averages(Output train, double decay = 0.999,
                               const std::vector<Output>& variables = {},
                               SourceLocation where = SourceLocation::current());

class Optimizer;
template <class T>
concept OptimizerSettings = !std::same_as<T, Optimizer>;

/// Any of the above, chosen at run time.
class Optimizer {
 public:
  template <OptimizerSettings T>
  Optimizer(const T& optimizer)  // NOLINT: implicit
      : minimize_(
            [optimizer](Output loss, const std::vector<Output>& variables, SourceLocation where) {
              return optimizer.minimize(loss, variables, where);
            }),
        apply_([optimizer](const std::vector<GradientPair>& gradients, SourceLocation where) {
          return optimizer.apply(gradients, where);
        }) {}

  Output minimize(Output loss, const std::vector<Output>& variables = {},
                  SourceLocation where = SourceLocation::current()) const {
    return minimize_(loss, variables, where);
  }
  Output apply(const std::vector<GradientPair>& gradients,
               SourceLocation where = SourceLocation::current()) const {
    return apply_(gradients, where);
  }

 private:
  std::function<Output(Output, const std::vector<Output>&, SourceLocation)> minimize_;
  std::function<Output(const std::vector<GradientPair>&, SourceLocation)> apply_;
};

/// Gradients of several batches for one update: a large batch, in the memory that a small one
/// takes.
struct GradientAccumulation {
  /// Adds the gradients of a batch to sums, "<variable>/accumulated".
  Output accumulate;
  /// The train op: an update by the mean of the gradients added up and its own batch's. The sums
  /// are 0 again after it.
  Output train;
};
/// The means of batches count alike, whatever their size. Variables of float16 and bfloat16 have
/// sums of float32. What layers such as batch_norm track moves with each batch. Throws as
/// `compute_gradients` and the optimiser's `apply`, and BuildError for an optimiser with a loss
/// scale.
///
///     const auto [accumulate, train] = gg::accumulate_gradients(gg::Adam{}, loss);
///     gg::fit(session, {.batch = batch, .loss = loss, .train = train, .accumulate = accumulate},
///             dataset, {.batch_size = 32, .batches_per_update = 4});
GradientAccumulation accumulate_gradients(const Optimizer& optimizer, Output loss,
                                          const std::vector<Output>& variables = {},
                                          SourceLocation where = SourceLocation::current());

}  // namespace gradgraph
