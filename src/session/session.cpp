#include "gradgraph/session.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core/text.h"
#include "core/threads.h"
#include "gradgraph/op.h"
#include "session/initial_values.h"
#include "session/memory_report.h"
#include "session/session_state.h"

namespace gradgraph {
namespace {

/// The device's full name: "cuda" stands for "cuda:0", "auto" for `best`.
std::string resolve_device(const std::string& requested, const std::vector<std::string>& names,
                           const std::string& best, SourceLocation where) {
  const auto exists = [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (requested == "auto") return best;
  if (exists(requested)) return requested;
  if (exists(requested + ":0")) return requested + ":0";
  const std::string absence =
      device_registry().absence(std::string_view(requested).substr(0, requested.find(':')));
  throw PlacementError(fmt::format("there is no device '{}'; this machine has: {}{}{}", requested,
                                   fmt::join(names, ", "), absence.empty() ? "" : "; ", absence),
                       where);
}

void require_passes(const std::vector<std::string>& names, SourceLocation where) {
  std::vector<std::string_view> known;
  for (const Pass& pass : pass_list()) known.push_back(pass.name);
  for (const std::string& name : names)
    if (std::ranges::find(known, name) == known.end())
      throw RunError(fmt::format("disabled_passes: there is no pass '{}', only {}", name,
                                 fmt::join(known, ", ")),
                     where);
}

}  // namespace

std::vector<std::string> available_devices() {
  std::vector<std::string> names = device_registry().names();
  std::stable_partition(names.begin(), names.end(), [](const auto& n) { return n == "cpu"; });
  return names;
}

std::vector<DeviceDescription> describe_devices() {
  std::vector<DeviceDescription> descriptions;
  for (const std::string& name : available_devices()) {
    const std::shared_ptr<Device> device = device_registry().open(name);
    const Device::Memory memory = device->host_memory() ? host_memory() : device->memory();
    descriptions.push_back({name, device->description(), memory.total, memory.free});
  }
  return descriptions;
}

SessionState::SessionState(Graph& graph_, SessionOptions options_, SourceLocation where)
    : graph(graph_), options(std::move(options_)), memory(available_devices()) {
  memory.device(0);  // the CPU, which is always used: if it cannot be opened, it is said here
  if (options.threads < 0 || options.threads > kMaxThreads)
    throw RunError(fmt::format("{} is no number of threads: 0 (all cores) to {}", options.threads,
                               kMaxThreads),
                   where);
  require_passes(options.disabled_passes, where);
  if (options.check_numerics && (options.node_times || options.check_passes))
    throw RunError(
        fmt::format("check_numerics runs nodes as no other run does, so there is nothing "
                    "for {} to look at: take one of them",
                    options.node_times ? "node_times" : "check_passes"),
        where);
  const std::vector<std::string>& names = memory.device_names();
  if (options.device == "auto")
    choices = find_device_choices(memory, thread_count(options.threads));
  // Passes make nodes that suit the device beside the host.
  const std::string best =
      names[choices.devices.empty() ? 0 : static_cast<std::size_t>(choices.devices[1])];
  options.device = resolve_device(options.device, names, best, where);
  device_limits.resize(memory.device_names().size(), 0);
  for (const auto& [name, bytes] : options.memory_limit.devices()) {
    const auto found = std::ranges::find(names, resolve_device(name, names, best, where));
    device_limits[static_cast<std::size_t>(found - names.begin())] = bytes;
  }
}

PreparedRun& SessionState::cached(const Feeds& feeds, const std::vector<Output>& fetches,
                                  SourceLocation where) {
  std::vector<Output> outputs;
  for (const auto& [output, value] : feeds) outputs.push_back(output);
  const auto found = std::find_if(cache_.begin(), cache_.end(), [&](const auto& prepared) {
    return prepared->feeds == outputs && prepared->fetches == fetches;
  });
  if (found != cache_.end()) {
    std::rotate(found, found + 1, cache_.end());
  } else {
    auto prepared = std::make_unique<PreparedRun>(*this, graph, outputs, fetches, where);
    if (cache_.size() >= static_cast<std::size_t>(std::max(options.plan_cache_size, 1)))
      cache_.erase(cache_.begin());
    cache_.push_back(std::move(prepared));
    note_growth();
  }
  cache_.back()->where = where;
  return *cache_.back();
}

/// Once: a loop that builds its fetches anew makes each step slower than the one before.
void SessionState::note_growth() {
  constexpr int kMany = 1000;
  const int nodes = graph.num_nodes();
  if (nodes_seen_ > 0 && nodes > nodes_seen_ && ++growths_ == kMany)
    fmt::print(stderr,
               "gradgraph: the graph has grown before each of {} runs, to {} nodes: build what a "
               "loop fetches once, before it. Graph::finalize() makes the line that builds more "
               "an error.\n",
               kMany, nodes);
  nodes_seen_ = nodes;
}

Node& SessionState::require_variable(const Output& variable, SourceLocation where) const {
  if (!variable) throw RunError("the variable is empty", where);
  if (&variable.graph() != &graph)
    throw RunError(fmt::format("'{}' is of another graph", variable.name()), where);
  if (variable.node().op().name != "variable")
    throw RunError(
        fmt::format("'{}' is no variable but a {}", variable.name(), variable.node().op().name),
        where);
  return variable.node();
}

void SessionState::initialize(const std::vector<Node*>& variables, SourceLocation where) {
  const auto has_value = [&](const Node& node) {
    const VariableSlot* slot = memory.find_variable(node);
    return slot && slot->initialized;
  };
  const InitialValues initial = find_initial_values(variables, has_value, where);
  if (initial.variables.empty()) return;
  PreparedRun run(*this, *initial.graph, {}, initial.values, where);
  run.initializes = true;
  for (std::size_t i = 0; i < initial.variables.size(); ++i) {
    // What lies in host memory is computed where it stays.
    const Node& variable = *initial.variables[i];
    const DeviceBuffer& buffer = memory.variable(variable).buffer;
    if (buffer.device()->host_memory())
      run.put_result(i, Tensor::wrap(variable.dtype(), variable.shape(), buffer.get(),
                                     std::shared_ptr<void>(buffer.get(), [](void*) {})));
  }
  const std::vector<Tensor>& results = run.run(nullptr, 0);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const Node& variable = *initial.variables[i];
    if (results[i].shape() != variable.shape())
      throw RunError(
          node_message("variable", variable.name(),
                       fmt::format("its initial value is {}{}, not {}{}", results[i].dtype(),
                                   results[i].shape(), variable.dtype(), variable.shape())),
          variable.where());
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    VariableSlot& slot = memory.variable(*initial.variables[i]);
    if (results[i].raw() != slot.buffer.get()) memory.write(slot.buffer, results[i].raw());
    slot.initialized = true;
  }
}

Callable::Callable(std::unique_ptr<PreparedRun> prepared) : prepared_(std::move(prepared)) {}
Callable::Callable() = default;
Callable::~Callable() = default;
Callable::Callable(Callable&&) noexcept = default;
Callable& Callable::operator=(Callable&&) noexcept = default;

const std::vector<Tensor>& Callable::run(const Tensor* feeds, std::size_t count,
                                         SourceLocation where) {
  return at_line(where, [&]() -> const std::vector<Tensor>& {
    prepared_->where = where;
    return prepared_->run(feeds, count);
  });
}

const std::vector<Tensor>& Callable::run_steps(std::int64_t steps, const Tensor* feeds,
                                               std::size_t count, SourceLocation where) {
  return at_line(where, [&]() -> const std::vector<Tensor>& {
    prepared_->where = where;
    return prepared_->run_steps(steps, feeds, count);
  });
}

Session::Session(Graph& graph, SessionOptions options, SourceLocation where)
    : state_(at_line(where, [&] {
        return std::make_unique<SessionState>(graph, std::move(options), where);
      })) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Tensor> Session::run(const Feeds& feeds, const std::vector<Output>& fetches,
                                 SourceLocation where) {
  return at_line(where, [&] {
    std::vector<Tensor> values;
    for (const auto& [output, value] : feeds) values.push_back(value);
    return state_->cached(feeds, fetches, where).run(values.data(), values.size());
  });
}

Tensor Session::run(const Feeds& feeds, Output fetch, SourceLocation where) {
  return run(feeds, std::vector<Output>{fetch}, where).front();
}
Tensor Session::run(Output fetch, SourceLocation where) { return run({}, fetch, where); }

Callable Session::prepare(const std::vector<Output>& feeds, const std::vector<Output>& fetches,
                          SourceLocation where) {
  return at_line(where, [&] {
    return Callable(std::make_unique<PreparedRun>(*state_, state_->graph, feeds, fetches, where));
  });
}

void Session::initialize(SourceLocation where) {
  at_line(where, [&] {
    std::vector<Node*> variables;
    for (Node& node : state_->graph.nodes())
      if (node.op().name == "variable" && state_->graph.initial_value(node))
        variables.push_back(&node);
    state_->initialize(variables, where);
  });
}

bool Session::is_initialized(Output variable, SourceLocation where) const {
  const VariableSlot* slot =
      state_->memory.find_variable(state_->require_variable(variable, where));
  return slot && slot->initialized;
}

Tensor Session::value(Output variable, SourceLocation where) {
  Tensor copy;
  value(variable, copy, where);
  return copy;
}

void Session::value(Output variable, Tensor& copy, SourceLocation where) {
  Node& node = state_->require_variable(variable, where);
  at_line(where, [&] {
    state_->initialize({&node}, where);
    if (!copy.unique() || copy.dtype() != node.dtype() || copy.shape() != node.shape())
      copy = result_for(variable, {node.dtype(), node.shape()});
    state_->memory.read(state_->memory.variable(node).buffer, copy.raw());
  });
}

void Session::set_value(Output variable, const Tensor& value, SourceLocation where) {
  Node& node = state_->require_variable(variable, where);
  if (!value || value.dtype() != node.dtype() || value.shape() != node.shape())
    throw RunError(
        fmt::format(
            "variable '{}' takes {}{}, not {}", node.name(), node.dtype(), node.shape(),
            value ? fmt::format("{}{}", value.dtype(), value.shape()) : "an empty tensor"),
        where);
  at_line(where, [&] {
    VariableSlot& slot = state_->memory.variable(node);
    state_->memory.write(slot.buffer, value.raw());
    slot.initialized = true;
  });
}

std::int64_t Session::step() const { return state_->step; }
void Session::set_step(std::int64_t step) { state_->step = step; }
std::uint64_t Session::seed() const { return state_->options.seed; }
const SessionOptions& Session::options() const { return state_->options; }
const RunStats& Session::last_run() const { return state_->stats; }

namespace {
PreparedRun& prepared(SessionState& state, const Feeds& feeds, const std::vector<Output>& fetches,
                      std::vector<Tensor>& values, SourceLocation where) {
  for (const auto& [output, value] : feeds) values.push_back(value);
  return state.cached(feeds, fetches, where);
}
/// `use(plan)` of the plan for these feeds.
template <class Use>
auto with_plan(const Inside<SessionState>& state, const Feeds& feeds,
               const std::vector<Output>& fetches, SourceLocation where, const Use& use) {
  return at_line(where, [&] {
    std::vector<Tensor> values;
    PreparedRun& run = prepared(*state, feeds, fetches, values, where);
    return use(run.plan_for(values.data(), values.size()));
  });
}
}  // namespace

MemoryUse Session::predict_memory(const Feeds& feeds, const std::vector<Output>& fetches,
                                  SourceLocation where) {
  return with_plan(state_, feeds, fetches, where,
                   [](const CompiledPlan& plan) { return plan.memory_use(); });
}

std::string Session::explain_memory(const Feeds& feeds, const std::vector<Output>& fetches,
                                    SourceLocation where) {
  return with_plan(state_, feeds, fetches, where, [this](const CompiledPlan& plan) {
    return describe(plan.memory_use(), plan.plan()) +
           describe_devices(plan.bytes_by_device(), state_->memory.device_names());
  });
}

std::string Session::explain_placement(const Feeds& feeds, const std::vector<Output>& fetches,
                                       SourceLocation where) {
  return with_plan(state_, feeds, fetches, where, [this](const CompiledPlan& plan) {
    return plan.explain_placement() + state_->choices.words;
  });
}

std::string Session::explain_passes(const Feeds& feeds, const std::vector<Output>& fetches,
                                    SourceLocation where) {
  return at_line(where, [&] {
    std::vector<Tensor> values;
    const std::vector<FedValue> fed =
        prepared(*state_, feeds, fetches, values, where).fed_values(values.data(), values.size());
    RewriteLog log(/*writes_lines=*/true);
    rewritten_copy(state_->graph, fed, fetches, state_->options, log);
    return fmt::format("{}", fmt::join(log.lines(), "\n"));
  });
}

}  // namespace gradgraph
