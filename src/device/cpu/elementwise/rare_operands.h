#pragma once

#include <cstdint>

#include "device/shared/scalar_functors.h"

/// Functors that leave some operands to `of_rare`. Included by one file per level of the
/// instruction set, as loops_table.h is. A loop looks whether there are rare operands among some;
/// what comes of an operand does not depend on its neighbours.
namespace gradgraph::GRADGRAPH_ISA {

/// Whether some of `length` operands are rare. Compilers find no vectors in bools.
template <class F, class T>
bool any_rare(const T* x, std::int64_t length) {
  T rare = 0;
  for (std::int64_t i = 0; i < length; ++i) rare = F::is_rare(x[i]) ? T{1} : rare;
  return rare != 0;
}
template <class F, class T>
[[gnu::noinline, gnu::cold]] void compute_rare(const T* x, T* y, std::int64_t length) {
  for (std::int64_t i = 0; i < length; ++i)
    if (F::is_rare(x[i])) y[i] = F::of_rare(x[i]);
}

}  // namespace gradgraph::GRADGRAPH_ISA
