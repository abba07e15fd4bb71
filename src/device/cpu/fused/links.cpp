#include "device/cpu/fused/links.h"

#include "device/cpu/isa/levels.h"

namespace gradgraph {

GRADGRAPH_LEVELS(LinkTable::Get, links)

const LinkTable& best_links() { return GRADGRAPH_AT_LEVEL(best_isa(), links)(); }

const OpLinks* find_links(const LinkTable::Codes& codes, std::string_view op) {
  const std::size_t place = place_in_list(op);
  return place < kElementwiseOps ? &codes.of_op[place] : nullptr;
}

}  // namespace gradgraph
