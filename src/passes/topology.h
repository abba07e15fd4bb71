#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "graph/slot.h"

namespace gradgraph {

/// What the roots need, inputs before who reads them: in the order in which nodes were made where
/// that is possible.
std::vector<Node*> topological_order(Graph& graph, const std::vector<Node*>& roots);

/// The part of a graph that some nodes need, as passes look at it: in topological order, with
/// each node's readers. Nodes added later are not in it.
class Topology {
 public:
  /// `node` reads input `index` of the node that was asked about; -1 for a control input.
  struct Reader {
    Node* node;
    int index;
  };

  Topology(Graph& graph, const std::vector<Node*>& roots);

  const std::vector<Node*>& order() const { return order_; }
  /// None of a node that was added later.
  std::span<const Reader> readers(const Node& node) const {
    const std::size_t id = slot(node);
    if (id + 2 >= first_.size()) return {};
    return {readers_.data() + first_[id], first_[id + 1] - first_[id]};
  }
  /// Who alone reads the node, once, while nobody else awaits it; null where that is nobody.
  Node* only_reader(const Node& node) const;
  /// Somebody runs after the node without reading it.
  bool is_awaited(const Node& node) const;

 private:
  std::vector<Node*> order_;
  std::vector<std::uint32_t> first_;  ///< by node id: where its readers begin
  std::vector<Reader> readers_;
};

/// Whether there is a node of one of these ops. Much cheaper than a topology, so passes that
/// have something to do with such nodes only ask first.
bool has_any(const Graph& graph, std::initializer_list<std::string_view> ops);

/// By node id: whether the node depends on an update. A variable that such a node reads, or that
/// a node before it reads, may have another value by then, so it must not be merged with others.
std::vector<bool> find_late_nodes(const Graph& graph, const Topology& topology);

/// Lets everybody who reads output 0 of `node` read `value`, and who awaits it await that.
void replace_readers(Graph& graph, const Topology& topology, const Node& node,
                     const Output& value);

}  // namespace gradgraph
