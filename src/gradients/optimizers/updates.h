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
  Output loss = {};   ///< empty where only gradients are known
};

/// Settings of a group of variables.
struct GroupSettings {
  std::size_t number = 0;  ///< 0 is the optimiser's own, for variables in no group
  Output rate = {};        ///< float64
  double weight_decay = 0;
};

/// What the optimisers have in common: the train op of one `apply` while it is being built.
/// Scalars that all variables share (rates, bias corrections) are computed once, in float64.
class Updates {
 public:
  /// Divides by the scale and clips `gradients`, and opens the scope "train". Throws BuildError
  /// for a pair that does not fit or repeats a variable, and groups that cannot be; GradientError
  /// when no pair has a gradient.
  template <class Settings>
  Updates(std::string_view optimizer, const LossGradients& gradients, const Settings& settings,
          SourceLocation where)
      : Updates(optimizer, gradients, settings.clip, where) {
    add_groups(settings.learning_rate, settings.weight_decay, settings.groups, where);
  }

  /// Of variables of float16 and bfloat16 gradients are float32 here, and so is their state: what
  /// an optimiser adds up, squares and divides by would vanish or overflow.
  const std::vector<GradientPair>& pairs() const { return pairs_; }
  /// The variable's value in its gradient's dtype.
  Output value(const Output& variable) const;
  /// How many updates were done before this one: int64, float64.
  Output step() const { return step_; }
  Output step_count();

  /// The optimiser's settings, then those of its groups.
  const std::vector<GroupSettings>& groups() const { return groups_; }
  const GroupSettings& group_of(const Output& variable) const;
  /// gradient + weight decay * variable
  Output with_weight_decay(const Output& variable, const Output& gradient);

  /// Nodes made from now on belong to the update of `variable`.
  void enter(const Output& variable);
  /// A variable beside `variable`, of its shape and its gradient's dtype:
  /// "<variable>/<optimiser>/<slot>".
  Output state(const Output& variable, std::string_view slot, double initial = 0);
  /// A float64 scalar that all variables share: "train/<slot>".
  Output shared_state(std::string_view slot, double initial);
  /// `value` as a scalar of `dtype`; the same node for the same value.
  Output number(double value, DType dtype);
  /// The float64 scalar `value` as `dtype`; the same node for the same value.
  Output converted(const Output& value, DType dtype);
  /// `variable` takes `value`, in its own dtype, at the end of the step.
  void set(const Output& variable, const Output& value);
  /// `variable` goes down by its group's rate times `direction`.
  void descend(const Output& variable, const Output& direction);

  /// Counts the step and returns the train op.
  Output finish();

 private:
  Updates(std::string_view optimizer, const LossGradients& gradients, const Clipping& clip,
          SourceLocation where);
  void add_groups(const LearningRate& rate, double weight_decay,
                  const std::vector<ParameterGroup>& groups, SourceLocation where);
  void enter_shared();
  void remove_scale(const LossGradients& gradients);
  /// Whether what the train op runs after updates a variable of its own too: then it goes on from
  /// what that leaves.
  bool continues(const std::vector<Node*>& control_inputs) const;
  /// `next` where this step's gradients are finite, else what `variable` is.
  Output if_finite(const Output& variable, const Output& next) const;

  std::string_view optimizer_;
  std::vector<GradientPair> pairs_;
  Graph& graph_;
  BuildTransaction transaction_;
  ContextGuard guard_;
  std::vector<Node*> control_inputs_;  ///< the user's: the train op runs after them
  std::vector<Node*> earlier_;         ///< the same where its updates have to, else empty
  std::string scope_;                  ///< "train/"
  std::string device_;                 ///< the device that the user's scope asks for
  Output step_, step_count_;
  std::vector<GroupSettings> groups_;
  std::map<const Node*, std::size_t> group_numbers_;  ///< by variable
  Output is_finite_;                                  ///< of scaled gradients: a scalar
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
/// The same of all layers that have one of the pairs' variables.
void add_layer_updates(const Output& train, const std::vector<GradientPair>& pairs);

/// The train op of each optimiser.
Output build_updates(const GradientDescent& settings, const LossGradients& gradients,
                     SourceLocation where);
Output build_updates(const RmsProp& settings, const LossGradients& gradients,
                     SourceLocation where);
Output build_updates(const Adagrad& settings, const LossGradients& gradients,
                     SourceLocation where);
Output build_updates(const Adam& settings, const LossGradients& gradients, SourceLocation where);
Output build_updates(const AdamW& settings, const LossGradients& gradients, SourceLocation where);
Output build_updates(const Nadam& settings, const LossGradients& gradients, SourceLocation where);
Output build_updates(const Lion& settings, const LossGradients& gradients, SourceLocation where);
Output build_updates(const Lamb& settings, const LossGradients& gradients, SourceLocation where);

/// `apply` of every optimiser.
template <class T>
Output apply_by(const T& optimizer, std::string_view name,
                const std::vector<GradientPair>& gradients, SourceLocation where) {
  require_no_scale(name, optimizer.loss_scale, where);
  const Output train = build_updates(optimizer, {.pairs = gradients}, where);
  add_layer_updates(train, gradients);
  return train;
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
