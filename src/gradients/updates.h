#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "gradgraph/optimizers.h"

namespace gradgraph {

/// What a train op is built from.
struct LossGradients {
  std::vector<GradientPair> pairs;
  LossScale loss_scale = {};
  Output scale = {};  ///< that they are multiplied by: a float32 variable, or empty
};

/// What the optimisers have in common: the train op of one `apply` while it is being built.
/// Scalars that all variables share (rates, bias corrections) are computed once, in float64.
class Updates {
 public:
  /// Divides by the scale and clips `gradients`, and opens the scope "train". Throws BuildError
  /// for a pair that does not fit or repeats a variable, GradientError when no pair has a
  /// gradient.
  Updates(std::string_view optimizer, const LossGradients& gradients, const Clipping& clip,
          SourceLocation where);

  /// Of variables of float16 and bfloat16 gradients are float32 here, and so is their state: what
  /// an optimiser adds up, squares and divides by would vanish or overflow.
  const std::vector<GradientPair>& pairs() const { return pairs_; }
  /// The variable's value in its gradient's dtype.
  Output value(const Output& variable) const;
  /// How many updates were done before this one: int64, float64.
  Output step() const { return step_; }
  Output step_count();

  /// Nodes made from now on belong to the update of `variable`.
  void enter(const Output& variable);
  /// A variable beside `variable`, of its shape and its gradient's dtype:
  /// "<variable>/<optimiser>/<slot>".
  Output state(const Output& variable, std::string_view slot, double initial = 0);
  /// `value` as a scalar of `dtype`; the same node for the same value.
  Output number(double value, DType dtype);
  /// The float64 scalar `value` as `dtype`; the same node for the same value.
  Output converted(const Output& value, DType dtype);
  /// `variable` takes `value`, in its own dtype, at the end of the step.
  void set(const Output& variable, const Output& value);

  /// Counts the step and returns the train op.
  Output finish();

 private:
  void enter_shared();
  void remove_scale(const LossGradients& gradients);
  /// `value` where this step's gradients are finite, else what `variable` is.
  Output if_finite(const Output& variable, const Output& value) const;

  std::string_view optimizer_;
  std::vector<GradientPair> pairs_;
  Graph& graph_;
  BuildTransaction transaction_;
  ContextGuard guard_;
  std::vector<Node*> control_inputs_;  ///< the user's: the train op runs after them
  std::string scope_;                  ///< "train/"
  std::string device_;                 ///< the device that the user's scope asks for
  Output step_, step_count_;
  Output is_finite_;  ///< of scaled gradients: a scalar
  std::map<std::pair<double, DType>, Output> numbers_;
  std::map<std::pair<int, DType>, Output> converted_;
  std::vector<Output> assigns_;
};

/// The gradients of `loss` by `variables`, or by all variables that it depends on.
LossGradients loss_gradients(std::string_view optimizer, const Output& loss,
                             const std::vector<Output>& variables, SourceLocation where,
                             const LossScale& loss_scale = {});

/// Throws BuildError unless `loss` is a floating scalar.
void require_loss(std::string_view optimizer, const Output& loss, SourceLocation where);

/// Throws BuildError for one, which gradients that are given cannot have.
void require_no_scale(std::string_view optimizer, const LossScale& loss_scale,
                      SourceLocation where);

/// Lets `train` run the updates of all layers that `loss` depends on.
void add_layer_updates(const Output& train, const Output& loss);

/// The train op of each optimiser.
Output build_updates(const GradientDescent& settings, const LossGradients& gradients,
                     SourceLocation where);
Output build_updates(const RmsProp& settings, const LossGradients& gradients,
                     SourceLocation where);
Output build_updates(const Adagrad& settings, const LossGradients& gradients,
                     SourceLocation where);
Output build_updates(const Adam& settings, const LossGradients& gradients, SourceLocation where);
Output build_updates(const AdamW& settings, const LossGradients& gradients, SourceLocation where);

/// `apply` of every optimiser.
template <class T>
Output apply_by(const T& optimizer, std::string_view name,
                const std::vector<GradientPair>& gradients, SourceLocation where) {
  require_no_scale(name, optimizer.loss_scale, where);
  return build_updates(optimizer, {.pairs = gradients}, where);
}

/// `minimize` of every optimiser. When it throws, the graph is as it was.
template <class T>
Output minimize_by(const T& optimizer, std::string_view name, const Output& loss,
                   const std::vector<Output>& variables, SourceLocation where) {
  require_loss(name, loss, where);
  BuildTransaction transaction(loss.graph());
  const Output train = build_updates(
      optimizer, loss_gradients(name, loss, variables, where, optimizer.loss_scale), where);
  add_layer_updates(train, loss);
  return transaction.commit(train);
}

}  // namespace gradgraph
