#pragma once

#include "core/text.h"
#include "gradgraph/optimizers.h"

/// Checks of optimisers' settings.
namespace gradgraph {

inline void require_setting(bool condition, const char* optimizer, const char* message,
                            SourceLocation where) {
  if (!condition) throw BuildError(fmt::format("{}: {}", optimizer, message), where);
}

inline void require_fraction(const char* optimizer, const char* setting, double value,
                             SourceLocation where) {
  if (!(value >= 0 && value < 1))
    throw BuildError(fmt::format("{}: {} must be in [0, 1), not {}", optimizer, setting, value),
                     where);
}

inline void require_not_negative(const char* optimizer, const char* setting, double value,
                                 SourceLocation where) {
  if (!(value >= 0))
    throw BuildError(
        fmt::format("{}: {} must not be negative, but is {}", optimizer, setting, value), where);
}

/// `apply` and `minimize` of an optimiser.
#define GRADGRAPH_DEFINE_OPTIMIZER(Optimizer, name)                                         \
  Output Optimizer::apply(const std::vector<GradientPair>& gradients, SourceLocation where) \
      const {                                                                               \
    return apply_by(*this, name, gradients, where);                                         \
  }                                                                                         \
  Output Optimizer::minimize(Output loss, const std::vector<Output>& variables,             \
                             SourceLocation where) const {                                  \
    return minimize_by(*this, name, loss, variables, where);                                \
  }

}  // namespace gradgraph
