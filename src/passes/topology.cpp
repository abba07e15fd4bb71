#include "passes/topology.h"

#include <algorithm>
#include <utility>

#include "gradgraph/op.h"

namespace gradgraph {
namespace {

std::size_t slot(const Node& node) { return static_cast<std::size_t>(node.id()); }

template <class Visit>
void for_each_input(const Node& node, const Visit& visit) {
  for (int i = 0; i < node.num_inputs(); ++i) visit(node.input(i).node(), i);
  for (Node* before : node.control_inputs()) visit(*before, -1);
}

/// All that the roots need, by id; empty where ids are no topological order.
std::vector<Node*> order_by_id(Graph& graph, const std::vector<Node*>& roots) {
  std::vector<char> needed(graph.nodes().size(), 0);
  for (const Node* root : roots) needed[slot(*root)] = 1;
  std::size_t count = 0;
  bool in_order = true;
  for (std::size_t id = needed.size(); id-- > 0 && in_order;) {
    if (!needed[id]) continue;
    ++count;
    for_each_input(graph.nodes()[id], [&](const Node& input, int) {
      needed[slot(input)] = 1;
      in_order &= slot(input) < id;
    });
  }
  if (!in_order) return {};
  std::vector<Node*> order;
  order.reserve(count);
  for (std::size_t id = 0; id < needed.size(); ++id)
    if (needed[id]) order.push_back(&graph.nodes()[id]);
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

Topology::Topology(Graph& graph, const std::vector<Node*>& roots)
    : order_(order_by_id(graph, roots)) {
  if (order_.empty()) order_ = order_by_depth(graph, roots);

  first_.assign(graph.nodes().size() + 1, 0);
  for (const Node* node : order_)
    for_each_input(*node, [&](Node& input, int) { ++first_[slot(input) + 1]; });
  for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
  readers_.resize(first_.back());
  std::vector<std::size_t> next(first_.begin(), first_.end() - 1);
  for (Node* node : order_)
    for_each_input(*node, [&](Node& input, int index) {
      readers_[next[slot(input)]++] = {node, index};
    });
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
  std::vector<bool> late(graph.nodes().size(), false);
  for (const Node* node : topology.order())
    for_each_input(*node, [&](const Node& input, int) {
      if (late[slot(input)] || input.op().traits.updates_variable) late[slot(*node)] = true;
    });
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
