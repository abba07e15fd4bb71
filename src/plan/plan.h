#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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
};

/// A piece of memory. Ops that only rename their input share its value.
struct PlannedValue {
  Node* node = nullptr;
  std::int32_t index = 0;  ///< of the node's outputs
  Storage storage = Storage::arena;
  std::int32_t device = 0;
  std::size_t bytes = 0;
  std::size_t offset = 0;
  std::size_t buffer = 0;  ///< of the arena: into Plan::buffers of the device
};

/// No value: a static input, which the kernel knows already.
inline constexpr std::int32_t kNoValue = -1;

/// One thing to do. Its values are `Plan::step_values` from `first_value`: inputs, then outputs.
struct PlannedStep {
  Node* node = nullptr;
  std::int32_t device = 0;
  std::int32_t stream = 0;
  std::int32_t first_value = 0;
  std::int32_t num_inputs = 0;
  std::int32_t num_outputs = 0;
  std::int32_t first_wait = 0;  ///< into Plan::waits: steps of other streams to wait for
  std::int32_t num_waits = 0;
  bool is_awaited = false;  ///< another stream, or the host, waits for this step
  std::size_t workspace_offset = 0;
  std::size_t workspace_bytes = 0;
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
  std::vector<std::int32_t> waits;
  std::vector<std::vector<Lifetime>> buffers;  ///< by device: what its arena holds
  std::vector<std::size_t> arena_bytes;        ///< by device
  std::vector<PlannedBackup> backups;          ///< in order of their steps
  /// The first step that changes a variable; before it, errors of asynchronous work must have
  /// been seen. The number of steps where nothing is changed.
  std::int32_t first_update = 0;
};

struct PlanOptions {
  std::vector<Node*> fetches;
  /// By device: whether it works in host memory and is done when a call returns.
  std::vector<bool> is_host;
  /// Bytes of work memory that the node's kernel needs. Asked once for every step.
  std::function<std::size_t(const Node&)> workspace_bytes;
};

/// Orders what the fetches need, gives every value memory, and says what waits for what.
///
/// Variables have step semantics: a node reads the value from before an update unless it depends
/// on that update. Updates come as late as they can; where the order cannot give a reader the old
/// value (a swap of two variables), it reads a snapshot. Adds nodes to `graph` for these.
/// Throws RunError when two updates of one variable have no order, and for a value, or work
/// memory, larger than any memory.
Plan make_plan(Graph& graph, Placement& placement, const PlanOptions& options);

/// Checks that no two live values of a plan overlap; throws RunError naming both otherwise.
void verify(const Plan& plan);

}  // namespace gradgraph
