#include <algorithm>
#include <iterator>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/index.h"
#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/may_fail.h"
#include "plan/order.h"
#include "plan/plan.h"

namespace gradgraph {
namespace {

/// The step's values, each part as the whole that it belongs to: inputs, then outputs.
std::vector<std::int32_t> wholes_of(const Plan& plan, const PlannedStep& step) {
  std::vector<std::int32_t> wholes;
  for (const std::int32_t value : plan.values_of(step)) wholes.push_back(plan.whole_of(value));
  return wholes;
}

/// Parts lie in what they are parts of, and steps write no two of them to the same place.
void verify_parts(const Plan& plan) {
  std::map<std::int32_t, std::vector<std::int32_t>> written;
  for (const PlannedStep& step : plan.steps)
    for (const std::int32_t value : plan.outputs_of(step)) {
      const std::int32_t whole = plan.values[at(value)].whole;
      if (whole != kNoValue) written[whole].push_back(value);
    }
  const auto fail = [&](const PlannedValue& part, const PlannedValue& whole, const char* what) {
    throw RunError(
        fmt::format("verify: '{}' {} '{}'", part.node->name(), what, whole.node->name()));
  };
  for (const PlannedValue& part : plan.values) {
    if (part.whole == kNoValue) continue;
    const PlannedValue& whole = plan.values[at(part.whole)];
    if (whole.whole != kNoValue || part.device != whole.device || part.offset < whole.offset ||
        part.offset + part.bytes > whole.offset + whole.bytes)
      fail(part, whole, "is no part of");
  }
  for (auto& [whole, parts] : written) {
    std::ranges::sort(parts, {}, [&](std::int32_t part) { return plan.values[at(part)].offset; });
    for (std::size_t i = 1; i < parts.size(); ++i) {
      const PlannedValue &x = plan.values[at(parts[i - 1])], &y = plan.values[at(parts[i])];
      if (x.offset + x.bytes > y.offset) fail(x, y, "takes a place in a whole from");
    }
  }
}

void verify_lifetimes(const Plan& plan) {
  std::vector<std::int32_t> first(plan.values.size(), -1), last(plan.values.size(), -1);
  for (std::size_t s = 0; s < plan.steps.size(); ++s)
    for (const std::int32_t value : wholes_of(plan, plan.steps[s])) {
      if (value == kNoValue) continue;
      if (first[at(value)] < 0) first[at(value)] = static_cast<std::int32_t>(s);
      last[at(value)] = static_cast<std::int32_t>(s);
    }
  // Sweep through the steps with the live values of each arena by offset.
  std::map<std::pair<std::int32_t, std::size_t>, std::int32_t> live;
  const auto check = [&](std::int32_t a, std::int32_t b) {
    const PlannedValue &x = plan.values[at(a)], &y = plan.values[at(b)];
    if (x.device != y.device || x.offset + x.bytes <= y.offset || y.offset + y.bytes <= x.offset)
      return;
    throw RunError(fmt::format("verify: '{}' and '{}' share memory while both are alive",
                               x.node->name(), y.node->name()));
  };
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    const PlannedStep& step = plan.steps[s];
    const std::vector<std::int32_t> values = wholes_of(plan, step);
    const auto in_arena = [&](std::int32_t value) {
      return value != kNoValue && plan.values[at(value)].storage == Storage::arena &&
             plan.values[at(value)].bytes > 0;
    };
    // Inputs that end here may be taken over by an output that begins here.
    for (const std::int32_t value : std::span(values).first(at(step.num_inputs)))
      if (in_arena(value) && last[at(value)] == static_cast<std::int32_t>(s) &&
          step.node->op().traits.in_place)
        live.erase({plan.values[at(value)].device, plan.values[at(value)].offset});
    for (const std::int32_t value : values) {
      if (!in_arena(value) || first[at(value)] != static_cast<std::int32_t>(s)) continue;
      if (const auto known =
              live.find({plan.values[at(value)].device, plan.values[at(value)].offset});
          known != live.end() && known->second == value)
        continue;
      const auto [place, inserted] =
          live.try_emplace({plan.values[at(value)].device, plan.values[at(value)].offset}, value);
      if (!inserted) check(place->second, value);
      if (place != live.begin()) check(std::prev(place)->second, value);
      if (std::next(place) != live.end()) check(std::next(place)->second, value);
    }
    for (const std::int32_t value : values)
      if (in_arena(value) && last[at(value)] == static_cast<std::int32_t>(s)) {
        const auto place =
            live.find({plan.values[at(value)].device, plan.values[at(value)].offset});
        if (place != live.end() && place->second == value) live.erase(place);
      }
  }
}

/// Works out anew what is known to be done when: by queue, the last step that is.
class OrderVerifier {
 public:
  explicit OrderVerifier(const Plan& plan)
      : plan_(plan),
        known_(1 + plan.is_host.size() * kStreams,
               Clock(1 + plan.is_host.size() * kStreams, -1)) {}

