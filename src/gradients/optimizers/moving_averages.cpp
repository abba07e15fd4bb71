#include "core/text.h"
#include "gradgraph/op.h"
#include "gradgraph/ops.h"
#include "gradgraph/optimizers.h"
#include "gradients/variables.h"

namespace gradgraph {
namespace {

void require(bool condition, const std::string& message, SourceLocation where) {
  if (!condition) throw BuildError(fmt::format("moving_averages: {}", message), where);
}

}  // namespace

MovingAverages moving_averages(Output train, double decay, const std::vector<Output>& variables,
                               SourceLocation where) {
  require(static_cast<bool>(train), "the train op is empty", where);
  require(may_train(train),
          fmt::format("'{}' is no train op: it updates no variable", train.name()), where);
  require(decay >= 0 && decay < 1, fmt::format("decay must be in [0, 1), not {}", decay), where);
  Graph& graph = train.graph();
  BuildTransaction transaction(graph);
  const std::vector<Output> of =
      variables.empty() ? trainable_variables(graph, "*", where) : variables;
  require(!of.empty(), "there is no variable to follow", where);

  const ContextGuard guard(graph);
  BuildContext& context = graph.context();
  context.scope = graph.unique_scope("averages") + "/";
  context.phase = Phase::update;
  context.where = where;
  const Output step = variable(graph, Tensor(std::int64_t{0}), "step");
  const Output count = cast(step, float64);
  const Output weight = 1 - minimum((1 + count) / (10 + count), decay);

  MovingAverages result;
  std::vector<Output> moves = {assign_add(step, 1)}, swaps;
  for (const Output& now : of) {
    require(
        now && &now.graph() == &graph && now.node().op().name == "variable" &&
            is_floating(now.dtype()),
        fmt::format("'{}' is no floating variable of the graph", now ? now.name() : "(empty)"),
        where);
    context.scope = now.node().name() + "/";
    context.device = now.node().device();
    const bool rounds = is_half(now.dtype());
    const DType dtype = rounds ? float32 : now.dtype();
    const Output initial = graph.initial_value(now.node());
    const Output average = initial ? variable(rounds ? cast(initial, dtype) : initial, "average")
                                   : variable(graph, dtype, now.shape(), "average");
    {
      // The variable as the train op leaves it.
      const ContextGuard after = control_dependencies(graph, {train}, where);
      const Output wide = rounds ? cast(now, dtype) : now;
      moves.push_back(assign(average, average + cast(weight, dtype) * (wide - average)));
    }
    if (rounds) {
      // What the variable has no room for is kept beside, so that two swaps change nothing.
      const Output rest =
          variable(fill(now.shape(), constant(graph, Tensor(0.f))), "average_rest");
      const Output rounded = cast(average, now.dtype());
      swaps.push_back(assign(now, rounded));
      swaps.push_back(assign(average, cast(now, dtype) + rest));
      swaps.push_back(assign(rest, average - cast(rounded, dtype)));
    } else {
      swaps.push_back(assign(now, identity(average)));
      swaps.push_back(assign(average, identity(now)));
    }
    result.averages.emplace_back(now, average);
  }
  context.device.clear();
  moves.push_back(train);
  result.train = group(graph, moves, "averages/train");
  result.swap = group(graph, swaps, "averages/swap");
  return transaction.commit(result);
}

}  // namespace gradgraph
