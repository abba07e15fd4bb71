#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/text.h"
#include "session/checking/check_passes.h"
#include "session/memory_report.h"
#include "session/session_state.h"

namespace gradgraph {
namespace {

/// Initial values are drawn at a step of their own: they depend on seed and names alone.
constexpr std::int64_t kInitialStep = -1;

using Clock = std::chrono::steady_clock;

bool same_value(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

std::vector<std::string> names_of(const std::vector<Output>& outputs) {
  std::vector<std::string> names;
  for (const Output& output : outputs) names.push_back(fmt::format("'{}'", output.name()));
  return names;
}

}  // namespace

Tensor result_for(const Output& fetch, const OutputType& type) {
  try {
    return {type.dtype, type.shape, SourceLocation{}};
  } catch (const RunError& error) {  // no memory; it knows the shape alone
    throw RunError(node_message(fetch.node().op().name, fetch.name(), error.what()),
                   fetch.node().where());
  }
}

PreparedRun::PreparedRun(SessionState& session_, const Graph& graph_, std::vector<Output> feeds_,
                         std::vector<Output> fetches_, SourceLocation where_)
    : session(session_),
      graph(graph_),
      feeds(std::move(feeds_)),
      fetches(std::move(fetches_)),
      where(where_),
      results_(fetches.size()) {
  for (const Output& fetch : fetches) {
    if (!fetch)
      throw RunError(
          fmt::format("fetch {} of {} is empty", &fetch - fetches.data(), fetches.size()), where);
    if (&fetch.graph() != &graph)
      throw RunError(fmt::format("fetch '{}' is of another graph", fetch.name()), where);
    if (fetch.node().region() != 0)
      throw RunError(fmt::format("fetch '{}' belongs to a branch, which may not run: let the "
                                 "branch return it",
                                 fetch.name()),
                     where);
  }
  for (std::size_t i = 0; i < feeds.size(); ++i) {
    if (!feeds[i]) throw RunError(fmt::format("feed {} of {} is empty", i, feeds.size()), where);
    if (&feeds[i].graph() != &graph)
      throw RunError(fmt::format("feed '{}' is of another graph", feeds[i].name()), where);
    if (feeds[i].index() >= feeds[i].node().num_outputs())
      throw RunError(fmt::format("'{}' has no value to feed", feeds[i].name()), where);
    if (feeds[i].node().region() != 0)
      throw RunError(fmt::format("feed '{}' belongs to a branch: feed what the branch reads",
                                 feeds[i].name()),
                     where);
    if (std::count(feeds.begin(), feeds.end(), feeds[i]) > 1)
      throw RunError(fmt::format("'{}' is fed twice", feeds[i].name()), where);
  }
  is_static_ = find_static_feeds(feeds, fetches);
}

void PreparedRun::check_feed(std::size_t i, const Tensor& value) const {
  const Output& feed = feeds[i];
  if (value.empty_handle())
    throw RunError(fmt::format("the value fed for '{}' is empty", feed.name()), where);
  if (value.dtype() != feed.dtype() || !value.shape().compatible_with(feed.shape()))
    throw RunError(
        fmt::format("'{}' takes {}{}, not {}{}{}", feed.name(), feed.dtype(), feed.shape(),
                    value.dtype(), value.shape(), advice_on_feed(feed, value)),
        where);
}

/// Of what does not fit `feed`.
std::string PreparedRun::advice_on_feed(const Output& feed, const Tensor& value) const {
  if (value.shape().compatible_with(feed.shape()))
    return fmt::format(": `.cast(gg::{})` converts a Tensor", cpp_name(feed.dtype()));
  const auto other = std::ranges::find_if(feeds, [&](const Output& candidate) {
    return value.dtype() == candidate.dtype() && value.shape().compatible_with(candidate.shape());
  });
  return other == feeds.end()
             ? ""
             : fmt::format(", which would do for '{}': are the two swapped?", other->name());
}

bool PreparedRun::matches(const Entry& entry, const Tensor* values) const {
  for (std::size_t i = 0; i < feeds.size(); ++i) {
    if (values[i].dtype() != entry.types[i].dtype || values[i].shape() != entry.types[i].shape ||
        values[i].empty_handle())
      return false;
    if (entry.static_values[i] && !same_value(entry.static_values[i], values[i])) return false;
  }
  return true;
}

std::vector<FedValue> PreparedRun::fed_values(const Tensor* values, std::size_t count) const {
  check_count(count);
  std::vector<FedValue> fed;
  for (std::size_t i = 0; i < count; ++i) {
    check_feed(i, values[i]);
    fed.push_back({feeds[i], values[i].dtype(), values[i].shape(),
                   is_static_[i] ? values[i].clone(where) : Tensor()});
  }
  return fed;
}

void PreparedRun::check_count(std::size_t count) const {
  if (count != feeds.size())
    throw RunError(
        fmt::format("takes {} feed{}{}, not {}", feeds.size(), feeds.size() == 1 ? "" : "s",
                    feeds.empty() ? "" : fmt::format(" ({})", fmt::join(names_of(feeds), ", ")),
                    count),
        where);
}

CompiledPlan& PreparedRun::plan_for(const Tensor* values, std::size_t count) {
  check_count(count);
  ++uses_;
  for (Entry& entry : entries_)
    if (matches(entry, values)) {
      entry.last_used = uses_;
      session.stats.plan_was_cached = true;
      return *entry.plan;
    }

  if (session.options.check_passes) check_passes(*this, values, count);
  Entry entry;
  const std::vector<FedValue> fed = fed_values(values, count);
  for (const FedValue& feed : fed) {
    entry.types.push_back({feed.dtype, feed.shape});
    entry.static_values.push_back(feed.value);
  }
  try {
    entry.plan =
        std::make_unique<CompiledPlan>(graph, fed, fetches, session.options, session.choices,
                                       session.memory, RewriteLog(false, rewrite_budget));
    check_memory(*entry.plan);
    entry.plan->attach();
  } catch (const BuildError& error) {
    throw RunError(error);
  }
  entry.last_used = uses_;
  if (entries_.size() >= static_cast<std::size_t>(std::max(session.options.plan_cache_size, 1)))
    entries_.erase(std::min_element(
        entries_.begin(), entries_.end(),
        [](const Entry& a, const Entry& b) { return a.last_used < b.last_used; }));
  session.stats.plan_was_cached = false;
  return *entries_.emplace_back(std::move(entry)).plan;
}

MemoryUse PreparedRun::memory_use(const CompiledPlan& plan) const {
  MemoryUse use = plan.memory_use();
  if (initializes) use.results = 0;  // they are the variables themselves
  return use;
}

void PreparedRun::check_memory(const CompiledPlan& plan) const {
  const std::size_t limit = session.options.memory_limit.total();
  const MemoryUse use = memory_use(plan);
  if (limit > 0 && use.total() > limit)
    throw RunError(fmt::format("this run needs more memory than the limit of {}: {}\nin the run",
                               readable_bytes(limit), describe(use, plan.plan())),
                   where);
  std::vector<std::size_t> bytes = plan.bytes_by_device();
  if (initializes) bytes[0] -= plan.memory_use().results;
  for (std::size_t d = 0; d < bytes.size(); ++d) {
    if (bytes[d] == 0) continue;
    const auto refuse = [&](const std::string& why) {
      throw RunError(
          fmt::format("this run needs {} on '{}', {}: {}\nin the run", readable_bytes(bytes[d]),
                      session.memory.device_names()[d], why, describe(use, plan.plan())),
          where);
    };
    if (const std::size_t most = session.device_limits[d]; most > 0 && bytes[d] > most)
      refuse(fmt::format("where the limit is {}", readable_bytes(most)));
    // A device that says what it has is not asked for more.
    const std::size_t total = session.memory.device(d)->memory().total;
    if (total > 0 && bytes[d] > total) refuse(fmt::format("which has {}", readable_bytes(total)));
  }
}

void PreparedRun::allocate_results(const CompiledPlan& plan) {
  for (std::size_t i = 0; i < fetches.size(); ++i) {
    Tensor& result = results_[i];
    if (fetches[i].node().num_outputs() == 0) continue;
    const OutputType& type = plan.result_types()[i];
    // A result that the caller still holds stays his.
    if (!result || !result.unique() || result.dtype() != type.dtype ||
        result.shape() != type.shape)
      result = result_for(fetches[i], type);
  }
}

void PreparedRun::initialize_for(const CompiledPlan& plan) {
  const auto& required = plan.required_variables();
  if (std::all_of(required.begin(), required.end(),
                  [](const auto& variable) { return variable.slot->initialized; }))
    return;
  std::vector<Node*> variables;
  for (const auto& variable : required) variables.push_back(variable.node);
  session.initialize(variables, where);
}

const std::vector<Tensor>& PreparedRun::run(const Tensor* values, std::size_t count) {
  const auto start = Clock::now();
  CompiledPlan& plan = plan_for(values, count);
  try {
    run_plan(plan, values, start);
  } catch (NumericsError& error) {
    if (!initializes) describe_in(error, values);
    throw;
  }
  return results_;
}

void PreparedRun::describe_in(NumericsError& error, const Tensor* values) const {
  auto run = std::make_shared<NumericsError::StoppedRun>();
  run->step = session.step;
  for (std::size_t i = 0; i < feeds.size(); ++i)
    run->feeds.emplace_back(feeds[i].name(), values[i].clone(where));
  for (const Output& fetch : fetches) run->fetches.push_back(fetch.name());
  error.run = std::move(run);
}

void PreparedRun::run_plan(CompiledPlan& plan, const Tensor* values, Clock::time_point start) {
  initialize_for(plan);
  allocate_results(plan);
  RunStats& stats = session.stats;
  stats.nodes.clear();
  if (session.options.node_times) stats.nodes = plan.node_times();
  stats.start = start;
  stats.feed_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  plan.run(values, results_,
           {.seed = session.options.seed, .step = initializes ? kInitialStep : session.step},
           stats);
  stats.step = session.step;
  stats.nodes_run = plan.plan().steps.size();
  stats.memory = memory_use(plan);
  if (!initializes) ++session.step;
  stats.total_seconds = std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace gradgraph
