#include "passes/topology.h"

#include <algorithm>
#include <utility>

#include "gradgraph/op.h"

namespace gradgraph {
namespace {

/// Calls `visit(slot, index)` for what the node reads and awaits; the latter with index -1.
template <class Visit>
void for_each_input(const Node& node, const Visit& visit) {
  for (int i = 0; i < node.num_inputs(); ++i) visit(slot(node.input(i)), i);
  for (const Node* before : node.control_inputs()) visit(slot(*before), -1);
}

/// All that the roots need, by id; empty where ids are no topological order.
std::vector<Node*> order_by_id(Graph& graph, const std::vector<Node*>& roots) {
  std::vector<char> needed(graph.nodes().size(), 0);
  for (const Node* root : roots) needed[slot(*root)] = 1;
  std::size_t count = 0;
  auto node = graph.nodes().rbegin();
  for (std::size_t id = needed.size(); id-- > 0; ++node) {
    if (!needed[id]) continue;
    ++count;
    bool in_order = true;
    for_each_input(*node, [&](std::size_t input, int) {
      needed[input] = 1;
      in_order &= input < id;
    });
    if (!in_order) return {};
  }
  std::vector<Node*> order;
  order.reserve(count);
  for (Node& each : graph.nodes())
    if (needed[slot(each)]) order.push_back(&each);
  return order;
}

/// The same depth first, with a stack of its own: a node follows everything that it reads.
std::vector<Node*> order_by_depth(Graph& graph, const std::vector<Node*>& roots) {
  std::vector<Node*> order;
  std::vector<bool> seen(graph.nodes().size(), false);
  std::vector<std::pair<Node*, int>> stack;
  const auto enter = [&](Node& node) {
    if (seen[slot(node)]) return;
    seen[slot(node)] = true;
    stack.emplace_back(&node, 0);
  };
  for (Node* root : roots) {
    enter(*root);
    while (!stack.empty()) {
      auto& [node, next] = stack.back();
      const int inputs = node->num_inputs();
      const int all = inputs + static_cast<int>(node->control_inputs().size());
      if (next == all) {
        order.push_back(node);
        stack.pop_back();
        continue;
      }
      const int i = next++;
      enter(i < inputs ? node->input(i).node()
                       : *node->control_inputs()[static_cast<std::size_t>(i - inputs)]);
    }
  }
  return order;
}

}  // namespace

std::vector<Node*> topological_order(Graph& graph, const std::vector<Node*>& roots) {
  std::vector<Node*> order = order_by_id(graph, roots);
  return order.empty() ? order_by_depth(graph, roots) : order;
}

Topology::Topology(Graph& graph, const std::vector<Node*>& roots)
    : order_(topological_order(graph, roots)), first_(graph.nodes().size() + 2, 0) {
  for (const Node* node : order_)
    for_each_input(*node, [&](std::size_t input, int) { ++first_[input + 2]; });
  for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
  readers_.resize(first_.back());
  // An entry moves from where a node's readers begin to where they end, which is where the next
  // node's begin.
  for (Node* node : order_)
    for_each_input(*node, [&](std::size_t input, int index) {
      readers_[first_[input + 1]++] = {node, index};
    });
}

Node* Topology::only_reader(const Node& node) const {
  const auto all = readers(node);
  return all.size() == 1 && all.front().index >= 0 ? all.front().node : nullptr;
}

bool Topology::is_awaited(const Node& node) const {
  return std::ranges::any_of(readers(node),
                             [](const Reader& reader) { return reader.index < 0; });
}

bool has_any(const Graph& graph, std::initializer_list<std::string_view> ops) {
  std::vector<const OpDef*> wanted;
  for (const std::string_view op : ops) wanted.push_back(&op_registry().at(op));
  return std::ranges::any_of(graph.nodes(), [&](const Node& node) {
    return std::ranges::find(wanted, &node.op()) != wanted.end();
  });
}

std::vector<bool> find_late_nodes(const Graph& graph, const Topology& topology) {
  std::vector<bool> late(graph.nodes().size(), false), makes_late(late);
  for (const Node* node : topology.order()) {
    for_each_input(*node, [&](std::size_t input, int) {
      if (makes_late[input]) late[slot(*node)] = true;
    });
    makes_late[slot(*node)] = late[slot(*node)] || node->op().traits.updates_variable;
  }
  return late;
}

void replace_readers(Graph& graph, const Topology& topology, const Node& node,
                     const Output& value) {
  for (const auto& reader : topology.readers(node)) {
    if (reader.index < 0)
      graph.replace_control_input(*reader.node, node, value.node());
    else
      graph.set_input(*reader.node, reader.index, value);
  }
}

}  // namespace gradgraph
