#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "device/device.h"
#include "gradgraph/session.h"
#include "passes/specialize.h"
#include "placement/placement.h"
#include "plan/plan.h"
#include "session/checking/numerics.h"

namespace gradgraph {

/// Takes the time of a launch on the host, in a run that is timed. What the launch runs inside
/// has entries of its own, behind all others, and is not counted twice.
class HostTimer {
 public:
  explicit HostTimer(const RunStats& stats);
  void stop(NodeTime& time) const;

 private:
  const RunStats& stats_;
  std::size_t first_inside_;
  std::chrono::steady_clock::time_point start_;
};

/// A subgraph with its kernels, as the kernel of the node that it belongs to runs it: on the
/// host, in that kernel's work memory, from the values to the results that it is called with. It
/// allocates nothing and looks nothing up.
class NestedPlan {
 public:
  NestedPlan(SpecializedGraph subgraph, const SessionOptions& options, const Device& host);

  std::size_t workspace_bytes() const { return plan_.arena_bytes.front(); }
  /// Throws RunError, which names the node inside that failed.
  void run(const KernelArgs& args);

  /// From now on what runs has its time in `stats`, where that is not null.
  void record(RunStats* stats);
  /// Bytes of the constants that are not among `seen`, which they join.
  std::size_t add_constants(std::set<const void*>& seen) const;
  std::string explain_placement() const;

 private:
  /// Where a value is: in the arena, or in what the call has at `index`.
  enum class Place : std::uint8_t { arena, input, output };
  struct Address {
    std::size_t at;  ///< into addresses_
    Place place;
    std::size_t index;  ///< or the offset
  };
  /// A launch, or, without a kernel, a result that is brought where it belongs.
  struct Step {
    Launch launch;
    const PlannedStep* planned = nullptr;
    std::size_t workspace = 0;                    ///< offset
    std::size_t from = 0, output = 0, bytes = 0;  ///< into addresses_, of the call's outputs
  };

  void locate_values(const SpecializedGraph& subgraph);
  void add_steps(const SpecializedGraph& subgraph);
  void execute(const Step& step);
  void execute_timed(const Launch& launch);

  std::unique_ptr<Graph> graph_;
  PlacementOptions placement_options_;
  Placement placement_;
  Plan plan_;
  std::deque<Kernel> kernels_;
  std::vector<std::shared_ptr<NestedPlan>> nested_;
  std::map<std::size_t, std::size_t> output_of_;  ///< by buffer: the result that it holds at last
  std::vector<void*> addresses_;                  ///< laid out as Plan::step_values
  std::vector<Address> call_addresses_;           ///< those that a call decides
  std::vector<Step> steps_;
  RunStats* stats_ = nullptr;
  std::unique_ptr<NumericsCheck> numerics_;  ///< null unless the session checks them
  bool is_watched_ = false;                  ///< by one of these
};

/// What runs the subgraphs of a node, if it has any; they are added to `plans`.
std::vector<Kernel> make_nested_plans(const Node& node, SpecializedGraph& specialized,
                                      const SessionOptions& options, const Device& host,
                                      std::vector<std::shared_ptr<NestedPlan>>& plans);

}  // namespace gradgraph
