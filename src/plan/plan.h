#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "gradgraph/graph.h"
#include "placement/placement.h"
#include "plan/arena.h"

namespace gradgraph {

/// The size of a node's output whose shape is known. Throws a RunError that names the user's node
/// when it is beyond kMaxValueBytes.
std::size_t bytes_of(const Node& node, int index = 0);

/// Who owns the memory of a value.
enum class Storage : std::uint8_t {
  arena,     ///< the device's arena, at `offset`
  variable,  ///< the session's memory of the variable `node`
  constant,  ///< the value of the constant `node`
  feed,      ///< what the run feeds for the placeholder `node`
  staging,   ///< host memory that devices copy from or to, at `offset`; nothing shares it
};

/// No value: a static input, which the kernel knows already, or one of which it uses the shape.
inline constexpr std::int32_t kNoValue = -1;

/// A piece of memory. Ops that only rename their input share its value. A part of another value
/// lies within it: what is taken apart is read where it is, and what is put together is made
/// there, part by part, without a step of its own.
struct PlannedValue {
  Node* node = nullptr;
  std::int32_t index = 0;  ///< of the node's outputs
  Storage storage = Storage::arena;
  std::int32_t device = 0;
  std::size_t bytes = 0;
  std::size_t offset = 0;
  std::size_t buffer = 0;         ///< of the arena: into Plan::buffers of the device
  std::int32_t whole = kNoValue;  ///< of the arena: the value that this is a part of
};

/// Streams of a device that works beside the host: so copies overlap with computing, and with
/// each other. The host is one queue with all devices that work in its memory.
enum PlannedStream : std::int32_t { kComputeStream, kToDeviceStream, kToHostStream };
inline constexpr int kStreams = 3;

/// Staging begins with so many bytes for what kernels get to know of a run.
inline constexpr std::size_t kStagingHeader = kArenaAlignment;

/// Before a step begins, another must be done: as seen by the step's stream alone, or by the
/// host, which waits, and throws if something failed.
inline constexpr std::int32_t kNoStep = -1;
struct PlannedWait {
  std::int32_t step = kNoStep;  ///< none: nothing to wait for
  bool by_host = false;
};

/// One thing to do. Its values are `Plan::step_values` from `first_value`: inputs, then outputs.
struct PlannedStep {
  Node* node = nullptr;
  std::int32_t device = 0;
  std::int32_t stream = kComputeStream;
  std::int32_t first_value = 0;
  std::int32_t num_inputs = 0;
  std::int32_t num_outputs = 0;
  std::int32_t first_wait = 0;  ///< into Plan::waits
  std::int32_t num_waits = 0;
  bool is_awaited = false;  ///< another stream, or the host, waits for this step
  std::size_t workspace_offset = 0;
  std::size_t workspace_bytes = 0;
};

/// A fed value that the host first brings to where devices copy from.
struct StagedFeed {
  std::int32_t feed = 0, staged = 0;  ///< into Plan::values
};

/// Keeps a copy of a variable before its update, since a step after that may still fail.
struct PlannedBackup {
  Node* variable = nullptr;
  std::int32_t before_step = 0;
};

/// A run, fixed ahead of time: what to do, in which order, in which memory.
struct Plan {
  std::vector<PlannedStep> steps;
  std::vector<PlannedValue> values;
  std::vector<std::int32_t> step_values;
  std::vector<PlannedWait> waits;
  std::vector<std::vector<Lifetime>> buffers;  ///< by device: what its arena holds
  std::vector<std::size_t> arena_bytes;        ///< by device
  std::size_t staging_bytes = 0;               ///< 0 where all devices are the host
  std::vector<StagedFeed> staged_feeds;
  std::vector<PlannedBackup> backups;  ///< in order of their steps
  /// Before this step, the first that hands results of asynchronous work over, the host waits for
  /// all of it, and nowhere before but where a PlannedWait says so. The number of steps where
  /// there is none.
  std::int32_t finish = 0;
  /// Steps that a device's computing stream waits for then, so that the host need not.
  std::vector<std::int32_t> joins;
  std::vector<bool> is_host;  ///< by device, as in PlanOptions

