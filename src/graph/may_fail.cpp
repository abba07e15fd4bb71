#include "graph/may_fail.h"

#include <algorithm>

#include "graph/subgraph.h"

namespace gradgraph {

bool may_fail(const Node& node) {
  const Traits& traits = node.op().traits;
  if (traits.may_fail) return !(traits.elementwise && is_floating(node.dtype()));
  bool found = false;
  for_each_subgraph(node, [&](const Subgraph& subgraph) {
    found = found || std::ranges::any_of(nodes_of(subgraph),
                                         [](const Node* inner) { return may_fail(*inner); });
  });
  return found;
}

}  // namespace gradgraph
