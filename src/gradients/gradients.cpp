#include "gradgraph/gradients.h"

#include <algorithm>
#include <optional>
#include <span>

#include "core/text.h"
#include "gradgraph/op.h"
#include "gradgraph/ops.h"
#include "gradients/recomputation.h"

namespace gradgraph {
namespace {

/// The reverse pass between some xs and ys of one graph. Nodes are visited by id, which is a
/// topological order of a user's graph: depth costs nothing, time and memory are linear.
class ReversePass {
 public:
  ReversePass(const std::vector<Output>& ys, const std::vector<Output>& xs, SourceLocation where);

  void add_y(const Output& y, Output grad);
  void run();
  /// The gradient by `x`; empty when nothing arrived there.
  Output grad_of(const Output& x) const { return in_range(x) ? grads_[slot(x)] : Output(); }
  /// Nodes made from now on belong to the gradient of `node`.
  void enter(Node& node);

 private:
  bool in_range(const Output& value) const {
    return value.node().id() >= low_ && value.node().id() <= high_;
  }
  std::size_t index(const Node& node) const { return static_cast<std::size_t>(node.id() - low_); }
  std::size_t slot(const Output& value) const {
    return first_slot_[index(value.node())] + static_cast<std::size_t>(value.index());
  }
  /// True when `value` is an x or depends on one along floating values.
  bool carries(const Output& value) const {
    return in_range(value) && is_floating(value.dtype()) &&
           (depends_[index(value.node())] || is_x_[slot(value)]);
  }
  void differentiate(Node& node, std::span<const Output> grads);
  void accumulate(const Node& node, int input, Output grad);

  Graph& graph_;
  ContextGuard guard_;
  SourceLocation where_;
  int low_, high_;
  std::vector<std::size_t> first_slot_;  ///< by node: where its outputs begin in the lists below
  std::vector<char> depends_;            ///< by node: an input of it carries
  std::vector<char> is_x_;               ///< by output
  std::vector<Output> grads_;            ///< by output: what has arrived so far
  std::optional<Recomputation> recomputation_;
  std::vector<Output> inputs_, outputs_;  ///< of the node that is differentiated
  std::vector<char> wanted_;              ///< by input of it: its gradient is
};

int node_id(const Output& value) { return value.node().id(); }

ReversePass::ReversePass(const std::vector<Output>& ys, const std::vector<Output>& xs,
                         SourceLocation where)
    : graph_(ys.front().graph()),
      guard_(graph_),
      where_(where),
      low_(node_id(*std::ranges::min_element(xs, {}, node_id))),
      high_(node_id(*std::ranges::max_element(ys, {}, node_id))) {
  graph_.context().phase = Phase::gradient;
  graph_.context().control_inputs.clear();

  const std::size_t count = static_cast<std::size_t>(std::max(high_ - low_ + 1, 0));
  first_slot_.reserve(count);
  std::size_t slots = 0;
  for (int id = low_; id <= high_; ++id) {
    first_slot_.push_back(slots);
    slots += static_cast<std::size_t>(graph_.nodes()[static_cast<std::size_t>(id)].num_outputs());
  }
  depends_.resize(count);
  is_x_.resize(slots);
  grads_.resize(slots);

  for (const Output& x : xs)
    if (in_range(x)) is_x_[slot(x)] = 1;
  for (int id = low_; id <= high_; ++id) {
    const Node& node = graph_.nodes()[static_cast<std::size_t>(id)];
    depends_[index(node)] =
        std::ranges::any_of(node.inputs(), [&](const Output& input) { return carries(input); });
    if (!depends_[index(node)]) continue;
    for (const Output& input : node.inputs())
      if (const Node& source = input.node(); source.recompute_scope() != 0) {
        if (!recomputation_) recomputation_.emplace();
        if (source.recompute_scope() != node.recompute_scope()) recomputation_->keep(source);
      }
  }
}

void ReversePass::enter(Node& node) {
  BuildContext& context = graph_.context();
  context.fixed_name.assign("gradients/").append(node.name());
  context.device = node.device();
  context.where = node.where();
  context.forward = &node;
}

void ReversePass::add_y(const Output& y, Output grad) {
  if (!carries(y)) return;
  enter(y.node());
  if (!grad) grad = ones_like(y);
  Output& sum = grads_[slot(y)];
  sum = sum ? add(sum, grad) : grad;
}

void ReversePass::run() {
  for (int id = high_; id >= low_; --id) {
    Node& node = graph_.nodes()[static_cast<std::size_t>(id)];
    if (!depends_[index(node)]) continue;
    const std::span<const Output> grads(grads_.data() + first_slot_[index(node)],
                                        static_cast<std::size_t>(node.num_outputs()));
    if (std::ranges::any_of(grads, [](const Output& grad) { return static_cast<bool>(grad); }))
      differentiate(node, grads);
  }
}

void ReversePass::differentiate(Node& node, std::span<const Output> grads) {
  const OpDef& op = node.op();
  const Graph::Gradient* own = graph_.gradient_of(node);
  if (!own && (!op.gradient || op.traits.non_differentiable))
    throw GradientError(
        node_message(
            op.name, node.recomputes() ? node.recomputes()->name() : node.name(),
            fmt::format("has no gradient, but lies between the ys and xs of the gradients "
                        "asked for in {}",
                        to_string(where_))),
        node.where());
  enter(node);
  inputs_.assign(node.inputs().begin(), node.inputs().end());
  outputs_.clear();
  for (int i = 0; i < node.num_outputs(); ++i) outputs_.push_back(node.output(i));
  if (recomputation_ && node.recompute_scope() != 0) {
    for (Output& value : inputs_) value = recomputation_->again(value, node.recompute_scope());
    for (Output& value : outputs_) value = recomputation_->again(value, node.recompute_scope());
  }
  wanted_.clear();
  for (const Output& input : node.inputs()) wanted_.push_back(carries(input) ? 1 : 0);
  const GradientContext context(node, inputs_, outputs_, grads, wanted_);
  std::vector<Output> by_input;
  try {
    by_input = own ? (*own)(context) : op.gradient(context);
  } catch (const BuildError& error) {
    // What is thrown far from any node (an attribute is missing) is told op and node here.
    if (std::string_view(error.what()).starts_with('[')) throw;
    throw BuildError(
        node_message(op.name, node.name(), fmt::format("its gradient: {}", without_line(error))),
        node.where());
  }
  if (static_cast<int>(by_input.size()) != node.num_inputs())
    throw GradientError(node_message(op.name, node.name(),
                                     fmt::format("its gradient gives {} values for {} inputs",
                                                 by_input.size(), node.num_inputs())),
                        node.where());
  for (int i = 0; i < node.num_inputs(); ++i) {
    const Output& grad = by_input[static_cast<std::size_t>(i)];
    if (grad && carries(node.input(i))) accumulate(node, i, grad);
  }
}

void ReversePass::accumulate(const Node& node, int i, Output grad) {
  const Output& input = node.input(i);
  if (&grad.graph() != &graph_ || grad.dtype() != input.dtype() ||
      !grad.shape().compatible_with(input.shape()))
    throw GradientError(
        node_message(node.op().name, node.name(),
                     fmt::format("its gradient by input {} is {}{}, the input is {}{}", i,
                                 grad.dtype(), grad.shape(), input.dtype(), input.shape())),
        node.where());
  Output& sum = grads_[slot(input)];
  if (sum) {
    enter(input.node());
    grad = add(sum, grad);
  }
  sum = grad;
}

[[noreturn]] void fail(const std::string& message, SourceLocation where) {
  throw GradientError("gradients: " + message, where);
}

void check(const char* role, const std::vector<Output>& values, const Graph& graph,
           SourceLocation where) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Output& value = values[i];
    if (!value) fail(fmt::format("{} {} is empty", role, i), where);
    if (&value.graph() != &graph)
      fail(fmt::format("{} '{}' is of another graph", role, value.name()), where);
    if (value.node().num_outputs() == 0)
      fail(fmt::format("{} '{}' has no value", role, value.name()), where);
    if (!is_floating(value.dtype()))
      fail(fmt::format("{} '{}' is {}{}; only floating dtypes have gradients", role, value.name(),
                       value.dtype(), value.shape()),
           where);
  }
}

