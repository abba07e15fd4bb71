#include "device/cpu/links.h"

#include "device/cpu/isa.h"
#include "device/scalar_functors.h"

namespace gradgraph {

const LinkTable& links_baseline();
#ifdef GRADGRAPH_ISA_LEVELS
const LinkTable& links_avx2();
const LinkTable& links_avx512();
#endif

const LinkTable& best_links() {
#ifdef GRADGRAPH_ISA_LEVELS
  if (best_isa() == Isa::avx512) return links_avx512();
  if (best_isa() == Isa::avx2) return links_avx2();
#endif
  return links_baseline();
}

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
