#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/index.h"
#include "gradgraph/op.h"
#include "graph/may_fail.h"
#include "plan/order.h"
#include "plan/plan.h"

namespace gradgraph {
namespace {

/// Goes through the steps and keeps, for each queue, the last step of every other that is known
/// to be done. A step waits for the latest in each queue that it must not overtake, unless that
/// is known; what a wait teaches is more than the step that it names.
class WaitPlanner {
 public:
  WaitPlanner(Plan& plan, const PlanOptions& options)
      : plan_(plan),
        options_(options),
        queues_(1 + plan.is_host.size() * kStreams),
        known_(queues_, Clock(queues_, -1)),
        last_failing_(plan.is_host.size(), kNoStep) {}

  void run() {
    after_.reserve(plan_.steps.size());
    const auto count = static_cast<std::int32_t>(plan_.steps.size());
    for (std::int32_t s = 0; s <= count; ++s) {
      if (s == plan_.finish) finish();
      if (s < count) order(s);
    }
  }

 private:
  using Clock = std::vector<std::int32_t>;
  struct Touch {
    Access access;
    std::int32_t step;
  };
  struct Candidate {
    std::int32_t step;
    bool protects;  ///< an update, from an error in another stream
  };

  std::size_t queue(std::int32_t step) const {
    return at(queue_of(plan_, plan_.steps[at(step)]));
  }
  int kind(std::int32_t step) const {
    return options_.kinds.empty() ? 0 : options_.kinds[at(plan_.steps[at(step)].device)];
  }
  static void learn(Clock& clock, const Clock& other) {
    for (std::size_t q = 0; q < clock.size(); ++q) clock[q] = std::max(clock[q], other[q]);
  }

  void order(std::int32_t s) {
    PlannedStep& step = plan_.steps[at(s)];
    std::vector<Candidate> candidates;
    for (const Access& access : accesses_of(plan_, step)) touch(access, s, candidates);
    if (num_updates(*step.node) > 0)
      for (std::size_t device = 0; device < last_failing_.size(); ++device)
        if (last_failing_[device] != kNoStep && device != at(step.device))
          candidates.push_back({last_failing_[device], true});
    // The latest first: it may imply others, but no other implies it.
    std::ranges::stable_sort(candidates, std::ranges::greater{}, &Candidate::step);

    const std::size_t mine = queue(s);
    Clock &known = known_[mine], &host = known_[0];
    learn(known, host);  // what the host has seen is done before it issues this step
    step.first_wait = static_cast<std::int32_t>(plan_.waits.size());
    for (const auto& [other, protects] : candidates) {
      if ((protects ? host : known)[queue(other)] >= other) continue;
      const bool by_host = protects || mine == 0 || kind(other) != kind(s);
      plan_.waits.push_back({other, by_host});
      plan_.steps[at(other)].is_awaited = true;
      ++step.num_waits;
      learn(known, after_[at(other)]);
      if (by_host) learn(host, after_[at(other)]);
    }
    known[mine] = s;
    after_.push_back(known);
    if (may_fail(*step.node) && mine != 0) last_failing_[at(step.device)] = s;
  }

  /// Finds the steps that must be done before this access. A write hides what it covers: whoever
  /// must wait for that must wait for the write too, which has waited.
  void touch(const Access& access, std::int32_t s, std::vector<Candidate>& candidates) {
    auto& touches = touches_[access.space];
    std::erase_if(touches, [&](const Touch& other) {
      const Access& before = other.access;
      if (before.end <= access.begin || access.end <= before.begin) return false;
      const bool covers = access.begin <= before.begin && before.end <= access.end;
      if (!access.writes && !before.writes) return covers && queue(other.step) == queue(s);
      if (other.step != s && queue(other.step) != 0 && queue(other.step) != queue(s))
        candidates.push_back({other.step, false});
      return access.writes && covers;
    });
    touches.push_back({access, s});
  }

  /// What the computing streams do not know to be done, they wait for, so that the host need not
  /// wait for more than one stream of each device.
  void finish() {
    Clock& host = known_[0];
    std::vector<std::int32_t> last;
    for (std::size_t q = 1; q < queues_; ++q) {
      const bool computes = (q - 1) % kStreams == kComputeStream;
      if (computes && !plan_.is_host[(q - 1) / kStreams]) learn(host, known_[q]);
      if (!computes && known_[q][q] >= 0) last.push_back(known_[q][q]);
    }
    std::ranges::sort(last, std::ranges::greater{});
    for (const std::int32_t step : last) {
      if (host[queue(step)] >= step) continue;
      plan_.joins.push_back(step);
      plan_.steps[at(step)].is_awaited = true;
      learn(host, after_[at(step)]);
    }
  }

  Plan& plan_;
  const PlanOptions& options_;
  std::size_t queues_;
  std::vector<Clock> known_;                ///< by queue
  std::vector<Clock> after_;                ///< by step: what is done when it is
  std::vector<std::int32_t> last_failing_;  ///< by device; of those beside the host
  std::unordered_map<std::int32_t, std::vector<Touch>> touches_;  ///< by space
};

void plan_backups(Plan& plan, bool may_stop) {
  const auto failing = std::find_if(plan.steps.rbegin(), plan.steps.rend(),
                                    [](const auto& step) { return may_fail(*step.node); });
  const auto last = static_cast<std::int32_t>(plan.steps.rend() - failing) - 1;
  const auto end = may_stop ? static_cast<std::int32_t>(plan.steps.size()) : last;
  std::unordered_set<const Node*> kept;
  for (std::int32_t s = 0; s < end; ++s) {
    Node& node = *plan.steps[at(s)].node;
    for (int i = 0; i < num_updates(node); ++i) {
      Node* variable = variable_behind(node.input(i));
      if (kept.insert(variable).second) plan.backups.push_back({variable, s});
    }
  }
}

}  // namespace

void plan_waits(Plan& plan, const PlanOptions& options) {
  if (std::ranges::find(plan.is_host, false) != plan.is_host.end())
    WaitPlanner(plan, options).run();
  plan_backups(plan, options.may_stop);
}

}  // namespace gradgraph
