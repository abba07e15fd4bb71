#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "gradgraph/dot.h"
#include "graph/slot.h"

namespace gradgraph {

/// What one box of a picture stands for: a node, or several that belong together.
struct DrawnBox {
  /// What the box lists.
  std::vector<const Node*> nodes;
  /// What it stands for without listing it: the same nodes in further rounds of a repetition,
  /// and the updates of its variables.
  std::vector<const Node*> unlisted;
  Phase phase = Phase::forward;
  std::vector<std::string> scope;  ///< the clusters that it stands in, outermost first
  std::string title;               ///< without the scope
  /// In a folded picture: the box to stand beside, or -1. For a gradient the forward node that it
  /// differentiates, for what is computed again the node of the first time.
  int beside = -1;
  int copies = 1;         ///< rounds of a repetition that is nothing but this box
  bool is_scope = false;  ///< a scope that is not opened
  int updated_variables = 0;
  int column = 0;  ///< of a forward box: long chains stand in several

  bool is_folded() const { return nodes.size() > 1; }
};

/// What an arrow stands for.
struct DrawnEdge {
  /// The values, as node and output; none where it is only about order.
  std::set<std::pair<const Node*, int>> values;
  /// In a repetition: it leads to the next round, and does not return.
  bool to_next_round = false;
};

/// Chooses what a picture of the graph shows, without a word on how it is written.
///
/// A folded picture shows what a person would draw: repeated pieces once, scopes down to a depth,
/// one box for the gradient of each forward box, and updates as a line of their variable.
class Drawing {
 public:
  Drawing(const Graph& graph, const DotOptions& options);

  const std::vector<DrawnBox>& boxes() const { return boxes_; }
  /// By (from, to), indices of boxes.
  const std::map<std::pair<int, int>, DrawnEdge>& edges() const { return edges_; }
  /// "mul(x, 0.5)": the op with the constants that are drawn inside it. In a folded box the
  /// other inputs have names; elsewhere arrows bring them, and they are dots.
  std::string expression(const Node& node) const;
  /// Whether gradients are drawn beside the forward nodes instead of below, and so on.
  bool is_folded() const { return folded_; }
  /// Variables whose updates are lines in the boxes that the picture shows of them.
  int updated_variables() const { return updated_variables_; }

 private:
  /// The rounds that a forward node is part of.
  struct Rounds {
    const Node* first = nullptr;  ///< the node at its place in the first round
    std::size_t repetition = 0;
    std::size_t round = 0;
  };

  bool is_drawn(const Node& node) const;
  bool is_inlined(const Node& node) const;
  void select(const DotOptions& options);
  void hide_initial_values();
  void find_rounds();
  void name_repetition(const std::vector<const Node*>& nodes, std::size_t begin,
                       std::size_t period, std::size_t count);
  bool has_gradients() const;
  void choose_depth(int depth);
  std::size_t open_scopes(const Node& node, const std::vector<std::string>& scope) const;
  void find_variables_of_updates();

  /// What names the box of a node, and where that stands.
  struct Place {
    std::string key;
    std::vector<std::string> scope;
    std::string title;
    bool is_scope = false;
  };
  Place place_of(const Node& node) const;
  Place forward_place(const Node& node) const;
  Place beside_place(const char* phase, const Node& forward) const;
  std::vector<std::string> scope_parts(const Node& forward) const;
  const Node& first_of(const Node& node) const;

  void make_boxes();
  void list_something(DrawnBox& box) const;
  void connect();
  void add_edge(const Node& from, const Node& to, int index);
  bool is_shared_by_updates(const Node& node) const;
  void find_neighbours();
  void arrange_columns();
  int box_of(const Node& node) const { return box_of_[slot(node)]; }

  const Graph& graph_;
  bool inline_constants_;
  bool folded_ = false;
  int depth_ = 0;             ///< scopes that are opened
  bool folds_lines_ = false;  ///< nodes without a scope go into a box for each line of the user's
  std::vector<bool> drawn_;   ///< by node id
  std::vector<int> box_of_;   ///< by node id; -1 for what has none
  /// Scopes that stay closed: those of layers, where there are too many of them.
  std::unordered_set<std::string> layers_;
  std::unordered_map<const Node*, Rounds> rounds_;
  std::unordered_map<std::string, int> same_lines_;
  /// Of the forward nodes of a first round, where their names do not say it.
  std::unordered_map<const Node*, std::vector<std::string>> scopes_;
  std::unordered_map<const Node*, int> copies_;
  /// Of an update's node: the forward variable that it is for.
  std::unordered_map<const Node*, const Node*> updated_by_;
  int updated_variables_ = 0;
  std::vector<DrawnBox> boxes_;
  std::map<std::pair<int, int>, DrawnEdge> edges_;
};

/// The last part of a name.
std::string_view short_name(std::string_view name);

}  // namespace gradgraph