void check_grad_y(const Output& grad, const Output& y, SourceLocation where) {
  if (!grad) return;
  if (&grad.graph() != &y.graph())
    fail(fmt::format("grad_y '{}' is of another graph", grad.name()), where);
  if (grad.dtype() != y.dtype() || !grad.shape().compatible_with(y.shape()))
    fail(fmt::format("grad_y '{}' is {}{}, y '{}' is {}{}", grad.name(), grad.dtype(),
                     grad.shape(), y.name(), y.dtype(), y.shape()),
         where);
}

}  // namespace

std::vector<Output> gradients(const std::vector<Output>& ys, const std::vector<Output>& xs,
                              const std::vector<Output>& grad_ys, GradientOptions options,
                              SourceLocation where) {
  if (xs.empty()) return {};
  if (ys.empty() || !ys.front()) fail("needs at least one y", where);
  check("y", ys, ys.front().graph(), where);
  check("x", xs, ys.front().graph(), where);
  if (!grad_ys.empty() && grad_ys.size() != ys.size())
    fail(fmt::format("{} grad_ys for {} ys", grad_ys.size(), ys.size()), where);
  for (std::size_t i = 0; i < grad_ys.size(); ++i) check_grad_y(grad_ys[i], ys[i], where);

  BuildTransaction transaction(ys.front().graph());
  ReversePass pass(ys, xs, where);
  for (std::size_t i = 0; i < ys.size(); ++i)
    pass.add_y(ys[i], grad_ys.empty() ? Output() : grad_ys[i]);
  pass.run();

  std::vector<Output> result;
  for (const Output& x : xs) {
    Output grad = pass.grad_of(x);
    if (!grad && options.unconnected == Unconnected::zeros) {
      pass.enter(x.node());
      grad = zeros_like(x);
    }
    result.push_back(grad);
  }
  transaction.commit();
  return result;
}

}  // namespace gradgraph
