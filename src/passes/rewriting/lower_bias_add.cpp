#include "ops/nn/window.h"
#include "passes/rewrites.h"
#include "passes/rewriting/known_op.h"

/// A bias is added by "add", which broadcasts: so it fuses with what comes before and after it.
namespace gradgraph {
namespace {

class LowerBiasAdd : public NodePass {
 public:
  NodeRewrite rewrite(Node& node, NodeSweep& sweep) override {
    if (!bias_add_.matches(node)) return {};
    const Output x = node.input(0);
    Shape channels{node.input(1).shape()[0]};
    if (layout_attribute(node.attributes()) == Layout::nchw)
      for (int axis = 2; axis < x.rank(); ++axis) channels.append(1);
    const Output bias = sweep.reshaped(node, node.input(1), channels);
    return {sweep.make(node, "add", {x, bias}), "an addition that broadcasts"};
  }

 private:
  const KnownOp bias_add_{"bias_add", {"layout"}};
};

}  // namespace

std::unique_ptr<NodePass> make_lower_bias_add() { return std::make_unique<LowerBiasAdd>(); }

}  // namespace gradgraph
