#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "gradgraph/session.h"
#include "passes/pass_list.h"
#include "placement/placement.h"
#include "plan/plan.h"
#include "session/checking/numerics.h"
#include "session/device_costs.h"
#include "session/early_values.h"
#include "session/memory.h"
#include "session/nested_plan.h"
#include "session/rewritten_copy.h"

namespace gradgraph {

/// Whether graph and plan are verified after every stage: in debug builds, and in tests.
#ifdef NDEBUG
inline bool verifies_stages = false;
#else
inline bool verifies_stages = true;
#endif

/// A plan with its kernels and addresses: a flat list of commands that runs step after step
/// without looking anything up.
class CompiledPlan {
 public:
  /// Plans, without any memory yet.
  CompiledPlan(const Graph& graph, const std::vector<FedValue>& feeds,
               const std::vector<Output>& fetches, const SessionOptions& options,
               const DeviceChoices& choices, SessionMemory& memory,
               RewriteLog log = RewriteLog());
  ~CompiledPlan();
  CompiledPlan(const CompiledPlan&) = delete;
  CompiledPlan& operator=(const CompiledPlan&) = delete;

  /// What the session holds once this has run: the same before and after.
  MemoryUse memory_use() const;
  /// What the session then holds on each device; on the host, the results too.
  std::vector<std::size_t> bytes_by_device() const;
  /// Takes the memory that lives longer than a run. Comes before everything below.
  void attach();

  /// A variable of the user's graph and its value.
  struct Variable {
    Node* node;
    VariableSlot* slot;
  };
  /// Variables that must have a value before a run, in the order in which they were made: all
  /// that the user's graph reads, also where passes do without.
  const std::vector<Variable>& required_variables() const { return required_variables_; }
  /// Where the run's results go: one type per fetch, unused for fetches without a value.
  const std::vector<OutputType>& result_types() const { return result_types_; }
  const Plan& plan() const { return plan_; }
  std::string explain_placement() const;
  /// For RunStats::nodes, one entry per kernel call, then one per copy from or to a device beside
  /// the host; `run` fills in the times.
  std::vector<NodeTime> node_times() const;

  /// `feeds` and `results` are in the order given at construction; results are allocated. Times
  /// the kernels when `stats.nodes` is what `node_times` gave. When this throws, every variable
  /// is as it was.
  void run(const Tensor* feeds, std::vector<Tensor>& results, const RunInfo& info,
           RunStats& stats);

  /// Whether `run_steps` can: all that a step does is one device's, which records, and it has run
  /// once, so that nothing is left to be made ready.
  bool can_run_steps() const { return is_recordable_ && has_run_ && gives_results_alone_; }
  /// Runs several steps, which are issued as one. `varies` says by feed whether it has a value
  /// for each step, behind a first axis. Results have one for each. Returns how many steps were
  /// made, which are fewer where one threw, whose error is `error` then.
  std::int64_t run_steps(std::int64_t steps, const Tensor* feeds, const std::vector<bool>& varies,
                         std::vector<Tensor>& results, const RunInfo& info,
                         std::exception_ptr& error);

 private:
  enum class CommandKind : std::uint8_t {
    call,       ///< launches_[index], on the calling thread
    launch,     ///< launches_[index], by the stream
    copy,       ///< step `index`, a copy between devices
    fetch,      ///< step `index` into a result
    backup,     ///< backups_[index]
    run_info,   ///< the RunInfo to device `index`
    record,     ///< events_[index]
    wait,       ///< the stream for events_[index]
    host_wait,  ///< the host for events_[index] of the stream's device, and for errors
    finish,     ///< the host for all that was issued to all devices
  };
  struct Command {
    CommandKind kind;
    std::int32_t index;
    Stream* stream;
  };
  struct FeedPatch {
    std::size_t feed;
    std::size_t address;  ///< into addresses_
  };
  struct StagePatch {
    std::size_t feed, offset, bytes;
  };
  /// The time of a launch or copy by the device's own clock.
  struct TimedWork {
    std::unique_ptr<Event> begin, end;
  };
  struct Backup {
    VariableSlot* slot;
    DeviceBuffer copy;
  };

  /// A feed's place in what is copied to the device before recorded steps.
  struct SteppedFeed {
    std::size_t feed = 0, offset = 0, bytes = 0;
    std::size_t stride = 0;  ///< from step to step; 0 where all have the same
    std::int32_t value = 0;  ///< that stands for it, on the device
  };
  /// A result's place in what is copied to the host after them.
  struct SteppedResult {
    std::int32_t staged = 0;  ///< the value of a single run
    std::size_t offset = 0, bytes = 0, stride = 0;
  };
  struct RecordedSteps {
    std::int64_t steps = 1;
    std::vector<bool> varies;
    std::vector<SteppedFeed> feeds;
    std::vector<SteppedResult> results;
    /// RunInfos, then feeds; results. On the host and on the device; of more than one step.
    DeviceBuffer host_inputs, inputs, host_results, results_on_device;
    std::vector<Launch> launches;
    std::unique_ptr<Recording> recording;  ///< first to go
  };
  class StepRecorder;

