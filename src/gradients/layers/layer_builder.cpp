#include "gradients/layers/layer_builder.h"

#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "ops/builders.h"

namespace gradgraph::nn {

Module::Module(std::string_view name) : state_(std::make_shared<ModuleState>()) {
  state_->name = name;
}
Module::~Module() = default;
Module::Module(const Module&) = default;
Module& Module::operator=(const Module&) = default;

std::vector<Output> Module::variables(SourceLocation where) const {
  if (!state_->graph)
    throw BuildError(
        fmt::format("'{}' has no variables before it is first applied", state_->name), where);
  std::vector<Output> result;
  for (const auto& [name, variable] : state_->variables) result.push_back(variable);
  return result;
}

LayerBuilder::LayerBuilder(std::string_view kind, std::string_view name, const Output& x,
                           SourceLocation where)
    : graph_(graph_of(kind, {x}, where)),
      transaction_(graph_),
      guard_(scope(graph_, name, where)),
      where_(where) {
  BuildContext& context = graph_.context();
  if (!context.where.known()) context.where = where;
  layer_.name = context.scope.substr(0, context.scope.size() - 1);
  layer_.kind = kind;
}

LayerBuilder::LayerBuilder(std::string_view kind, const Module& module, const Output& x,
                           SourceLocation where)
    : LayerBuilder(kind, module.state_->name, x, where) {
  state_ = module.state_;
  require(!state_->graph || state_->graph == &graph_,
          "the layer has its variables in another graph: make one for each graph");
}

void LayerBuilder::require(bool condition, const std::string& message) const {
  if (!condition) throw BuildError(node_message(layer_.kind, layer_.name, message), where_);
}
void LayerBuilder::require_floating(const Output& x) const {
  require(is_floating(x.dtype()),
          fmt::format("x must be of a floating dtype, not {}", x.dtype()));
}
void LayerBuilder::require_training(const Output& training) const {
  require(static_cast<bool>(training), "needs `training`, a boolean scalar");
  require(training.dtype() == boolean && training.rank() == 0,
          fmt::format("`training` must be a boolean scalar, not {}{}", training.dtype(),
                      training.shape()));
}
void LayerBuilder::require_epsilon(double epsilon) const {
  require(epsilon >= 0 && std::isfinite(epsilon),
          fmt::format("epsilon must be 0 or more, not {}", epsilon));
}
void LayerBuilder::require_rate(double rate) const {
  require(rate >= 0 && rate < 1, fmt::format("rate must be in [0, 1), not {}", rate));
}

void LayerBuilder::require_border(Padding padding, const Border& border) const {
  require(padding == Padding::explicit_ || border == Border{},
          "a border needs Padding::explicit_");
}

std::int64_t LayerBuilder::size(const Output& x, int axis) const {
  require(x.shape()[axis] != any,
          fmt::format("axis {} of x, {}, must be known", axis, x.shape()));
  return x.shape()[axis];
}

Output LayerBuilder::finish(Output output, const Activation& activation) {
  if (activation) {
    output = activation(output, where_);
    require(static_cast<bool>(output), "the activation gives an empty Output");
  }
  layer_.output = output;
  graph_.add_layer(layer_);
  if (state_ && !is_repeated()) {
    state_->graph = &graph_;
    state_->variables = std::move(made_);
    graph_.when_taken_back([state = state_] {
      state->graph = nullptr;
      state->variables.clear();
    });
  }
  transaction_.commit();
  return output;
}

Output LayerBuilder::take_or_make(std::vector<Output>& list, std::string_view name,
                                  const Shape& shape, DType dtype,
                                  const Initializer& initializer) {
  if (!is_repeated()) {
    const Output made = make_variable(name, shape, dtype, initializer);
    made_.emplace_back(name, made);
    return list.emplace_back(made);
  }
  const auto known =
      std::ranges::find(state_->variables, name, &std::pair<std::string, Output>::first);
  const Output& variable = known->second;
  require(variable.shape() == shape && variable.dtype() == dtype,
          fmt::format("'{}', made when the layer was first applied, is {}{}; this application "
                      "needs {}{}",
                      variable.name(), variable.dtype(), variable.shape(), dtype, shape));
  return variable;
}

Output LayerBuilder::make_variable(std::string_view name, const Shape& shape, DType dtype,
                                   const Initializer& initializer) {
  require(static_cast<bool>(initializer), fmt::format("{} has no initializer", name));
  return variable(initial_value(name, shape, dtype, initializer), name, where_);
}
Output LayerBuilder::initial_value(std::string_view name, const Shape& shape, DType dtype,
                                   const Initializer& initializer) {
  const ContextGuard guard(graph_);
  graph_.context().scope += std::string(name) + "/";
  const Output value = initializer(graph_, shape, dtype, where_);
  require(value && value.dtype() == dtype && value.shape() == shape,
          fmt::format("the initializer of {} must give {}{}", name, dtype, shape));
  return value;
}

Output Sequential::operator()(Output x, SourceLocation where) const {
  BuildTransaction transaction(graph_of("sequential", {x}, where));
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i]) x = layers_[i](x, where);
    if (!layers_[i] || !x)
      throw BuildError(fmt::format("[sequential]: layer {} {}", i,
                                   layers_[i] ? "gives an empty Output" : "is empty"),
                       where);
  }
  return transaction.commit(x);
}

std::vector<Output> Sequential::variables(SourceLocation where) const {
  std::vector<Output> result;
  for (const UnaryFunction& layer : layers_)
    for (const Output& variable : layer.variables(where))
      if (std::ranges::find(result, variable) == result.end()) result.push_back(variable);
  return result;
}

}  // namespace gradgraph::nn
