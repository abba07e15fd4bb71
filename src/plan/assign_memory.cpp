#include "plan/assign_memory.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/index.h"
#include "gradgraph/op.h"
#include "plan/arena.h"

namespace gradgraph {
namespace {

/// Beyond so many steps, what knows their order takes more memory and time than it is worth.
constexpr std::size_t kMostSteps = 8192;

/// Which steps come after which, whatever runs side by side: those that read what others made.
class StepOrder {
 public:
  explicit StepOrder(const Plan& plan) {
    std::vector<std::vector<std::int32_t>> writers(plan.values.size());
    for (const PlannedStep& step : plan.steps) {
      const std::size_t s = before_.size();
      auto& before = before_.emplace_back(s / kBits + 1, 0);
      for (const std::int32_t value : plan.inputs_of(step)) {
        if (value == kNoValue) continue;
        for (const std::int32_t writer : writers[at(plan.whole_of(value))]) {
          const auto& implied = before_[at(writer)];
          for (std::size_t word = 0; word < implied.size(); ++word) before[word] |= implied[word];
          before[at(writer) / kBits] |= std::uint64_t{1} << at(writer) % kBits;
        }
      }
      for (const std::int32_t value : plan.outputs_of(step)) {
        auto& own = writers[at(plan.whole_of(value))];
        if (step.node->op().traits.updates_variable) own.clear();
        own.push_back(static_cast<std::int32_t>(s));
      }
    }
  }
  /// Whether `step` comes after all of `others`.
  bool is_after(std::int32_t step, std::span<const std::int32_t> others) const {
    return std::ranges::all_of(others, [&](std::int32_t other) {
      return other < step && (before_[at(step)][at(other) / kBits] >> at(other) % kBits & 1) != 0;
    });
  }

 private:
  static constexpr std::size_t kBits = 64;
  std::vector<std::vector<std::uint64_t>> before_;  ///< by step: bits of those before it
};

/// Buffers of all arenas, and who has which.
struct Layout {
  std::vector<std::vector<Lifetime>> buffers;  ///< by device
  std::vector<std::size_t> bytes;              ///< by device
  std::vector<std::size_t> buffer_of;          ///< by value
  std::vector<std::size_t> workspace_of;       ///< by step
};

class MemoryPlanner {
 public:
  explicit MemoryPlanner(Plan& plan) : plan_(plan), uses_(plan.values.size()) {
    for (std::size_t s = 0; s < plan_.steps.size(); ++s)
      for (const std::int32_t value : plan_.values_of(plan_.steps[s])) {
        if (value == kNoValue) continue;
        auto& uses = uses_[at(plan_.whole_of(value))];
        if (uses.empty() || at(uses.back()) != s) uses.push_back(static_cast<std::int32_t>(s));
      }
  }

  void run(std::span<const ArenaRoom> rooms) {
    const std::size_t devices = plan_.is_host.size();
    Layout tight = lay_out(nullptr, std::vector<bool>(devices, true)), loose;
    std::vector<bool> chosen(devices);
    for (std::size_t d = 0; d < devices; ++d)
      chosen[d] = d < rooms.size() && rooms[d].spare > 0 && plan_.steps.size() <= kMostSteps;
    if (std::ranges::find(chosen, true) != chosen.end()) {
      const StepOrder order(plan_);
      loose = lay_out(&order, chosen);
    }
    for (std::size_t d = 0; d < devices; ++d) {
      const bool fits = chosen[d] && loose.buffers[d].size() <= kMostPackedAnyhow &&
                        loose.bytes[d] <= tight.bytes[d] + rooms[d].spare &&
                        loose.bytes[d] <= std::max(tight.bytes[d], rooms[d].most);
      take(static_cast<std::int32_t>(d), fits ? loose : tight);
    }
  }

