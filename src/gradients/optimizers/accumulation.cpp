#include <string>
#include <utility>
#include <vector>

#include "gradgraph/ops.h"
#include "gradgraph/optimizers.h"
#include "gradients/optimizers/updates.h"

namespace gradgraph {

GradientAccumulation accumulate_gradients(const Optimizer& optimizer, Output loss,
                                          const std::vector<Output>& variables,
                                          SourceLocation where) {
  require_loss("accumulate_gradients", loss, where);
  Graph& graph = loss.graph();
  BuildTransaction transaction(graph);
  std::vector<GradientPair> pairs = compute_gradients(loss, variables, where);

  GradientAccumulation result;
  std::vector<Output> resets;
  {
    const ContextGuard guard(graph);
    BuildContext& context = graph.context();
    const std::string device = context.device;
    const std::vector<Node*> control_inputs = std::exchange(context.control_inputs, {});
    context.phase = Phase::update;
    context.where = where;
    const std::string scope = graph.unique_scope("accumulation") + "/";
    context.scope = scope;
    const Output batches = variable(graph, Tensor(std::int64_t{0}), "batches");
    const Output share = 1 / cast(batches + 1, float64);
    std::vector<Output> adds = {assign_add(batches, 1)};
    resets.push_back(assign(batches, std::int64_t{0}));
    for (auto& [of, gradient] : pairs) {
      if (!gradient) continue;
      context.scope = of.node().name() + "/";
      context.device = of.node().device();
      const DType dtype = is_half(of.dtype()) ? float32 : of.dtype();
      const Output sum = variable(graph, Tensor::zeros(dtype, of.shape()), "accumulated");
      const Output total = sum + cast(gradient, dtype);
      adds.push_back(assign(sum, total));
      resets.push_back(assign(sum, zeros_like(sum)));
      gradient = cast(total * cast(share, dtype), of.dtype());
    }
    context.scope = scope;
    context.device = device;
    context.control_inputs = control_inputs;
    result.accumulate = group(graph, adds, "accumulate");
  }
  add_layer_updates(result.accumulate, loss);
  result.train = optimizer.apply(pairs, where);
  for (const Output& reset : resets) result.train.node().add_control_input(reset.node());
  add_layer_updates(result.train, loss);
  return transaction.commit(result);
}

}  // namespace gradgraph
