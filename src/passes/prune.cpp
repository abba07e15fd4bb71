#include <queue>
#include <tuple>

#include "graph/slot.h"
#include "passes/specialize.h"
#include "passes/topology.h"

namespace gradgraph {
namespace {

/// A node that can be copied, since its inputs are. The queue's top is the one whose user's node
/// was made first: the copy keeps the user's order, also where passes have added nodes.
struct Ready {
  int user_id;
  int id;
  Node* node;
  bool operator<(const Ready& other) const {
    return std::tie(user_id, id) > std::tie(other.user_id, other.id);
  }
};

Ready ready(Node& node) { return {node.origin()->id(), node.id(), &node}; }

}  // namespace

void prune(SpecializedGraph& specialized) {
  const Topology topology(*specialized.graph, specialized.fetches);
  auto pruned = std::make_unique<Graph>();
  std::vector<Node*> copies(specialized.graph->nodes().size(), nullptr);
  std::vector<int> pending(copies.size(), 0);
  std::priority_queue<Ready> queue;
  for (Node* node : topology.order()) {
    pending[slot(*node)] = node->num_inputs() + static_cast<int>(node->control_inputs().size());
    if (pending[slot(*node)] == 0) queue.push(ready(*node));
  }
  std::vector<Output> inputs;
  std::vector<Node*> control_inputs;
  while (!queue.empty()) {
    Node& node = *queue.top().node;
    queue.pop();
    inputs.clear();
    for (const Output& input : node.inputs())
      inputs.emplace_back(*copies[slot(input)], input.index());
    control_inputs.clear();
    for (const Node* before : node.control_inputs())
      control_inputs.push_back(copies[slot(*before)]);
    copies[slot(node)] = &pruned->move_here(node, inputs, control_inputs);
    for (const auto& reader : topology.readers(node))
      if (--pending[slot(*reader.node)] == 0) queue.push(ready(*reader.node));
  }
  for (Node*& feed : specialized.feeds) feed = feed ? copies[slot(*feed)] : nullptr;
  for (Node*& fetch : specialized.fetches) fetch = copies[slot(*fetch)];
  specialized.graph = std::move(pruned);
}

}  // namespace gradgraph
