#pragma once

#include <unordered_map>
#include <unordered_set>

#include "gradgraph/graph.h"

namespace gradgraph {

/// What one reverse pass computes again of the scopes of gg::recompute. The new nodes come after
/// all that the pass has made so far, and so run then: what they stand for is gone by that time.
class Recomputation {
 public:
  /// The node's values are there anyway, since something outside its scope needs them.
  void keep(const Node& node) { kept_.insert(&node); }
  /// `value` computed again, where it belongs to `scope` and is not kept.
  Output again(const Output& value, int scope);

 private:
  bool is_computed_again(const Node& node, int scope) const;
  Node& copy(Node& original);

  std::unordered_set<const Node*> kept_;
  std::unordered_map<const Node*, Node*> copies_;
};

}  // namespace gradgraph
