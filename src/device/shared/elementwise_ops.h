#pragma once

#include <span>
#include <string_view>
#include <type_traits>

#include "device/kernel.h"
#include "device/shared/scalar_functors.h"

/// What all devices need to know of the ops in functors::Elementwise.
namespace gradgraph {

/// The scalar attributes that `op` takes behind its operands, in their order, as numbers of the
/// operands' dtype.
std::span<const std::string_view> parameters_of(std::string_view op);

/// What an element costs, in additions; 1 for an op that is not in the list.
int element_cost(std::string_view op);

/// Whether an elementwise node has no attributes but those, and a cast's dtype, which that of its
/// result repeats.
bool has_known_attributes(const Node& node);

/// Adds a kernel of each op for devices of `kind` (a literal), which make(site, refusal) makes:
/// `refusal` is what to say when the op refuses an operand. Ops of floats take 16 bits as well.
template <class Make>
void add_elementwise_kernels(KernelRegistry& registry, std::string_view kind, Make make) {
  const auto add_op = [&]<class F, class... T>(F, functors::List<T...>) {
    const char* refusal = "";
    if constexpr (requires { F::refusal; }) refusal = F::refusal;
    const auto make_op = [make, refusal](const KernelSite& site) { return make(site, refusal); };
    registry.add(F::op, kind, {dtype_of<T>...}, make_op);
    constexpr bool kOfFloats = (std::is_same_v<T, float> || ...);
    if constexpr (kOfFloats && !(std::is_same_v<T, Half> || ...))
      registry.add(F::op, kind, {float16, bfloat16}, make_op);
  };
  [&]<class... F>(functors::List<F...>) {
    (add_op(F{}, typename F::Types{}), ...);
  }(functors::Elementwise{});
}

}  // namespace gradgraph
