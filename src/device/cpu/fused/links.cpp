#include "device/cpu/fused/links.h"

#include "device/cpu/isa/levels.h"
#include "device/shared/scalar_functors.h"

namespace gradgraph {

GRADGRAPH_LEVELS(LinkTable::Get, links)

const LinkTable& best_links() { return GRADGRAPH_AT_LEVEL(best_isa(), links)(); }

namespace {

template <class Codes, class... F>
const Codes* find_in(std::string_view op, const Codes* codes, functors::List<F...>) {
  const Codes* found = nullptr;
  ((F::op == op ? found = codes : nullptr, ++codes), ...);
  return found;
}

}  // namespace

Link::Code find_unary_link(const LinkTable::Codes& codes, std::string_view op) {
  const auto* found = find_in(op, codes.unary, functors::Unary{});
  return found ? *found : nullptr;
}

Link::Code find_binary_link(const LinkTable::Codes& codes, std::string_view op, bool other_left,
                            bool other_fixed) {
  const auto* found = find_in(op, codes.arithmetic, functors::Arithmetic{});
  return found ? (*found)[other_left][other_fixed] : nullptr;
}

}  // namespace gradgraph
