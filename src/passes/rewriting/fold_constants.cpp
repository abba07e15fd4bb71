#include <algorithm>

#include "ops/builders.h"
#include "passes/rewrites.h"

namespace gradgraph {

bool is_foldable(const Node& node) {
  const Traits& traits = node.op().traits;
  if (traits.no_kernel || traits.stateful || traits.random || traits.moves_value ||
      traits.runs_subgraphs || node.num_inputs() == 0 || !is_transparent(node))
    return false;
  for (int i = 0; i < node.num_outputs(); ++i)
    if (!node.shape(i).fully_known() || node.shape(i).num_elements() > kMaxFoldedElements)
      return false;
  return std::ranges::all_of(node.inputs(),
                             [](const Output& input) { return constant_value(input); });
}

namespace {

class FoldConstants : public NodePass {
 public:
  NodeRewrite rewrite(Node& node, NodeSweep& sweep) override {
    if (!is_foldable(node)) return {};
    const auto values = sweep.context().evaluate(node);
    if (!values) return {};
    return {sweep.constant(node, values->front()), "all that it needs is constant"};
  }
};

}  // namespace

std::unique_ptr<NodePass> make_fold_constants() { return std::make_unique<FoldConstants>(); }

}  // namespace gradgraph
