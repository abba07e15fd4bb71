#include "device/shared/elementwise_ops.h"

#include <algorithm>

namespace gradgraph {
namespace {

template <class F>
constexpr std::span<const std::string_view> parameters() {
  if constexpr (requires { F::parameters; }) return F::parameters;
  return {};
}
template <class... F>
std::span<const std::string_view> find_parameters(std::string_view op, functors::List<F...>) {
  std::span<const std::string_view> found;
  static_cast<void>(((F::op == op && (found = parameters<F>(), true)) || ...));
  return found;
}

template <class F>
constexpr int cost() {
  if constexpr (requires { F::kCost; }) return F::kCost;
  return 1;
}
template <class... F>
int find_cost(std::string_view op, functors::List<F...>) {
  int found = 1;
  static_cast<void>(((F::op == op && (found = cost<F>(), true)) || ...));
  return found;
}

}  // namespace

int element_cost(std::string_view op) { return find_cost(op, functors::Elementwise{}); }

std::span<const std::string_view> parameters_of(std::string_view op) {
  return find_parameters(op, functors::Elementwise{});
}

bool has_known_attributes(const Node& node) {
  const auto known = parameters_of(node.op().name);
  return std::ranges::all_of(node.attributes(), [&](const Attributes::Entry& attribute) {
    const auto* dtype = std::get_if<DType>(&attribute.second);
    return (dtype && attribute.first == "dtype" && *dtype == node.dtype()) ||
           std::ranges::find(known, attribute.first) != known.end();
  });
}

}  // namespace gradgraph