 private:
  /// Without an order, memory is used again as soon as the steps before have been issued. Packs
  /// the arenas of `devices`.
  Layout lay_out(const StepOrder* order, const std::vector<bool>& devices) const {
    Layout layout;
    layout.buffers.resize(plan_.is_host.size());
    layout.buffer_of.resize(plan_.values.size());
    std::vector<std::vector<std::vector<std::int32_t>>> users(layout.buffers.size());
    std::vector<bool> has_buffer(plan_.values.size(), false);
    const auto add = [&](std::int32_t device, std::size_t bytes,
                         const std::vector<std::int32_t>& uses) {
      layout.buffers[at(device)].push_back({bytes, uses.front(), uses.back(), 0});
      if (order) users[at(device)].push_back(uses);
      return layout.buffers[at(device)].size() - 1;
    };
    for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
      const PlannedStep& step = plan_.steps[s];
      const auto index = static_cast<std::int32_t>(s);
      const std::int32_t reused = reusable_input(step, index, order);
      for (const std::int32_t value : plan_.outputs_of(step)) {
        const std::int32_t whole = plan_.whole_of(value);
        const PlannedValue& output = plan_.values[at(whole)];
        // Another part has been there before.
        if (output.storage != Storage::arena || has_buffer[at(whole)]) continue;
        has_buffer[at(whole)] = true;
        const std::vector<std::int32_t>& uses = uses_[at(whole)];
        if (reused != kNoValue && value == plan_.outputs_of(step)[0]) {
          const std::size_t buffer = layout.buffer_of[at(whole)] = layout.buffer_of[at(reused)];
          layout.buffers[at(output.device)][buffer].last = uses.back();
          if (order) {
            auto& all = users[at(output.device)][buffer];
            all.insert(all.end(), uses.begin(), uses.end());
          }
        } else {
          layout.buffer_of[at(whole)] = add(output.device, output.bytes, uses);
        }
      }
      layout.workspace_of.push_back(add(step.device, step.workspace_bytes, {index}));
    }
    for (std::size_t d = 0; d < layout.buffers.size(); ++d) {
      std::vector<Lifetime>& buffers = layout.buffers[d];
      const auto share = [&](std::size_t a, std::size_t b) {
        return order->is_after(buffers[b].first, users[d][a]) ||
               order->is_after(buffers[a].first, users[d][b]);
      };
      const bool is_loose = order && buffers.size() <= kMostPackedAnyhow;
      layout.bytes.push_back(!devices[d] ? 0 : is_loose ? pack(buffers, share) : pack(buffers));
    }
    return layout;
  }

  /// The input whose memory output 0 may take over, since nobody reads it afterwards, or beside
  /// the step. A part has no last use of its own.
  std::int32_t reusable_input(const PlannedStep& step, std::int32_t index,
                              const StepOrder* order) const {
    const Traits& traits = step.node->op().traits;
    if (!traits.in_place || step.num_outputs == 0) return kNoValue;
    const PlannedValue& output = plan_.values[at(plan_.outputs_of(step)[0])];
    if (output.whole != kNoValue) return kNoValue;
    const auto inputs = plan_.inputs_of(step);
    const int candidates = traits.elementwise ? step.num_inputs : std::min(step.num_inputs, 1);
    for (int i = 0; i < candidates; ++i) {
      const std::int32_t value = inputs[at(i)];
      if (value == kNoValue || plan_.values[at(value)].whole != kNoValue) continue;
      const std::span<const std::int32_t> uses = uses_[at(value)];
      if (uses.back() != index || (order && !order->is_after(index, uses.first(uses.size() - 1))))
        continue;
      const PlannedValue& input = plan_.values[at(value)];
      const bool has_read_parts = std::ranges::any_of(inputs, [&](std::int32_t other) {
        return other != kNoValue && plan_.values[at(other)].whole == value;
      });
      if (input.storage == Storage::arena && input.device == output.device && !has_read_parts &&
          input.bytes == output.bytes && output.bytes > 0 &&
          step.node->input(i).shape().num_elements() == step.node->shape().num_elements())
        return value;
    }
    return kNoValue;
  }

  void take(std::int32_t device, Layout& layout) {
    const std::vector<Lifetime>& buffers = layout.buffers[at(device)];
    for (std::size_t v = 0; v < plan_.values.size(); ++v) {
      PlannedValue& value = plan_.values[v];
      if (value.storage != Storage::arena || value.device != device) continue;
      value.buffer = layout.buffer_of[at(plan_.whole_of(static_cast<std::int32_t>(v)))];
      value.offset += buffers[value.buffer].offset;
    }
    for (std::size_t s = 0; s < plan_.steps.size(); ++s)
      if (plan_.steps[s].device == device)
        plan_.steps[s].workspace_offset = buffers[layout.workspace_of[s]].offset;
    plan_.buffers.push_back(std::move(layout.buffers[at(device)]));
    plan_.arena_bytes.push_back(layout.bytes[at(device)]);
  }

  Plan& plan_;
  std::vector<std::vector<std::int32_t>> uses_;  ///< by value, of whole ones: steps, in order
};

}  // namespace

void assign_memory(Plan& plan, std::span<const ArenaRoom> rooms) {
  MemoryPlanner(plan).run(rooms);
}

}  // namespace gradgraph
