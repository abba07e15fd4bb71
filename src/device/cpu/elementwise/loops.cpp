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

template <class F>
constexpr std::span<const std::string_view> parameters() {
  if constexpr (requires { F::parameters; }) return F::parameters;
  return {};
}
template <class... F>
std::span<const std::string_view> parameters_at(std::size_t place, functors::List<F...>) {
  static constexpr std::span<const std::string_view> all[] = {parameters<F>()...};
  return all[place];
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

std::span<const std::string_view> parameters_of(std::string_view op) {
  const std::size_t place = place_in_list(op);
  if (place == kElementwiseOps) return {};
  return parameters_at(place, functors::Elementwise{});
}

}  // namespace gradgraph
