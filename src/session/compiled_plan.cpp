#include "session/compiled_plan.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <set>

#include "core/checked.h"
#include "core/text.h"
#include "device/float_mode.h"
#include "graph/slot.h"
#include "passes/pass_list.h"
#include "plan/order.h"
#include "session/evaluate.h"
#include "session/memory_report.h"

namespace gradgraph {
namespace {

std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

/// The user's node; the origin is const since the session's copy never changes it.
Node& user_node(const Node& copy) {
  return const_cast<Node&>(copy.origin() ? *copy.origin() : copy);
}

bool has_kernel(const Node& node, std::string_view kind) {
  const Traits& traits = node.op().traits;
  return traits.no_kernel || traits.moves_value ||
         kernel_registry().has(node.op().name, kind, kernel_dtype(node));
}

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

SpecializedGraph rewritten_copy(const Graph& graph, const std::vector<FedValue>& feeds,
                                const std::vector<Output>& fetches, const SessionOptions& options,
                                RewriteLog& log) {
  const Evaluator evaluate = host_evaluator();
  SpecializedGraph copy = specialize(graph, feeds, fetches, evaluate);
  if (verifies_stages) verify(*copy.graph);
  const auto has_kernel_of = [&](const Node& node, std::string_view op) {
    const std::string_view device = node.device().empty() ? options.device : node.device();
    return kernel_registry().has(op, kind_of(device), kernel_dtype(node));
  };
  const auto fuses = [&](const Node& node) {
    return can_fuse(node) && has_kernel_of(node, "fused");
  };
  run_passes(*copy.graph,
             {.fetches = copy.fetches,
              .exact = options.exact_rewrites,
              .can_fuse = fuses,
              .has_kernel = has_kernel_of,
              .evaluate = evaluate},
             options.disabled_passes, log);
  if (log.count() > 0) prune(copy);
  return copy;
}

CompiledPlan::CompiledPlan(const Graph& graph, const std::vector<FedValue>& feeds,
                           const std::vector<Output>& fetches, const SessionOptions& options,
                           SessionMemory& memory, RewriteLog log)
    : memory_(memory) {
  SpecializedGraph specialized = rewritten_copy(graph, feeds, fetches, options, log);
  graph_ = std::move(specialized.graph);
  feed_nodes_ = std::move(specialized.feeds);
  read_variables_ = std::move(specialized.read_variables);

  const auto& names = memory.device_names();
  placement_options_ = {
      .devices = names, .soft = options.soft_placement, .has_kernel = has_kernel};
  placement_options_.default_device =
      static_cast<int>(std::find(names.begin(), names.end(), options.device) - names.begin());
  if (verifies_stages) verify(*graph_);
  placement_ = place(*graph_, placement_options_);
  if (verifies_stages) verify(*graph_, placement_, placement_options_);

  plan_with_kernels(specialized.fetches, options);
  flushes_denormals_ = options.flush_denormals;
  if (verifies_stages) {
    verify(*graph_);
    verify(plan_);
  }

  result_of_.assign(graph_->nodes().size(), -1);
  for (std::size_t i = 0; i < specialized.fetches.size(); ++i) {
    const Node& fetch = *specialized.fetches[i];
    const bool has_value = fetch.num_inputs() > 0 && fetch.op().traits.moves_value;
    result_types_.push_back(has_value ? OutputType{fetch.input(0).dtype(), fetch.input(0).shape()}
                                      : OutputType{});
    if (!has_value) continue;
    result_of_[slot(fetch)] = static_cast<std::int32_t>(i);
    result_bytes_ += bytes_of(fetch.input(0).node(), fetch.input(0).index());
    if (result_bytes_ > kMaxRunBytes)
      throw RunError(node_message(user_node(fetch).op().name, user_node(fetch).name(),
                                  "the results of this run are larger than any memory"),
                     fetch.where());
  }
  predict_memory();
}

CompiledPlan::~CompiledPlan() {
  for (const Backup& backup : backups_) memory_.forget_backup(backup.copy.bytes());
}

void CompiledPlan::predict_memory() {
  for (const PlannedBackup& backup : plan_.backups)
    new_variable_bytes_ += bytes_of(user_node(*backup.variable));
  std::set<const Node*> variables(read_variables_.begin(), read_variables_.end());
  std::set<const void*> constants;
  for (const PlannedValue& value : plan_.values) {
    if (value.storage == Storage::variable) variables.insert(&user_node(*value.node));
    if (value.storage == Storage::constant &&
        constants.insert(value.node->attributes().get<Tensor>("value").raw()).second)
      constant_bytes_ += value.bytes;
  }
  for (const Node* variable : variables)
    if (!memory_.find_variable(*variable)) new_variable_bytes_ += bytes_of(*variable);
}

MemoryUse CompiledPlan::memory_use() const {
  MemoryUse use{.variables = memory_.variable_bytes() + new_variable_bytes_,
                .constants = constant_bytes_,
                .results = result_bytes_};
  for (std::size_t d = 0; d < plan_.arena_bytes.size(); ++d)
    use.arena += std::max(plan_.arena_bytes[d], memory_.arena_bytes(d));
  return use;
}

void CompiledPlan::attach() {
  find_variables();
  upload_constants();
  make_commands();
  new_variable_bytes_ = 0;
}

void CompiledPlan::plan_with_kernels(const std::vector<Node*>& fetches,
                                     const SessionOptions& session_options) {
  const int threads = thread_count(session_options.threads);
  const std::set<std::int32_t> used(placement_.device.begin(), placement_.device.end());
  PlanOptions options{.fetches = fetches, .is_host = {}, .workspace_bytes = {}};
  options.is_host.assign(memory_.device_names().size(), true);
  for (const std::int32_t device : used) {
    used_devices_.push_back(at(device));
    options.is_host[at(device)] = memory_.device(at(device))->host_memory();
  }
  options.workspace_bytes = [&](const Node& node) {
    const Device& device = *memory_.device(at(placement_.device[slot(node)]));
    return kernels_
        .emplace_back(
            make_kernel(node, device.kind(), threads, session_options.reference_kernels))
        .workspace_bytes;
  };
  plan_ = make_plan(*graph_, placement_, options);
}

void CompiledPlan::find_variables() {
  for (const Node* variable : read_variables_)
    required_variables_.push_back({&user_node(*variable), &memory_.variable(*variable)});
  std::set<const Node*> updated;  // variables of the copy
  for (const PlannedStep& step : plan_.steps)
    for (int i = 0; i < num_updates(*step.node); ++i)
      updated.insert(variable_behind(step.node->input(i)));
  for (const Node* copy : updated)
    updated_variables_.push_back(&memory_.variable(user_node(*copy)));
}

void CompiledPlan::upload_constants() {
  constant_address_.assign(plan_.values.size(), nullptr);
  for (std::size_t i = 0; i < plan_.values.size(); ++i) {
    const PlannedValue& value = plan_.values[i];
    if (value.storage != Storage::constant) continue;
    const Tensor& tensor = value.node->attributes().get<Tensor>("value");
    const auto& device = memory_.device(at(value.device));
    if (device->host_memory()) {
      // Kernels never write to their inputs, so the shared tensor serves as it is.
      constant_address_[i] = const_cast<void*>(tensor.raw());
      continue;
    }
    DeviceBuffer& buffer =
        uploaded_.emplace_back(memory_.allocate_for(*value.node, at(value.device)));
    buffer.write(tensor.raw());
    constant_address_[i] = buffer.get();
  }
}

void CompiledPlan::make_commands() {
  addresses_.assign(plan_.step_values.size(), nullptr);
  std::vector<std::int32_t> event_of(plan_.steps.size(), -1);
  launches_.reserve(kernels_.size());
  for (std::int32_t s = 0; at(s) < plan_.steps.size(); ++s) add_commands(s, event_of);
  for (const std::size_t device : used_devices_)
    if (!memory_.device(device)->host_memory())
      commands_.push_back({CommandKind::synchronize, 0, 0, memory_.device(device).get()});
}

void CompiledPlan::add_commands(std::int32_t s, std::vector<std::int32_t>& event_of) {
  const PlannedStep& step = plan_.steps[at(s)];
  Device& device = *memory_.device(at(step.device));
  if (s == plan_.first_update)
    for (const std::size_t other : used_devices_)
      if (!memory_.device(other)->host_memory())
        commands_.push_back({CommandKind::synchronize, 0, 0, memory_.device(other).get()});
  while (backups_.size() < plan_.backups.size() &&
         plan_.backups[backups_.size()].before_step == s) {
    VariableSlot& variable =
        memory_.variable(user_node(*plan_.backups[backups_.size()].variable));
    commands_.push_back(
        {CommandKind::backup, 0, static_cast<std::int32_t>(backups_.size()), &device});
    backups_.push_back({&variable, memory_.allocate_for(
                                       user_node(*plan_.backups[backups_.size()].variable), 0)});
    memory_.count_backup(variable.buffer.bytes());
  }
  for (std::int32_t i = 0; i < step.num_waits; ++i) {
    const std::int32_t event = event_of[at(plan_.waits[at(step.first_wait + i)])];
    if (device.host_memory()) {
      Device& other =
          *memory_.device(at(plan_.steps[at(plan_.waits[at(step.first_wait + i)])].device));
      commands_.push_back({CommandKind::host_wait, 0, event, &other});
    } else {
      commands_.push_back({CommandKind::wait, step.stream, event, &device});
    }
  }
  if (step.node->op().traits.moves_value) {
    const auto kind = step.num_outputs > 0 ? CommandKind::copy : CommandKind::fetch;
    commands_.push_back({kind, step.stream, s, &device});
  } else {
    commands_.push_back({device.calls_kernels() ? CommandKind::call : CommandKind::launch,
                         step.stream, static_cast<std::int32_t>(launches_.size()), &device});
    void** values = addresses_.data() + step.first_value;
    launches_.push_back({&kernels_[launches_.size()],
                         {{values, at(step.num_inputs)},
                          {values + step.num_inputs, at(step.num_outputs)},
                          nullptr,
                          &info_},
                         step.node});
  }
  if (step.is_awaited) {
    event_of[at(s)] = static_cast<std::int32_t>(events_.size());
    events_.push_back(device.make_event());
    commands_.push_back({CommandKind::record, step.stream, event_of[at(s)], &device});
  }
}

void* CompiledPlan::address_of(const PlannedValue& value) const {
  const auto index = static_cast<std::size_t>(&value - plan_.values.data());
  switch (value.storage) {
    case Storage::arena:
      return static_cast<std::byte*>(memory_.arena(at(value.device))) + value.offset;
    case Storage::variable: return memory_.variable(user_node(*value.node)).buffer.get();
    case Storage::constant: return constant_address_[index];
    case Storage::feed: return nullptr;
  }
  __builtin_unreachable();
}

void CompiledPlan::bake() {
  for (std::size_t d = 0; d < plan_.arena_bytes.size(); ++d) {
    try {
      memory_.reserve_arena(d, plan_.arena_bytes[d]);
    } catch (const std::bad_alloc&) {
      fail_without_arena(memory_.device_names()[d], memory_use(), plan_,
                         static_cast<std::int32_t>(d));
    }
  }
  for (const PlannedValue& value : plan_.values)
    if (value.storage == Storage::variable)
      memory_.place_variable(user_node(*value.node), at(value.device));

  feed_patches_.clear();
  for (std::size_t i = 0; i < addresses_.size(); ++i) {
    const std::int32_t index = plan_.step_values[i];
    if (index == kNoValue) continue;
    const PlannedValue& value = plan_.values[at(index)];
    addresses_[i] = address_of(value);
    if (value.storage != Storage::feed) continue;
    const auto feed = std::find(feed_nodes_.begin(), feed_nodes_.end(), value.node);
    feed_patches_.push_back({static_cast<std::size_t>(feed - feed_nodes_.begin()), i});
  }
  std::size_t launch = 0;
  for (const PlannedStep& step : plan_.steps)
    if (!step.node->op().traits.moves_value)
      launches_[launch++].args.workspace =
          static_cast<std::byte*>(memory_.arena(at(step.device))) + step.workspace_offset;
  generation_ = memory_.generation();
}

void CompiledPlan::run(const Tensor* feeds, std::vector<Tensor>& results, const RunInfo& info,
                       RunStats& stats) {
  if (generation_ != memory_.generation()) bake();
  for (const FeedPatch& patch : feed_patches_)
    addresses_[patch.address] = const_cast<void*>(feeds[patch.feed].raw());
  info_ = info;
  backups_made_ = 0;
  const FloatMode mode = float_mode();
  const bool flushes = flushes_denormals_ && !updated_variables_.empty();
  const FloatModeScope scope(flushes ? flushing_denormals(mode) : mode);
  const Command* current = nullptr;
  try {
    if (stats.nodes.empty()) {
      for (const Command& command : commands_) execute(*(current = &command), results);
    } else {
      std::size_t timed = 0;
      for (const Command& command : commands_) {
        const auto start = Clock::now();
        execute(*(current = &command), results);
        if (command.kind != CommandKind::call && command.kind != CommandKind::launch) continue;
        NodeTime& time = stats.nodes[timed++];
        time.seconds = seconds_since(start);
        time.start = std::chrono::duration<double>(start - stats.start).count();
      }
    }
  } catch (const KernelError& error) {  // of a call: launches tell themselves
    recover();
    refuse(launches_[at(current->index)], error);
  } catch (...) {
    recover();
    throw;
  }
  for (VariableSlot* variable : updated_variables_) variable->initialized = true;
}

void CompiledPlan::execute(const Command& command, std::vector<Tensor>& results) {
  switch (command.kind) {
    case CommandKind::call: {
      const Launch& launch = launches_[at(command.index)];
      launch.kernel->run(launch.args);
      break;
    }
    case CommandKind::launch:
      command.device->launch(command.stream, launches_[at(command.index)]);
      break;
    case CommandKind::copy: copy_between(command); break;
    case CommandKind::fetch: fetch_result(command, results); break;
    case CommandKind::backup: {
      Backup& backup = backups_[at(command.index)];
      backup.slot->buffer.read(backup.copy.get());
      backups_made_ = at(command.index) + 1;
      break;
    }
    case CommandKind::record:
      command.device->record(command.stream, *events_[at(command.index)]);
      break;
    case CommandKind::wait:
      command.device->wait(command.stream, *events_[at(command.index)]);
      break;
    case CommandKind::host_wait: command.device->synchronize(*events_[at(command.index)]); break;
    case CommandKind::synchronize: command.device->synchronize(); break;
  }
}

void CompiledPlan::copy_between(const Command& command) {
  const PlannedStep& step = plan_.steps[at(command.index)];
  const PlannedValue& from = plan_.values[at(plan_.step_values[at(step.first_value)])];
  const PlannedValue& to = plan_.values[at(plan_.step_values[at(step.first_value + 1)])];
  CopyKind kind = CopyKind::within;
  if (from.device != to.device)
    kind = to.device == step.device ? CopyKind::to_device : CopyKind::to_host;
  command.device->copy(command.stream, addresses_[at(step.first_value + 1)],
                       addresses_[at(step.first_value)], from.bytes, kind);
}

void CompiledPlan::fetch_result(const Command& command, std::vector<Tensor>& results) {
  const PlannedStep& step = plan_.steps[at(command.index)];
  Tensor& result = results[at(result_of_[slot(*step.node)])];
  if (result.bytes() > 0)
    std::memcpy(result.raw(), addresses_[at(step.first_value)], result.bytes());
}

void CompiledPlan::recover() noexcept {
  for (const std::size_t device : used_devices_) {
    try {
      memory_.device(device)->synchronize();
    } catch (...) {  // the first error is the one that is reported
    }
  }
  for (std::size_t i = 0; i < backups_made_; ++i)
    backups_[i].slot->buffer.write(backups_[i].copy.get());
}

std::vector<NodeTime> CompiledPlan::node_times() const {
  std::vector<NodeTime> times;
  for (const Launch& launch : launches_)
    times.push_back({&user_node(*launch.node), launch.node->name(), launch.node});
  return times;
}

std::string CompiledPlan::explain_placement() const {
  return explain(*graph_, placement_, placement_options_);
}

}  // namespace gradgraph
