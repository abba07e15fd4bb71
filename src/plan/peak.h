#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace gradgraph {

/// The step during which an arena holds most, and what it holds then.
struct Peak {
  std::int32_t step = -1;            ///< -1 where the arena is empty
  std::size_t bytes = 0;             ///< no packing can do with less
  std::vector<std::int32_t> values;  ///< into Plan::values; the step's work memory comes on top
};

Peak find_peak(const Plan& plan, std::int32_t device);

}  // namespace gradgraph
