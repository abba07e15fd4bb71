#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "session/compiled_plan.h"
#include "session/device_costs.h"
#include "session/memory.h"

namespace gradgraph {

class SessionState;

/// What the machine refuses inside, memory or a device's work, is an Error of the user's line.
/// (What knows which node it was for has its own message.)
template <class Body>
decltype(auto) at_line(SourceLocation where, const Body& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    throw RunError("the host has no memory left for this run", where);
  } catch (const RunError& error) {
    if (error.where().known()) throw;
    throw RunError(error.what(), where);
  }
}

/// A tensor for what is fetched. Throws a RunError that names it where there is no memory.
Tensor result_for(const Output& fetch, const OutputType& type);

/// A (feeds, fetches) pair with the plans made for it, one for each set of feed shapes.
struct PreparedRun {
  /// `graph` is the session's, or one that stands for a part of it.
  PreparedRun(SessionState& session, const Graph& graph, std::vector<Output> feeds,
              std::vector<Output> fetches, SourceLocation where);

  /// Runs with the plan for these feeds, made now if there is none; counts as a step of the
  /// session unless it initialises variables.
  const std::vector<Tensor>& run(const Tensor* values, std::size_t count);
  /// Callable::run_steps.
  const std::vector<Tensor>& run_steps(std::int64_t steps, const Tensor* values,
                                       std::size_t count);
  CompiledPlan& plan_for(const Tensor* values, std::size_t count);
  /// Makes the next run write fetch i into `result`.
  void put_result(std::size_t i, Tensor result) { results_[i] = std::move(result); }
  MemoryUse memory_use(const CompiledPlan& plan) const;
  /// What a plan for these feeds must know of them. Throws RunError for unfit ones.
  std::vector<FedValue> fed_values(const Tensor* values, std::size_t count) const;

  SessionState& session;
  const Graph& graph;
  const std::vector<Output> feeds;
  const std::vector<Output> fetches;
  SourceLocation where;
  bool initializes = false;
  /// How many rewrites the passes may do in a plan.
  std::int64_t rewrite_budget = RewriteLog::kUnlimited;

 private:
  struct Entry {
    std::vector<OutputType> types;
    std::vector<Tensor> static_values;  ///< empty tensors for feeds that no shape depends on
    std::unique_ptr<CompiledPlan> plan;
    std::int64_t last_used = 0;
  };

  void check_count(std::size_t count) const;
  void check_feed(std::size_t i, const Tensor& value) const;
  std::string advice_on_feed(const Output& feed, const Tensor& value) const;
  void check_memory(const CompiledPlan& plan) const;
  bool matches(const Entry& entry, const Tensor* values) const;
  void allocate_results(const CompiledPlan& plan);
  void initialize_for(const CompiledPlan& plan);
  void run_plan(CompiledPlan& plan, const Tensor* values,
                std::chrono::steady_clock::time_point start);
  /// Tells the error what was run.
  void describe_in(NumericsError& error, const Tensor* values) const;
  /// Finds out which feeds have a value for each step, and makes the first step's.
  void take_slices(std::int64_t steps, const Tensor* values, std::size_t count);
  void fill_slices(std::int64_t step, const Tensor* values);
  /// Whether feeds and results of all steps at once are within the session's limits.
  bool has_room_for(std::int64_t steps, const CompiledPlan& plan) const;
  void allocate_stacked(std::int64_t steps, const CompiledPlan& plan);
  void keep_results(std::int64_t steps, std::int64_t step, const std::vector<Tensor>& results);

  std::vector<bool> varies_;     ///< of run_steps: by feed
  std::vector<Tensor> slices_;   ///< what a step is fed
  std::vector<Tensor> stacked_;  ///< results of all steps
  std::vector<bool> is_static_;
  std::vector<Entry> entries_;
  std::vector<Tensor> results_;
  std::int64_t uses_ = 0;
};

/// What a Session holds.
class SessionState {
 public:
  SessionState(Graph& graph, SessionOptions options, SourceLocation where = {});

  /// The prepared run for these feeds and fetches, kept for the next time.
  PreparedRun& cached(const Feeds& feeds, const std::vector<Output>& fetches,
                      SourceLocation where);
  /// Gives those of `variables` that have no value their initial one, and others that these need;
  /// throws RunError as find_initial_values does.
  void initialize(const std::vector<Node*>& variables, SourceLocation where);
  Node& require_variable(const Output& variable, SourceLocation where) const;

  Graph& graph;
  SessionOptions options;
  SessionMemory memory;
  DeviceChoices choices;                   ///< where the session's device is "auto"
  std::vector<std::size_t> device_limits;  ///< bytes by device; 0 means no limit
  std::int64_t step = 0;
  RunStats stats;

 private:
  void note_growth();

  std::vector<std::unique_ptr<PreparedRun>> cache_;  ///< most recently used last
  int nodes_seen_ = 0;  ///< of the graph, by the last run that was new
  int growths_ = 0;     ///< new runs that found the graph larger than the one before
};

}  // namespace gradgraph
