#include "device/cpu/elementwise/loops.h"

#include "device/cpu/elementwise/loop_list.h"
#include "device/cpu/isa/levels.h"

namespace gradgraph {

GRADGRAPH_LEVELS(const LoopTable, loops)

namespace {

template <class... F>
std::size_t place_of(std::string_view op, functors::List<F...>) {
  std::size_t place = 0;
  static_cast<void>(((F::op == op || (++place, false)) || ...));
  return place;
}

}  // namespace

std::size_t place_in_list(std::string_view op) { return place_of(op, functors::Elementwise{}); }

ElementLoop find_loop(std::string_view op, DType operand, DType result) {
  const LoopTable& table = GRADGRAPH_AT_LEVEL(best_isa(), loops);
  const auto from = static_cast<std::size_t>(operand), to = static_cast<std::size_t>(result);
  if (op == "cast") return table.cast[from][to];
  const std::size_t place = place_in_list(op);
  return place < kElementwiseOps ? table.of_op[place][from] : nullptr;
}

}  // namespace gradgraph
