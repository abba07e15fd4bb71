#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gradgraph/dot.h"
#include "graph/slot.h"

namespace gradgraph {

/// What one box of a picture stands for: a node, or several that belong together.
struct DrawnBox {
  std::vector<const Node*> nodes;
  Phase phase = Phase::forward;
  std::string scope;  ///< the cluster that it stands in: "gradients/conv1", or empty
  std::string title;  ///< without the scope
  /// In a folded picture: the box to stand beside, or -1. For a gradient the forward node that it
  /// differentiates, for what is computed again the node of the first time, for the update of a
  /// forward variable the gradient that it applies.
  int beside = -1;

  bool is_folded() const { return nodes.size() > 1; }
};

/// The values that an arrow stands for, as node and output; none where it is only about order.
using DrawnEdge = std::set<std::pair<const Node*, int>>;

/// Chooses what a picture of the graph shows, without a word on how it is written.
class Drawing {
 public:
  Drawing(const Graph& graph, const DotOptions& options);

  const std::vector<DrawnBox>& boxes() const { return boxes_; }
  /// By (from, to), indices of boxes.
  const std::map<std::pair<int, int>, DrawnEdge>& edges() const { return edges_; }
  /// "mul(x, 0.5)": the op with the constants that are drawn inside it. In a folded box the
  /// other inputs have names; elsewhere arrows bring them, and they are dots.
  std::string expression(const Node& node) const;
  /// Whether gradients and updates are drawn beside the forward nodes instead of below.
  bool is_folded() const { return folded_; }

 private:
  bool is_drawn(const Node& node) const;
  bool is_inlined(const Node& node) const;
  void select(const DotOptions& options);
  void hide_initial_values();
  void make_boxes();
  std::string folded_into(const Node& node) const;
  void connect();
  void find_neighbours();
  int box_of(const Node& node) const { return box_of_[slot(node)]; }

  const Graph& graph_;
  bool inline_constants_;
  bool folded_ = false;
  std::vector<bool> drawn_;                     ///< by node id
  std::vector<int> box_of_;                     ///< by node id; -1 for what has none
  std::map<const Node*, const Node*> updater_;  ///< of the variables that only updates use
  std::vector<DrawnBox> boxes_;
  std::map<std::pair<int, int>, DrawnEdge> edges_;
};

/// The last part of a name.
std::string_view short_name(std::string_view name);

}  // namespace gradgraph