  void run() {
    const auto count = static_cast<std::int32_t>(plan_.steps.size());
    for (std::int32_t s = 0; s <= count; ++s) {
      if (s == plan_.finish) finish();
      if (s < count) advance(s);
    }
    check_backups();
  }

 private:
  using Clock = std::vector<std::int32_t>;
  struct Touch {
    Access access;
    std::int32_t step;
  };

  const PlannedStep& step(std::int32_t s) const { return plan_.steps[at(s)]; }
  std::size_t queue(std::int32_t s) const { return at(queue_of(plan_, step(s))); }
  static void learn(Clock& clock, const Clock& other) {
    for (std::size_t q = 0; q < clock.size(); ++q) clock[q] = std::max(clock[q], other[q]);
  }

  void advance(std::int32_t s) {
    Clock& mine = known_[queue(s)];
    for (std::int32_t i = 0; i < step(s).num_waits; ++i) {
      const PlannedWait& wait = plan_.waits[at(step(s).first_wait + i)];
      if (wait.step == kNoStep) continue;
      learn(wait.by_host ? known_[0] : mine, after_[at(wait.step)]);
    }
    learn(mine, known_[0]);
    for (const Access& access : accesses_of(plan_, step(s))) {
      auto& touches = touches_[access.space];
      for (const Touch& other : touches)
        if (other.step != s && (access.writes || other.access.writes) &&
            access.begin < other.access.end && other.access.begin < access.end &&
            mine[queue(other.step)] < other.step)
          fail(other.step, s, "may run at once, on the same memory");
      touches.push_back({access, s});
    }
    if (num_updates(*step(s).node) > 0)
      for (std::int32_t f = 0; f < s; ++f)
        if (may_fail(*step(f).node) && step(f).device != step(s).device &&
            known_[0][queue(f)] < f)
          fail(f, s, "are not in order, though the first may fail");
    mine[queue(s)] = s;
    after_.push_back(mine);
  }

  void finish() {
    for (const std::int32_t join : plan_.joins)
      if (join != kNoStep) learn(known_[0], after_[at(join)]);
    for (std::size_t d = 0; d < plan_.is_host.size(); ++d)
      if (!plan_.is_host[d]) learn(known_[0], known_[1 + d * kStreams + kComputeStream]);
    for (std::int32_t s = 0; s < plan_.finish; ++s)
      if (known_[0][queue(s)] < s) fail(s, s, "may still run at the end");
  }

  void check_backups() const {
    std::int32_t last_failing = -1;
    for (std::int32_t s = 0; at(s) < plan_.steps.size(); ++s)
      if (may_fail(*step(s).node)) last_failing = s;
    for (std::int32_t s = 0; s < last_failing; ++s)
      for (int i = 0; i < num_updates(*step(s).node); ++i) {
        const Node* variable = variable_behind(step(s).node->input(i));
        if (std::ranges::none_of(plan_.backups, [&](const PlannedBackup& backup) {
              return backup.variable == variable && backup.before_step <= s;
            }))
          fail(s, last_failing, "update a variable and may fail then, without a backup");
      }
  }

  [[noreturn]] void fail(std::int32_t a, std::int32_t b, const char* what) const {
    throw RunError(fmt::format("verify: '{}' and '{}' {}", step(a).node->name(),
                               step(b).node->name(), what));
  }

  const Plan& plan_;
  std::vector<Clock> known_;  ///< by queue
  std::vector<Clock> after_;  ///< by step
  std::unordered_map<std::int32_t, std::vector<Touch>> touches_;
};

}  // namespace

void verify(const Plan& plan) {
  verify_parts(plan);
  verify_lifetimes(plan);
  if (std::ranges::find(plan.is_host, false) != plan.is_host.end()) OrderVerifier(plan).run();
}

}  // namespace gradgraph
