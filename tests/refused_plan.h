#pragma once

#include "gradgraph/error.h"
#include "plan/plan.h"

namespace gradgraph::tests {

/// Whether `verify` finds a fault in the plan.
inline bool is_refused(const Plan& plan) {
  try {
    verify(plan);
  } catch (const RunError&) {
    return true;
  }
  return false;
}

}  // namespace gradgraph::tests