  /// What a step reads, and writes: numbers of values, kNoValue for what is left out.
  std::span<const std::int32_t> inputs_of(const PlannedStep& step) const {
    return {step_values.data() + step.first_value, static_cast<std::size_t>(step.num_inputs)};
  }
  std::span<const std::int32_t> outputs_of(const PlannedStep& step) const {
    return {step_values.data() + step.first_value + step.num_inputs,
            static_cast<std::size_t>(step.num_outputs)};
  }
  /// Both, one behind the other.
  std::span<const std::int32_t> values_of(const PlannedStep& step) const {
    return {step_values.data() + step.first_value,
            static_cast<std::size_t>(step.num_inputs + step.num_outputs)};
  }
  /// The value that another is a part of, or itself; kNoValue of that.
  std::int32_t whole_of(std::int32_t value) const {
    if (value == kNoValue) return kNoValue;
    const std::int32_t whole = values[static_cast<std::size_t>(value)].whole;
    return whole == kNoValue ? value : whole;
  }
};

/// How much an arena may take beyond the least, and altogether where it takes more than that.
struct ArenaRoom {
  std::size_t spare = 0, most = 0;
};

struct PlanOptions {
  std::vector<Node*> fetches;
  /// By device: whether it works in host memory and is done when a call returns.
  std::vector<bool> is_host;
  /// By device: whose streams can wait for each other have the same number. Empty: all have.
  std::vector<int> kinds = {};
  /// Bytes of work memory that the node's kernel needs. Asked once for every step.
  std::function<std::size_t(const Node&)> workspace_bytes;
  /// Whether a run may be stopped after any step, so that all that it updates is backed up.
  bool may_stop = false;
  /// Whether values may be parts of others; otherwise each has memory of its own.
  bool shares_parts = true;
  /// By device: what its arena may take so that no step waits for memory that another uses.
  /// Empty: none more than it must.
  std::vector<ArenaRoom> rooms = {};
};

/// Orders what the fetches need, gives every value memory, and says what waits for what.
///
/// Variables have step semantics: a node reads the value from before an update unless it depends
/// on that update. Updates come as late as they can; where the order cannot give a reader the old
/// value (a swap of two variables), it reads a snapshot. Adds nodes to `graph` for these.
///
/// A run that throws leaves every variable as it was: an update of a device does nothing after an
/// error in its own stream, waits for what may still fail elsewhere, and where something may fail
/// after it the variable is backed up.
/// Throws RunError when two updates of one variable have no order, and for a value, or work
/// memory, larger than any memory.
Plan make_plan(Graph& graph, Placement& placement, const PlanOptions& options);

/// What a step does with memory. Spaces are the devices' arenas by number, then staging, then one
/// for each value that is a variable.
struct Access {
  std::int32_t space = 0;
  std::size_t begin = 0, end = 0;
  bool writes = false;
};
/// Reads come before writes. An update reads and writes its variables; what is written nowhere (a
/// constant, a feed) is left out.
std::vector<Access> accesses_of(const Plan& plan, const PlannedStep& step);

/// Where a step's work is issued: 0 is the host, then kStreams for each device.
inline std::int32_t queue_of(const Plan& plan, const PlannedStep& step) {
  return plan.is_host[static_cast<std::size_t>(step.device)]
             ? 0
             : 1 + step.device * kStreams + step.stream;
}

/// Fills in what waits for what, joins and backups: no wait that another one implies, none of the
/// host but those that PlannedWait and Plan::finish speak of.
void plan_waits(Plan& plan, const PlanOptions& options);

/// Checks that no two live values of a plan overlap, that of every two steps which touch the same
/// memory, one to write, the second begins after the first has ended, that all is done at the
/// end, and that no update can precede an error unseen. Throws RunError naming both nodes.
void verify(const Plan& plan);

}  // namespace gradgraph
