#include "passes/rewriting/known_op.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <variant>

namespace gradgraph {

KnownOp::KnownOp(std::string_view op, std::initializer_list<std::string_view> attributes)
    : op_(&op_registry().at(op)), attributes_(attributes) {}

bool KnownOp::matches(const Node& node) const {
  return &node.op() == op_ && node.control_inputs().empty() &&
         has_exactly(node.attributes(), attributes_);
}

KnownOp known_convolution(std::string_view op) {
  return KnownOp(op, {"strides", "padding", "border", "dilations", "groups", "layout"});
}
KnownOp known_pool(std::string_view op) {
  return KnownOp(op, {"window", "strides", "padding", "border", "layout"});
}

bool has_exactly(const Attributes& attributes, const std::vector<std::string_view>& names) {
  return static_cast<std::size_t>(attributes.end() - attributes.begin()) == names.size() &&
         std::ranges::all_of(names, [&](std::string_view name) { return attributes.find(name); });
}

namespace {

bool same_tensor(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.raw() == b.raw() || a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

}  // namespace

bool same_value(const Attribute& a, const Attribute& b) {
  if (a.index() != b.index()) return false;
  return std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        const T& other = std::get<T>(b);
        if constexpr (std::is_same_v<T, Tensor>)
          return same_tensor(value, other);
        else if constexpr (std::is_same_v<T, double>)
          return std::bit_cast<std::uint64_t>(value) == std::bit_cast<std::uint64_t>(other);
        else
          return value == other;
      },
      a);
}

bool same_attributes(const Attributes& a, const Attributes& b) {
  return a.end() - a.begin() == b.end() - b.begin() &&
         std::ranges::all_of(a, [&](const auto& entry) {
           const Attribute* other = b.find(entry.first);
           return other && same_value(entry.second, *other);
         });
}

}  // namespace gradgraph
