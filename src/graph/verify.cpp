#include <vector>

#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/slot.h"
#include "graph/subgraph.h"

namespace gradgraph {
namespace {

[[noreturn]] void fail(const Node& node, const std::string& fault) {
  throw BuildError(node_message(node.op().name, node.name(), "verify: " + fault), node.where());
}

enum class Mark : char { unseen, open, done };

/// Depth first along inputs and control inputs, with a stack of its own: graphs get deep.
void check_acyclic(const Graph& graph) {
  std::vector<Mark> marks(graph.nodes().size(), Mark::unseen);
  std::vector<std::pair<const Node*, std::size_t>> stack;
  const auto mark = [&](const Node& node) -> Mark& { return marks[slot(node)]; };
  for (const Node& root : graph.nodes()) {
    if (mark(root) != Mark::unseen) continue;
    stack.emplace_back(&root, 0);
    mark(root) = Mark::open;
    while (!stack.empty()) {
      auto& [node, next] = stack.back();
      const std::size_t inputs = node->inputs().size();
      if (next == inputs + node->control_inputs().size()) {
        mark(*node) = Mark::done;
        stack.pop_back();
        continue;
      }
      const Node& before =
          next < inputs ? node->inputs()[next].node() : *node->control_inputs()[next - inputs];
      ++next;
      if (mark(before) == Mark::open) fail(before, "is part of a cycle");
      if (mark(before) == Mark::unseen) {
        mark(before) = Mark::open;
        stack.emplace_back(&before, 0);
      }
    }
  }
}

}  // namespace

void verify(const Graph& graph) {
  std::vector<OutputType> outputs;
  for (const Node& node : graph.nodes()) {
    for (const Output& input : node.inputs()) {
      if (!input) fail(node, "an input is empty");
      if (&input.graph() != &graph)
        fail(node, "input '" + input.name() + "' is of another graph");
      if (input.index() < 0 || input.index() >= input.node().num_outputs())
        fail(node, "input '" + input.name() + "' is no output of its node");
      if (!graph.is_visible(input.node(), node.region()))
        fail(node, "input '" + input.name() + "' belongs to another branch");
    }
    for_each_subgraph(node, [](const Subgraph& subgraph) {
      if (subgraph.own) verify(*subgraph.own);
    });
    InferContext infer(node.op(), node.name(), node.inputs(), node.attributes(), node.where(),
                       outputs);
    node.op().infer(infer);
    if (static_cast<int>(outputs.size()) != node.num_outputs())
      fail(node, "the number of outputs is not what inference gives");
    for (int i = 0; i < node.num_outputs(); ++i) {
      const OutputType& inferred = outputs[static_cast<std::size_t>(i)];
      if (inferred.dtype != node.dtype(i) || !inferred.shape.compatible_with(node.shape(i)))
        fail(node, fmt::format("output {} is {}{}, inference gives {}{}", i, node.dtype(i),
                               node.shape(i), inferred.dtype, inferred.shape));
    }
  }
  check_acyclic(graph);
}

}  // namespace gradgraph
