#include "session/compiled_plan.h"

#include <algorithm>
#include <limits>
#include <new>
#include <set>

#include "core/checked.h"
#include "core/index.h"
#include "core/text.h"
#include "core/threads.h"
#include "graph/slot.h"
#include "graph/user_node.h"
#include "plan/order.h"
#include "session/evaluate.h"
#include "session/memory_report.h"

namespace gradgraph {

CompiledPlan::CompiledPlan(const Graph& graph, const std::vector<FedValue>& feeds,
                           const std::vector<Output>& fetches, const SessionOptions& options,
                           const DeviceChoices& choices, SessionMemory& memory, RewriteLog log)
    : memory_(memory) {
  SpecializedGraph specialized = rewritten_copy(graph, feeds, fetches, options, log);
  graph_ = std::move(specialized.graph);
  feed_nodes_ = std::move(specialized.feeds);
  read_variables_ = std::move(specialized.read_variables);

  place_nodes(options, choices);
  plan_with_kernels(specialized, options);
  flushes_denormals_ = options.flush_denormals;
  is_recordable_ = options.record_steps && !options.check_numerics;
  if (options.check_numerics) numerics_ = std::make_unique<NumericsCheck>(plan_);
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
  for (const Backup& backup : backups_) memory_.forget_backup(backup.copy);
}

void CompiledPlan::place_nodes(const SessionOptions& options, const DeviceChoices& choices) {
  const auto& names = memory_.device_names();
  placement_options_ = {.devices = names,
                        .soft = options.soft_placement,
                        .supports = has_kernel_for,
                        .choices = choices.devices,
                        .costs = choices.costs};
  placement_options_.default_device =
      static_cast<int>(std::find(names.begin(), names.end(), options.device) - names.begin());
  placement_options_.home = [this](const Node& variable) { return memory_.home_of(variable); };
  if (!options.record_steps || options.node_times || options.check_numerics)
    for (DeviceCosts& costs : placement_options_.costs)
      costs.recorded_node_seconds = costs.node_seconds;
  if (verifies_stages) verify(*graph_);
  placement_ = place(*graph_, placement_options_);
  if (verifies_stages) verify(*graph_, placement_, placement_options_);
  if (choices.devices.empty()) return;
  for (const Node& node : graph_->nodes())
    if (node.op().name == "variable")
      memory_.keep_home(user_node(node), placement_.device[slot(node)]);
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
  for (const auto& nested : nested_) constant_bytes_ += nested->add_constants(constants);
  for (const Node* variable : variables)
    if (!memory_.find_variable(*variable)) new_variable_bytes_ += bytes_of(*variable);
}

MemoryUse CompiledPlan::memory_use() const {
  MemoryUse use{.variables = memory_.variable_bytes() + new_variable_bytes_,
                .constants = constant_bytes_,
                .results = result_bytes_,
                .staging = std::max(plan_.staging_bytes, memory_.staging_bytes())};
  for (std::size_t d = 0; d < plan_.arena_bytes.size(); ++d)
    use.arena += std::max(plan_.arena_bytes[d], memory_.arena_bytes(d));
  return use;
}

std::vector<std::size_t> CompiledPlan::bytes_by_device() const {
  const MemoryUse use = memory_use();
  std::vector<std::size_t> bytes(plan_.arena_bytes.size(), 0);
  bytes[0] = use.constants + use.staging + use.results;  // the host
  for (std::size_t d = 0; d < bytes.size(); ++d)
    bytes[d] +=
        std::max(plan_.arena_bytes[d], memory_.arena_bytes(d)) + memory_.variable_bytes_on(d);
  for (const std::size_t device : used_devices_)
    for (const PlannedValue& value : plan_.values)
      if (value.storage == Storage::constant && at(value.device) == device)
        bytes[device] += value.bytes;  // a copy
  std::set<const Node*> counted;
  const auto count = [&](const Node& variable, std::size_t home) {
    if (!counted.insert(&variable).second) return;
    bytes[home] += bytes_of(variable);
    if (const VariableSlot* slot = memory_.find_variable(variable))  // and moves, if need be
      bytes[memory_.index_of(*slot->buffer.device())] -= slot->buffer.bytes();
  };
  for (const PlannedValue& value : plan_.values)
    if (value.storage == Storage::variable) count(user_node(*value.node), at(value.device));
  for (const Node* variable : read_variables_)
    if (!memory_.find_variable(*variable)) count(*variable, 0);
  for (std::size_t i = backups_.size(); i < plan_.backups.size(); ++i) {
    const PlannedStep& step = plan_.steps[at(plan_.backups[i].before_step)];
    bytes[at(step.device)] += bytes_of(user_node(*plan_.backups[i].variable));
  }
  return bytes;
}

void CompiledPlan::attach() {
  find_variables();
  upload_constants();
  make_commands();
  new_variable_bytes_ = 0;
}

ArenaRoom CompiledPlan::room_on(std::size_t device, const SessionOptions& options) const {
  constexpr std::size_t kMost = std::size_t{256} << 20, kShare = 16;
  if (options.memory_limit.total() > 0 || !options.memory_limit.devices().empty()) return {};
  const Device::Memory memory = memory_.device(device)->memory();
  if (memory.total == 0) return {kMost, std::numeric_limits<std::size_t>::max()};
  // What else is still to come there.
  std::size_t others = 0;
  for (const Node& node : graph_->nodes()) {
    if (at(placement_.device[slot(node)]) != device) continue;
    const bool is_variable = node.op().name == "variable";
    if (!is_variable && node.op().name != "constant") continue;
    const VariableSlot* own = is_variable ? memory_.find_variable(user_node(node)) : nullptr;
    if (!own || memory_.index_of(*own->buffer.device()) != device)
      others = checked_add(others, bytes_of(node));
  }
  const std::size_t free = memory.free + memory_.arena_bytes(device);
  return {std::min(kMost, memory.total / kShare), free > others ? (free - others) / 2 : 0};
}

void CompiledPlan::plan_with_kernels(SpecializedGraph& specialized,
                                     const SessionOptions& session_options) {
  const int threads = threads_ = thread_count(session_options.threads);
  const std::set<std::int32_t> used(placement_.device.begin(), placement_.device.end());
  PlanOptions options{
      .fetches = specialized.fetches, .is_host = {}, .kinds = {}, .workspace_bytes = {}};
  const auto& names = memory_.device_names();
  options.is_host.assign(names.size(), true);
  options.rooms.resize(names.size());
  for (const std::string& name : names) {
    const auto same = [&](const auto& other) { return kind_of(other) == kind_of(name); };
    options.kinds.push_back(static_cast<int>(std::ranges::find_if(names, same) - names.begin()));
  }
  for (const std::int32_t device : used) {
    options.is_host[at(device)] = memory_.device(at(device))->host_memory();
    if (options.is_host[at(device)]) continue;
    used_devices_.push_back(at(device));
    options.rooms[at(device)] = room_on(at(device), session_options);
  }
  options.workspace_bytes = [&](const Node& node) {
    const Device& device = *memory_.device(at(placement_.device[slot(node)]));
    const std::vector<Kernel> subgraphs =
        make_nested_plans(node, specialized, session_options, device, nested_);
    const KernelSite site(node, threads, &device, subgraphs);
    const bool rounds = session_options.precision == Precision::tf32;
    return kernels_
        .emplace_back(make_kernel(rounds ? site.rounding() : site, device.kind(),
                                  session_options.reference_kernels))
        .workspace_bytes;
  };
  options.may_stop = session_options.check_numerics;
  // Steps are what is checked, and know what they read by where it was made.
  options.shares_parts = !session_options.check_numerics;
  plan_ = make_plan(*graph_, placement_, options);
  rooms_ = std::move(options.rooms);
}

void CompiledPlan::find_variables() {
  // Const, since the session's copy never changes the user's graph.
  for (const Node* variable : read_variables_)
    required_variables_.push_back({const_cast<Node*>(variable), &memory_.variable(*variable)});
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
    memory_.write(buffer, tensor.raw());
    constant_address_[i] = buffer.get();
  }
}

std::vector<NodeTime> CompiledPlan::node_times() const {
  std::vector<NodeTime> times;
  const auto add = [&](const Node& node, const Stream& stream, const char* what) {
    const Device& device = stream.device();
    times.push_back({.node = &user_node(node),
                     .kernel = node.name(),
                     .planned = &node,
                     .device = device.name(),
                     .stream = device.host_memory() ? "" : what});
  };
  for (const Launch& launch : launches_) add(*launch.node, *launch.args.stream, "computing");
  for (const Command& command : commands_)
    if (is_timed_copy(command))
      add(*plan_.steps[at(command.index)].node, *command.stream,
          copy_kind(plan_.steps[at(command.index)]) == CopyKind::to_host ? "copying to the host"
                                                                         : "copying to it");
  return times;
}

std::string CompiledPlan::explain_placement() const {
  std::string text = explain(*graph_, placement_, placement_options_);
  for (const auto& nested : nested_) text += nested->explain_placement();
  return text;
}

}  // namespace gradgraph
