#include "session/early_values.h"

#include <algorithm>
#include <span>

#include "core/checked.h"
#include "core/index.h"
#include "gradgraph/op.h"
#include "plan/arena.h"
#include "plan/order.h"

namespace gradgraph {
namespace {

class Finder {
 public:
  Finder(const Plan& plan, std::int32_t device)
      : plan_(plan), device_(device), is_late_(plan.values.size(), false) {}

  EarlyValues run() {
    // A variable's value is late if anything updates it, also behind its readers: those of the
    // next step come after it.
    for (const PlannedStep& step : plan_.steps)
      set_late(plan_.inputs_of(step).first(at(num_updates(*step.node))));
    for (const PlannedStep& step : plan_.steps)
      if (num_updates(*step.node) > 0 || has_late_inputs(step)) set_late(plan_.outputs_of(step));
    early_.value_offset.assign(plan_.values.size(), EarlyValues::kNowhere);
    place_of_.assign(plan_.buffers[at(device_)].size(), EarlyValues::kNowhere);
    is_made_.assign(plan_.values.size(), false);
    for (const PlannedStep& step : plan_.steps) add(step);
    for (std::size_t v = 0; v < plan_.values.size(); ++v)
      if (is_made_[at(plan_.whole_of(static_cast<std::int32_t>(v)))]) place(v);
    return early_;
  }

 private:
  bool is_late(std::int32_t value) const {
    return value != kNoValue && is_late_[at(plan_.whole_of(value))];
  }
  void set_late(std::span<const std::int32_t> values) {
    for (const std::int32_t value : values)
      if (value != kNoValue) is_late_[at(plan_.whole_of(value))] = true;
  }
  bool has_late_inputs(const PlannedStep& step) const {
    return std::ranges::any_of(plan_.inputs_of(step),
                               [&](std::int32_t value) { return is_late(value); });
  }

  void add(const PlannedStep& step) {
    early_.workspace_offset.push_back(EarlyValues::kNowhere);
    if (step.device != device_ || step.node->op().traits.moves_value ||
        num_updates(*step.node) > 0 || has_late_inputs(step))
      return;
    for (const std::int32_t output : plan_.outputs_of(step)) {
      if (output == kNoValue || is_late(output)) continue;
      const std::size_t whole = at(plan_.whole_of(output));
      is_made_[whole] = plan_.values[whole].storage == Storage::arena;
    }
    if (step.workspace_bytes > 0) early_.workspace_offset.back() = take(step.workspace_bytes);
  }
  /// Early values that share the arena's memory, one after the other, share this too.
  void place(std::size_t index) {
    const PlannedValue& value = plan_.values[index];
    const Lifetime& buffer = plan_.buffers[at(device_)][value.buffer];
    std::size_t& place = place_of_[value.buffer];
    if (place == EarlyValues::kNowhere) place = take(buffer.bytes);
    early_.value_offset[index] = place + value.offset - buffer.offset;
  }
  std::size_t take(std::size_t bytes) {
    const std::size_t offset = early_.bytes;
    early_.bytes = checked_add(offset, rounded(bytes));
    return offset;
  }

  const Plan& plan_;
  std::int32_t device_;
  std::vector<bool> is_late_;          ///< by value, of whole ones
  std::vector<bool> is_made_;          ///< by value, of whole ones: early steps write it
  std::vector<std::size_t> place_of_;  ///< by buffer of the device's arena
  EarlyValues early_;
};

}  // namespace

EarlyValues find_early_values(const Plan& plan, std::int32_t device) {
  return Finder(plan, device).run();
}

}  // namespace gradgraph
