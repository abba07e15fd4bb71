#include "plan/peak.h"

#include "core/index.h"
#include "plan/arena.h"

namespace gradgraph {
namespace {

/// The values that the device's buffers hold in a step; one that was taken over is gone.
std::vector<std::int32_t> values_in(const Plan& plan, std::int32_t device, std::int32_t step) {
  const auto& buffers = plan.buffers[at(device)];
  std::vector<std::int32_t> held(buffers.size(), kNoValue);
  for (std::int32_t s = 0; s <= step; ++s) {
    const PlannedStep& before = plan.steps[at(s)];
    for (const std::int32_t value : plan.outputs_of(before)) {
      const PlannedValue& output = plan.values[at(value)];
      if (output.storage == Storage::arena && output.device == device &&
          buffers[output.buffer].last >= step)
        held[output.buffer] = plan.whole_of(value);
    }
  }
  std::erase(held, kNoValue);
  return held;
}

}  // namespace

Peak find_peak(const Plan& plan, std::int32_t device) {
  std::vector<std::size_t> begins(plan.steps.size(), 0), ends(plan.steps.size(), 0);
  for (const Lifetime& buffer : plan.buffers[at(device)]) {
    begins[at(buffer.first)] += rounded(buffer.bytes);
    ends[at(buffer.last)] += rounded(buffer.bytes);
  }
  Peak peak;
  std::size_t live = 0;
  for (std::int32_t s = 0; at(s) < plan.steps.size(); ++s) {
    live += begins[at(s)];
    if (live > peak.bytes) peak = {s, live, {}};
    live -= ends[at(s)];
  }
  if (peak.step >= 0) peak.values = values_in(plan, device, peak.step);
  return peak;
}

}  // namespace gradgraph