  void place_nodes(const SessionOptions& options, const DeviceChoices& choices);
  void predict_memory();
  void find_recordable();
  bool run_recorded(std::vector<Tensor>& results);
  RecordedSteps& recorded_steps(std::int64_t steps, const std::vector<bool>& varies);
  /// What the arena may take so that kernels which could run side by side do: not much of the
  /// device, of what is free only half, and nothing where the user counts bytes.
  ArenaRoom room_on(std::size_t device, const SessionOptions& options) const;
  void provide_early_values();
  void plan_with_kernels(SpecializedGraph& specialized, const SessionOptions& options);
  void make_commands();
  void add_commands(std::int32_t s, std::vector<std::int32_t>& event_of);
  void find_variables();
  void upload_constants();
  /// Fills in every address that does not depend on the run.
  void bake();
  void* address_of(const PlannedValue& value) const;
  Stream& stream(std::size_t device, std::int32_t number = kComputeStream) {
    return *memory_.streams(device)[static_cast<std::size_t>(number)];
  }
  /// Copies what is fed to where devices copy from, by all threads: one would be slower than the
  /// devices' own copies.
  void stage(void* to, const void* from, std::size_t bytes) const;
  std::size_t feed_of(const PlannedValue& value) const;
  std::vector<std::string> changed_before(const Command& end);
  [[noreturn]] void fail_at(const Command* command, const RunError& error);
  /// The node whose work it is; null where it is no node's.
  const Node* node_of(const Command& command) const;
  void execute(const Command& command, std::vector<Tensor>& results);
  void execute_timed(std::vector<Tensor>& results, RunStats& stats, const Command*& current);
  void execute_checked(std::vector<Tensor>& results, const Command*& current);
  CopyKind copy_kind(const PlannedStep& step) const;
  static bool is_timed_copy(const Command& command) {
    return command.kind == CommandKind::copy && !command.stream->device().host_memory();
  }
  void copy_between(const Command& command);
  void fetch_result(const Command& command, std::vector<Tensor>& results);
  void wait_for(const Command& command);
  void finish();
  void check_streams();
  /// Puts back what this run has changed, after an error.
  void recover() noexcept;

  SessionMemory& memory_;
  std::unique_ptr<Graph> graph_;
  PlacementOptions placement_options_;
  Placement placement_;
  Plan plan_;
  std::vector<ArenaRoom> rooms_;           ///< by device
  std::vector<std::size_t> used_devices_;  ///< beside the host
  int threads_ = 1;

  /// Whether the commands up to `finish` are all of one device that records.
  bool is_recordable_ = false;
  bool gives_results_alone_ = false;  ///< and after `finish` there are but fetches of copies
  bool has_run_ = false;
  std::size_t first_after_finish_ = 0;       ///< of the commands
  std::vector<std::int32_t> launched_step_;  ///< by launch, of the plan

  EarlyValues early_;           ///< of recordings of several steps; empty before there is one
  DeviceBuffer early_memory_;   ///< for them, in odd steps and even ones; empty: in the arena
  std::deque<Kernel> kernels_;  ///< for the launches, in their order; addresses are stable
  std::unique_ptr<RecordedSteps> recorded_run_;  ///< of a single step; goes before its kernels
  std::vector<std::unique_ptr<RecordedSteps>> recorded_steps_;
  std::vector<std::shared_ptr<NestedPlan>> nested_;  ///< that kernels run
  std::vector<Launch> launches_;
  std::vector<Command> commands_;
  std::vector<std::unique_ptr<Event>> events_;
  std::vector<Backup> backups_;
  std::vector<DeviceBuffer> uploaded_;
  std::vector<void*> constant_address_;  ///< by value; null for what is no constant
  std::vector<void*> addresses_;         ///< laid out as Plan::step_values
  std::vector<FeedPatch> feed_patches_;
  std::vector<StagePatch> stage_patches_;
  std::vector<TimedWork> timed_;                 ///< as node_times; null on the host
  std::vector<std::unique_ptr<Event>> origins_;  ///< by used device: when a timed run began
  std::vector<Node*> feed_nodes_;                ///< by feed; null where nothing needs it
  std::vector<std::int32_t> result_of_;          ///< by node id: the fetch that it answers, or -1
  std::vector<OutputType> result_types_;
  std::vector<const Node*> read_variables_;  ///< of the user's graph
  std::vector<Variable> required_variables_;
  std::vector<VariableSlot*> updated_variables_;
  std::unique_ptr<NumericsCheck> numerics_;  ///< null unless the session checks them
  bool flushes_denormals_ = false;
  std::size_t new_variable_bytes_ = 0;  ///< that `attach` will add to the session's
  std::size_t constant_bytes_ = 0, result_bytes_ = 0;
  RunInfo info_;
  std::int64_t generation_ = -1;
  std::size_t backups_made_ = 0;
};

}  // namespace gradgraph
