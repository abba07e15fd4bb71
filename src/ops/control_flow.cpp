#include <algorithm>
#include <map>
#include <utility>

#include "core/text.h"
#include "gradgraph/gradients.h"
#include "graph/subgraph.h"
#include "ops/builders.h"

/// Ops that run subgraphs. A branch is built like everything else, in a region of the user's
/// graph; what it reads from outside becomes an input of the op.
namespace gradgraph {
namespace {

using SubgraphHandle = std::shared_ptr<const Subgraph>;

struct Branch {
  int region = 0;
  std::vector<Output> results;
};

/// Nodes made while the result lives belong to `region`.
ContextGuard enter(Graph& graph, int region) {
  ContextGuard guard(graph);
  graph.context().region = region;
  graph.context().control_inputs.clear();  // the op itself waits
  return guard;
}

/// What a branch takes from outside: values, and nodes that must have run before.
struct Captured {
  std::map<std::pair<int, int>, Output> values;
  std::map<int, Node*> before;
};

/// Constants are no inputs: each branch has its own, whose values are known.
void capture(const Branch& branch, Captured& captured) {
  std::vector<Node*> open;
  std::map<int, Node*> seen;
  const auto need = [&](Node& node) {
    if (seen.emplace(node.id(), &node).second) open.push_back(&node);
  };
  const auto need_value = [&](const Output& value) {
    if (value.node().region() == branch.region)
      need(value.node());
    else if (!constant_value(value))
      captured.values.emplace(std::pair(value.node_id(), value.index()), value);
  };
  for (const Output& result : branch.results) need_value(result);
  while (!open.empty()) {
    Node& node = *open.back();
    open.pop_back();
    for (const Output& input : node.inputs()) need_value(input);
    for (Node* before : node.control_inputs())
      if (before->region() == branch.region)
        need(*before);
      else
        captured.before.emplace(before->id(), before);
  }
}

Node& make_cond(Output predicate, const Branch& then_branch, const Branch& else_branch,
                SourceLocation where) {
  Captured captured;
  capture(then_branch, captured);
  capture(else_branch, captured);
  std::vector<Output> inputs{predicate}, parameters;
  for (const auto& [place, value] : captured.values) parameters.push_back(value);
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  const auto subgraph = [&](const Branch& branch) {
    return std::make_shared<const Subgraph>(Subgraph{parameters, branch.results, nullptr});
  };
  Graph& graph = predicate.graph();
  const ContextGuard guard(graph);
  std::vector<Node*>& before = graph.context().control_inputs;
  for (const auto& [id, node] : captured.before)
    if (std::ranges::find(before, node) == before.end()) before.push_back(node);
  return make_node(
      "cond", inputs,
      {{"then_branch", subgraph(then_branch)}, {"else_branch", subgraph(else_branch)}}, where);
}

/// "float32[2] ('cond/then/mul', train.cpp:31)".
std::string describe(const Output& result) {
  return fmt::format("{}{} ('{}', {})", result.dtype(), result.shape(), result.name(),
                     to_string(result.node().where()));
}

const Subgraph& branch_of(const InferContext& context, std::string_view name) {
  const SubgraphHandle& branch = context.attribute<SubgraphHandle>(name);
  if (!branch || branch->results.empty()) context.fail(fmt::format("its {} is empty", name));
  if (static_cast<int>(branch->parameters.size()) + 1 != context.num_inputs())
    context.fail(fmt::format("its {} takes {} values", name, branch->parameters.size()));
  for (std::size_t i = 0; i < branch->parameters.size(); ++i) {
    const Output& parameter = branch->parameters[i];
    const Output& input = context.input(static_cast<int>(i) + 1);
    if (parameter &&
        (parameter.dtype() != input.dtype() || !parameter.shape().compatible_with(input.shape())))
      context.fail(fmt::format("its {} takes {}{} for input {}", name, parameter.dtype(),
                               parameter.shape(), i + 1));
  }
  return *branch;
}

void infer_cond(InferContext& context) {
  context.require_dtype(0, {boolean});
  context.require_rank(0, 0);
  const Subgraph& then_branch = branch_of(context, "then_branch");
  const Subgraph& else_branch = branch_of(context, "else_branch");
  if (then_branch.results.size() != else_branch.results.size())
    context.fail(fmt::format("its branches give {} and {} results", then_branch.results.size(),
                             else_branch.results.size()));
  for (std::size_t i = 0; i < then_branch.results.size(); ++i) {
    const Output &a = then_branch.results[i], &b = else_branch.results[i];
    if (a.dtype() != b.dtype() || !a.shape().compatible_with(b.shape()))
      context.fail(fmt::format("result {} is {} in one branch, {} in the other", i, describe(a),
                               describe(b)));
    Shape shape = a.shape();
    for (int axis = 0; axis < shape.rank(); ++axis)
      if (shape[axis] == any) shape.set(axis, b.shape()[axis]);
    context.output(a.dtype(), shape);
  }
}

/// The gradients by `values`, which stand for the subgraph's parameters; empty for those that it
/// does not depend on. It is computed again for them, in the current region.
std::vector<Output> differentiate(const GradientContext& context, const Subgraph& subgraph) {
  const SourceLocation where = context.node().where();
  Graph& graph = context.node().graph();
  std::map<std::pair<int, int>, Output> copies;  // by node and output
  std::vector<Output> xs;
  for (std::size_t i = 0; i < subgraph.parameters.size(); ++i) {
    // Values of the region's own: what lies before them is not differentiated here.
    const Output& parameter = subgraph.parameters[i];
    const Output input = context.input(static_cast<int>(i) + 1);
    graph.context().fixed_name = "recompute/" + input.name();
    xs.push_back(identity(input, {}, where));
    copies.emplace(std::pair(parameter.node_id(), parameter.index()), xs.back());
  }
  const auto copy_of = [&](const Output& value) {
    const auto copy = copies.find({value.node_id(), value.index()});
    return copy == copies.end() ? value : copy->second;
  };
  for (Node* node : nodes_of(subgraph)) {
    if (node->op().traits.no_kernel && node->num_inputs() == 0) continue;  // belongs to all
    std::vector<Output> inputs;
    for (const Output& input : node->inputs()) inputs.push_back(copy_of(input));
    std::vector<Node*> before;
    for (Node* control_input : node->control_inputs())
      if (const Output copy = copy_of(control_input->output()); &copy.node() != control_input)
        before.push_back(&copy.node());
    Node& copied = compute_again(*node, inputs, std::move(before));
    for (int i = 0; i < std::max(copied.num_outputs(), 1); ++i)
      copies.insert_or_assign({node->id(), i}, copied.output(i));
  }
  std::vector<Output> ys, grad_ys, wanted, grads(xs.size());
  for (std::size_t i = 0; i < subgraph.results.size(); ++i)
    if (const Output& grad = context.grad(static_cast<int>(i))) {
      ys.push_back(copy_of(subgraph.results[i]));
      grad_ys.push_back(grad);
    }
  const auto is_wanted = [&](std::size_t i) {
    return is_floating(xs[i].dtype()) && context.is_wanted(static_cast<int>(i) + 1);
  };
  for (std::size_t i = 0; i < xs.size(); ++i)
    if (is_wanted(i)) wanted.push_back(xs[i]);
  const std::vector<Output> found =
      gradients(ys, wanted, grad_ys, {.unconnected = Unconnected::empty}, where);
  for (std::size_t i = 0, next = 0; i < xs.size(); ++i)
    if (is_wanted(i)) grads[i] = found[next++];
  return grads;
}

/// The condition chooses between the branches' gradients, which compute the branches again.
std::vector<Output> grad_cond(const GradientContext& context) {
  const Output predicate = context.input(0);
  Graph& graph = predicate.graph();
  BuildTransaction transaction(graph);
  std::vector<Output> grads(static_cast<std::size_t>(context.num_inputs()));
  Branch branches[2];
  for (const auto& [branch, name] :
       {std::pair(&branches[0], "then_branch"), {&branches[1], "else_branch"}}) {
    branch->region = graph.add_region();
    const ContextGuard guard = enter(graph, branch->region);
    branch->results = differentiate(context, *context.attribute<SubgraphHandle>(name));
  }
  // What one branch alone depends on has a gradient of zeros in the other.
  std::vector<std::size_t> connected;
  for (std::size_t i = 0; i + 1 < grads.size(); ++i)
    if (branches[0].results[i] || branches[1].results[i]) connected.push_back(i);
  if (connected.empty()) return grads;
  for (Branch& branch : branches) {
    const ContextGuard guard = enter(graph, branch.region);
    std::vector<Output> results;
    for (const std::size_t i : connected) {
      const Output input = context.input(static_cast<int>(i) + 1);
      graph.context().fixed_name = "gradients/" + input.name();
      results.push_back(branch.results[i] ? branch.results[i] : zeros_like(input));
    }
    branch.results = std::move(results);
  }
  Node& node = make_cond(predicate, branches[0], branches[1], context.node().where());
  for (std::size_t k = 0; k < connected.size(); ++k)
    grads[connected[k] + 1] = node.output(static_cast<int>(k));
  return transaction.commit(grads);
}

/// Throws unless each result is a value that the branch may give.
void check_results(const Branch& branch, const char* name, Graph& graph, SourceLocation where) {
  const auto fail = [&](const std::string& message) {
    fail_to_build("cond", graph, fmt::format("its {} branch {}", name, message), where);
  };
  if (branch.results.empty()) fail("gives no result");
  for (std::size_t i = 0; i < branch.results.size(); ++i) {
    const Output& result = branch.results[i];
    if (!result) fail(fmt::format("gives an empty Output as result {}", i));
    if (&result.graph() != &graph)
      fail(fmt::format("gives '{}', which is of another graph", result.name()));
    if (result.node().num_outputs() == 0)
      fail(fmt::format("gives '{}', which has no value", result.name()));
    if (!graph.is_visible(result.node(), branch.region))
      fail(fmt::format("gives '{}', which belongs to another branch", result.name()));
  }
}

}  // namespace

std::vector<Output> cond(Output predicate,
                         const std::function<std::vector<Output>()>& then_branch,
                         const std::function<std::vector<Output>()>& else_branch, Where where) {
  Graph& graph = graph_of("cond", {predicate}, where);
  if (!then_branch || !else_branch) fail_to_build("cond", graph, "a branch is missing", where);
  BuildTransaction transaction(graph);
  const ContextGuard op_scope = scope(graph, "cond", where);
  const auto build = [&](const char* name, const auto& body) {
    Branch branch{graph.add_region(), {}};
    const ContextGuard guard = enter(graph, branch.region);
    const ContextGuard branch_scope = scope(graph, name, where);
    branch.results = body();
    return branch;
  };
  const Branch chosen = build("then", then_branch);
  check_results(chosen, "then", graph, where);
  const Branch other = build("else", else_branch);
  check_results(other, "else", graph, where);
  Node& node = make_cond(predicate, chosen, other, where);
  std::vector<Output> outputs;
  for (int i = 0; i < node.num_outputs(); ++i) outputs.push_back(node.output(i));
  return transaction.commit(outputs);
}

Output cond(Output predicate, const std::function<Output()>& then_branch,
            const std::function<Output()>& else_branch, Where where) {
  const auto list = [](const std::function<Output()>& branch) {
    return branch ? [&branch] { return std::vector<Output>{branch()}; }
                  : std::function<std::vector<Output>()>();
  };
  return cond(predicate, list(then_branch), list(else_branch), where).front();
}

void register_control_flow_ops(OpRegistry& registry) {
  registry
      .add({.name = "cond",
            .traits = {.runs_subgraphs = true},
            .infer = infer_cond,
            .gradient = grad_cond})
      .describe("what one of two branches gives, which alone runs", {"predicate", "values..."})
      .required_attribute<SubgraphHandle>("then_branch", "runs where the predicate holds")
      .required_attribute<SubgraphHandle>("else_branch", "runs elsewhere");
}

}  // namespace gradgraph
