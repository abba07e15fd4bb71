#include "gradients/optimizers/updates.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/text.h"
#include "gradgraph/gradients.h"
#include "gradgraph/op.h"
#include "gradgraph/ops.h"
#include "gradients/variables.h"
#include "graph/slot.h"

namespace gradgraph {
namespace {

[[noreturn]] void fail(std::string_view optimizer, const std::string& message,
                       SourceLocation where) {
  throw BuildError(fmt::format("{}: {}", optimizer, message), where);
}

void require_variable(std::string_view optimizer, const Output& variable, SourceLocation where) {
  if (!variable) fail(optimizer, "a variable is empty: give what gg::variable returned", where);
  if (variable.node().op().name != "variable")
    fail(optimizer,
         fmt::format("'{}' is a {}, no variable", variable.name(), variable.node().op().name),
         where);
}

void require_pair(std::string_view optimizer, const GradientPair& pair, const Graph& graph,
                  SourceLocation where) {
  const auto& [variable, grad] = pair;
  require_variable(optimizer, variable, where);
  if (&variable.graph() != &graph || (grad && &grad.graph() != &graph))
    fail(optimizer, fmt::format("'{}' is of another graph", variable.name()), where);
  if (!grad) return;
  if (!is_floating(variable.dtype()) || grad.dtype() != variable.dtype() ||
      !grad.shape().compatible_with(variable.shape()))
    fail(optimizer,
         fmt::format("'{}' is {}{}, its gradient {}{}", variable.name(), variable.dtype(),
                     variable.shape(), grad.dtype(), grad.shape()),
         where);
}

/// By node id: whether the loss depends on the node.
std::vector<bool> needed_for(const Output& loss) {
  std::vector<bool> needed(slot(loss) + 1);
  needed.back() = true;
  // Inputs come before their readers.
  for (std::size_t id = needed.size(); id-- > 0;)
    if (needed[id])
      for (const Output& input : loss.graph().nodes()[id].inputs()) needed[slot(input)] = true;
  return needed;
}

/// Why no gradient of `loss` reaches any of these variables.
std::string why_none(const Output& loss, const std::vector<GradientPair>& pairs) {
  const std::vector<bool> needed = needed_for(loss);
  std::vector<bool> depends(needed.size());
  for (const auto& [variable, grad] : pairs)
    if (slot(variable) < depends.size()) depends[slot(variable)] = true;
  const Node* end = nullptr;  // what is nearest to the loss
  for (std::size_t id = 0; id < needed.size(); ++id) {
    const Node& node = loss.graph().nodes()[id];
    if (!std::ranges::any_of(node.inputs(),
                             [&](const Output& input) { return depends[slot(input)]; }))
      continue;
    depends[id] = true;
    const bool passes_on = is_floating(node.dtype()) && node.op().name != "stop_gradient";
    if (needed[id] && !passes_on) end = &node;
  }
  if (!depends.back()) return fmt::format("'{}' does not depend on it", loss.name());
  if (!end) return "all ops between give none";
  return fmt::format("'{}' ({}) in {} passes none on", end->name(), end->op().name,
                     to_string(end->where()));
}

std::vector<GradientPair> connected(std::string_view optimizer, const LossGradients& gradients,
                                    SourceLocation where) {
  const std::vector<GradientPair>& pairs = gradients.pairs;
  if (pairs.empty()) fail(optimizer, "there is no variable to update", where);
  std::set<const Node*> seen;
  std::vector<GradientPair> result;
  for (const GradientPair& pair : pairs) {
    require_pair(optimizer, pair, pairs.front().first.graph(), where);
    if (!seen.insert(&pair.first.node()).second)
      fail(optimizer, fmt::format("'{}' is given twice", pair.first.name()), where);
    if (pair.second) result.push_back(pair);
  }
  if (result.empty())
    throw GradientError(
        fmt::format("{}: no gradient reaches any variable ('{}'{}){}", optimizer,
                    pairs.front().first.name(), pairs.size() > 1 ? ", ..." : "",
                    gradients.loss ? ": " + why_none(gradients.loss, pairs) : std::string()),
        where);
  return result;
}

void clip_gradients(std::string_view optimizer, std::vector<GradientPair>& pairs,
                    const Clipping& clip, SourceLocation where) {
  if (!(clip.by_value >= 0) || !(clip.by_norm >= 0) || !(clip.by_global_norm >= 0))
    fail(optimizer, "gradients cannot be clipped to a negative limit", where);
  for (auto& [variable, grad] : pairs) {
    if (clip.by_value > 0) grad = clip_by_value(grad, -clip.by_value, clip.by_value, where);
    if (clip.by_norm > 0) grad = clip_by_norm(grad, clip.by_norm, where);
  }
  if (clip.by_global_norm > 0) {
    std::vector<Output> grads;
    for (const GradientPair& pair : pairs) grads.push_back(pair.second);
    grads = clip_by_global_norm(grads, clip.by_global_norm, where);
    for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i].second = grads[i];
  }
}

/// The variable that the loss is multiplied by, or nothing.
Output make_scale(std::string_view optimizer, const Output& loss, const LossScale& settings,
                  SourceLocation where) {
  if (!(settings.initial >= 0 && std::isfinite(settings.initial)) || settings.growth_steps < 0)
    fail(optimizer,
         fmt::format("a loss scale must be finite and not negative, and its growth_steps not "
                     "negative, but they are {} and {}",
                     settings.initial, settings.growth_steps),
         where);
  if (settings.initial == 0) return {};
  Graph& graph = loss.graph();
  const ContextGuard guard(graph);
  BuildContext& context = graph.context();
  context.scope = graph.unique_scope("loss_scaling") + "/";
  context.phase = Phase::update;
  context.where = where;
  context.control_inputs.clear();
  return variable(graph, Tensor(static_cast<float>(settings.initial)), "scale");
}

}  // namespace

