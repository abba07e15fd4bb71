#pragma once

#include <cstddef>

#include "device/cpu/elementwise/loops.h"
#include "device/shared/scalar_functors.h"

namespace gradgraph {

template <class... F>
constexpr std::size_t count_of(functors::List<F...>) {
  return sizeof...(F);
}
inline constexpr std::size_t kElementwiseOps = count_of(functors::Elementwise{});

/// kElementwiseOps where `op` is none.
std::size_t place_in_list(std::string_view op);

/// The loops of all elementwise ops, compiled for one level of the instruction set: by the op's
/// place in the list of functors, then by dtype; null where there is none.
struct LoopTable {
  ElementLoop of_op[kElementwiseOps][kDTypes];
  ElementLoop cast[kDTypes][kDTypes];  ///< from, to
};

}  // namespace gradgraph
