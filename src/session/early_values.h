#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace gradgraph {

/// What a step computes from no variable that it updates: batches taken from data that a device
/// holds, random numbers, weights of samples. Of steps that are recorded together the next one's
/// need not wait for this one's updates, if they do not share its memory: they have places of
/// their own in a buffer beside the arena.
struct EarlyValues {
  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);
  std::vector<std::size_t> value_offset;      ///< by value; kNowhere for others
  std::vector<std::size_t> workspace_offset;  ///< by step of the plan; kNowhere for others
  std::size_t bytes = 0;
};

EarlyValues find_early_values(const Plan& plan, std::int32_t device);

}  // namespace gradgraph