Updates::Updates(std::string_view optimizer, const LossGradients& gradients, const Clipping& clip,
                 SourceLocation where)
    : optimizer_(optimizer),
      pairs_(connected(optimizer, gradients, where)),
      graph_(pairs_.front().first.graph()),
      transaction_(graph_),
      guard_(graph_) {
  BuildContext& context = graph_.context();
  control_inputs_ = std::exchange(context.control_inputs, {});
  if (continues(control_inputs_)) earlier_ = control_inputs_;
  device_ = context.device;
  context.scope = scope_ = graph_.unique_scope("train") + "/";
  context.phase = Phase::update;
  context.where = where;
  if (gradients.scale) remove_scale(gradients);
  clip_gradients(optimizer, pairs_, clip, where);
  for (auto& [variable, grad] : pairs_)
    if (is_half(grad.dtype())) grad = cast(grad, float32);
  step_ = variable(graph_, Tensor(std::int64_t{0}), "step");
}

void Updates::remove_scale(const LossGradients& gradients) {
  const Output scale = gradients.scale, factor = 1 / scale;
  Output total;
  for (auto& [variable, grad] : pairs_) {
    if (is_half(grad.dtype())) grad = cast(grad, float32);
    grad = grad * converted(factor, grad.dtype());
    // 0 but where an element is infinite or NaN.
    const Output zero = cast(sum(grad * number(0, grad.dtype())), float32);
    total = total ? total + zero : zero;
  }
  is_finite_ = equal(total, number(0, float32));

  const ContextGuard guard(graph_);
  const std::string& name = scale.node().name();
  graph_.context().scope = name.substr(0, name.rfind('/') + 1);
  const Output count = variable(graph_, Tensor(std::int64_t{0}), "steps");
  const Output halved = maximum(scale * 0.5, 1.0);
  Output kept = scale;
  if (const std::int64_t steps = gradients.loss_scale.growth_steps; steps > 0) {
    const Output grows = equal(count + 1, steps);
    // A scale that is infinite would never be right again.
    kept = gradgraph::where(grows, minimum(scale * 2, 0x1p100), scale);
    assigns_.push_back(assign(
        count, gradgraph::where(logical_and(is_finite_, logical_not(grows)), count + 1, 0)));
  }
  assigns_.push_back(assign(scale, gradgraph::where(is_finite_, kept, halved)));
}

void Updates::add_groups(const LearningRate& rate, double weight_decay,
                         const std::vector<ParameterGroup>& groups, SourceLocation where) {
  const auto require_decay = [&](double decay) {
    if (!(decay >= 0))
      fail(optimizer_, fmt::format("weight_decay must not be negative, but is {}", decay), where);
  };
  require_decay(weight_decay);
  groups_.push_back({0, rate.at(step_, float64), weight_decay});
  for (const ParameterGroup& group : groups) {
    const std::size_t number = groups_.size();
    bool fits_any = false;
    for (const auto& [variable, grad] : pairs_) {
      if (!fits(group.pattern, variable)) continue;
      group_numbers_.try_emplace(&variable.node(), number);
      fits_any = true;
    }
    if (!fits_any)
      fail(optimizer_,
           fmt::format("the group '{}' fits none of the variables ('{}', ...)", group.pattern,
                       pairs_.front().first.name()),
           where);
    const double decay = group.weight_decay.value_or(weight_decay);
    require_decay(decay);
    groups_.push_back(
        {number,
         group.learning_rate ? group.learning_rate->at(step_, float64) : groups_.front().rate,
         decay});
  }
}

const GroupSettings& Updates::group_of(const Output& variable) const {
  const auto known = group_numbers_.find(&variable.node());
  return groups_[known == group_numbers_.end() ? 0 : known->second];
}

Output Updates::with_weight_decay(const Output& variable, const Output& gradient) {
  const double decay = group_of(variable).weight_decay;
  if (decay == 0) return gradient;
  return gradient + number(decay, gradient.dtype()) * value(variable);
}

Output Updates::if_finite(const Output& variable, const Output& next) const {
  if (!is_finite_) return next;
  const ContextGuard guard(graph_);
  graph_.context().control_inputs = earlier_;
  return gradgraph::where(is_finite_, next, variable);
}

void Updates::enter_shared() {
  graph_.context().scope = scope_;
  graph_.context().device = device_;
}

void Updates::enter(const Output& variable) {
  graph_.context().scope = scope_ + variable.node().name() + "/";
  graph_.context().device = variable.node().device();
}

Output Updates::step_count() {
  if (!step_count_) {
    const ContextGuard guard(graph_);
    enter_shared();
    step_count_ = cast(step_, float64);
  }
  return step_count_;
}

Output Updates::number(double value, DType dtype) {
  Output& shared = numbers_[{value, dtype}];
  if (!shared) {
    const ContextGuard guard(graph_);
    enter_shared();
    shared = constant(graph_, Tensor::full(dtype, {}, value));
  }
  return shared;
}

Output Updates::converted(const Output& value, DType dtype) {
  if (value.dtype() == dtype) return value;
  Output& shared = converted_[{value.node().id(), dtype}];
  if (!shared) {
    const ContextGuard guard(graph_);
    enter_shared();
    shared = cast(value, dtype);
  }
  return shared;
}

bool Updates::continues(const std::vector<Node*>& control_inputs) const {
  std::set<const Node*> own, seen;
  for (const auto& [variable, grad] : pairs_) own.insert(&variable.node());
  std::vector<const Node*> open(control_inputs.begin(), control_inputs.end());
  while (!open.empty()) {
    const Node& node = *open.back();
    open.pop_back();
    if (!seen.insert(&node).second) continue;
    if (node.op().traits.updates_variable && own.contains(&node.input(0).node())) return true;
    for (const Output& input : node.inputs())
      if (input) open.push_back(&input.node());
    for (const Node* before : node.control_inputs()) open.push_back(before);
  }
  return false;
}

Output Updates::value(const Output& variable) const {
  const ContextGuard guard(graph_);
  graph_.context().control_inputs = earlier_;
  if (is_half(variable.dtype())) return cast(variable, float32);
  return earlier_.empty() ? variable : identity(variable);
}

Output Updates::state(const Output& variable, std::string_view slot, double initial) {
  const ContextGuard guard(graph_);
  enter(variable);
  graph_.context().scope = fmt::format("{}/{}/", variable.node().name(), optimizer_);
  const DType dtype = is_half(variable.dtype()) ? float32 : variable.dtype();
  const Output value = number(initial, dtype);
  return gradgraph::variable(fill(variable.shape(), value), slot);
}

Output Updates::shared_state(std::string_view slot, double initial) {
  const ContextGuard guard(graph_);
  enter_shared();
  return variable(graph_, Tensor(initial), slot);
}

void Updates::set(const Output& variable, const Output& value) {
  const bool rounds = value.dtype() != variable.dtype();
  const Output rounded = if_finite(variable, rounds ? cast(value, variable.dtype()) : value);
  const ContextGuard guard(graph_);
  graph_.context().control_inputs = earlier_;
  assigns_.push_back(assign(variable, rounded));
}

void Updates::descend(const Output& variable, const Output& direction) {
  set(variable,
      value(variable) - converted(group_of(variable).rate, direction.dtype()) * direction);
}

Output Updates::finish() {
  enter_shared();
  assigns_.push_back(assign_add(step_, is_finite_ ? cast(is_finite_, int64) : Operand(1)));
  graph_.context().control_inputs = control_inputs_;
  return transaction_.commit(group(graph_, assigns_, "update"));
}

void require_loss(std::string_view optimizer, const Output& loss, SourceLocation where) {
  if (!loss) fail(optimizer, "the loss is empty", where);
  if (!is_floating(loss.dtype()) || loss.rank() != 0)
    fail(optimizer,
         fmt::format("the loss '{}' is {}{}, not a floating scalar", loss.name(), loss.dtype(),
                     loss.shape()),
         where);
}

LossGradients loss_gradients(std::string_view optimizer, const Output& loss,
                             const std::vector<Output>& variables, SourceLocation where,
                             const LossScale& loss_scale) {
  std::vector<Output> by = variables;
  if (by.empty()) {
    const std::vector<bool> needed = needed_for(loss);
    for (std::size_t id = 0; id < needed.size(); ++id)
      if (Node& node = loss.graph().nodes()[id];
          needed[id] && node.op().name == "variable" && is_floating(node.dtype()))
        by.push_back(node.output());
    if (by.empty())
      fail(optimizer, fmt::format("'{}' depends on no variable", loss.name()), where);
  }
  for (const Output& variable : by) require_variable(optimizer, variable, where);
  LossGradients result{.loss_scale = loss_scale,
                       .scale = make_scale(optimizer, loss, loss_scale, where),
                       .loss = loss};
  std::vector<Output> seeds;
  if (result.scale) seeds.push_back(cast(result.scale, loss.dtype(), where));
  const std::vector<Output> grads =
      gradients({loss}, by, seeds, {.unconnected = Unconnected::empty}, where);
  for (std::size_t i = 0; i < by.size(); ++i) result.pairs.emplace_back(by[i], grads[i]);
  return result;
}

void require_no_scale(std::string_view optimizer, const LossScale& loss_scale,
                      SourceLocation where) {
  if (loss_scale.initial != 0)
    fail(optimizer, "apply takes gradients as they are; a loss_scale is for minimize", where);
}

std::vector<GradientPair> compute_gradients(Output loss, const std::vector<Output>& variables,
                                            SourceLocation where) {
  require_loss("compute_gradients", loss, where);
  return loss_gradients("compute_gradients", loss, variables, where).pairs;
}

void add_layer_updates(const Output& train, const Output& loss) {
  const std::vector<bool> needed = needed_for(loss);
  for (const Layer& layer : loss.graph().layers())
    if (slot(layer.output) < needed.size() && needed[slot(layer.output)])
      for (const Output& update : layer.updates) train.node().add_control_input(update.node());
}

void add_layer_updates(const Output& train, const std::vector<GradientPair>& pairs) {
  std::set<const Node*> moved;
  for (const auto& [variable, grad] : pairs)
    if (grad) moved.insert(&variable.node());
  for (const Layer& layer : train.graph().layers())
    if (std::ranges::any_of(layer.trainable, [&](const Output& variable) {
          return moved.contains(&variable.node());
        }))
      for (const Output& update : layer.updates) train.node().add_control_input(update.node());
}

}  // namespace gradgraph
