// What a CompiledPlan does when it runs, and the commands for that.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

#include "core/index.h"
#include "core/text.h"
#include "device/float_mode.h"
#include "device/parallel.h"
#include "graph/slot.h"
#include "graph/user_node.h"
#include "plan/order.h"
#include "session/compiled_plan.h"
#include "session/memory_report.h"

namespace gradgraph {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

void CompiledPlan::make_commands() {
  addresses_.assign(plan_.step_values.size(), nullptr);
  std::vector<std::int32_t> event_of(plan_.steps.size(), -1);
  launches_.reserve(kernels_.size());
  for (const std::size_t device : used_devices_)
    if (std::ranges::any_of(plan_.steps, [&](const PlannedStep& step) {
          return at(step.device) == device && step.node->op().traits.random;
        }))
      commands_.push_back(
          {CommandKind::run_info, static_cast<std::int32_t>(device), &stream(device)});
  const auto add_finish = [&] {
    for (const std::int32_t join : plan_.joins)
      commands_.push_back(
          {CommandKind::wait, event_of[at(join)], &stream(at(plan_.steps[at(join)].device))});
    if (!used_devices_.empty()) commands_.push_back({CommandKind::finish, 0, nullptr});
    first_after_finish_ = commands_.size();
  };
  for (std::int32_t s = 0; at(s) < plan_.steps.size(); ++s) {
    if (s == plan_.finish) add_finish();
    add_commands(s, event_of);
  }
  if (at(plan_.finish) == plan_.steps.size()) add_finish();
  find_recordable();
}

void CompiledPlan::add_commands(std::int32_t s, std::vector<std::int32_t>& event_of) {
  const PlannedStep& step = plan_.steps[at(s)];
  Device& device = *memory_.device(at(step.device));
  Stream& own = stream(at(step.device), device.host_memory() ? kComputeStream : step.stream);
  for (std::int32_t i = 0; i < step.num_waits; ++i) {
    const PlannedWait& wait = plan_.waits[at(step.first_wait + i)];
    const PlannedStep& other = plan_.steps[at(wait.step)];
    commands_.push_back({wait.by_host ? CommandKind::host_wait : CommandKind::wait,
                         event_of[at(wait.step)],
                         wait.by_host ? &stream(at(other.device), other.stream) : &own});
  }
  while (backups_.size() < plan_.backups.size() &&
         plan_.backups[backups_.size()].before_step == s) {
    const Node& node = user_node(*plan_.backups[backups_.size()].variable);
    VariableSlot& variable = memory_.variable(node);
    commands_.push_back({CommandKind::backup, static_cast<std::int32_t>(backups_.size()), &own});
    backups_.push_back({&variable, memory_.allocate_for(node, at(step.device))});
    memory_.count_backup(backups_.back().copy);
  }
  if (step.node->op().traits.moves_value) {
    const auto kind = step.num_outputs > 0 ? CommandKind::copy : CommandKind::fetch;
    commands_.push_back({kind, s, &own});
  } else {
    commands_.push_back({device.calls_kernels() ? CommandKind::call : CommandKind::launch,
                         static_cast<std::int32_t>(launches_.size()), &own});
    void** values = addresses_.data() + step.first_value;
    launches_.push_back({&kernels_[launches_.size()],
                         {{values, at(step.num_inputs)},
                          {values + step.num_inputs, at(step.num_outputs)},
                          nullptr,
                          &info_,
                          &own},
                         step.node,
                         num_updates(*step.node) > 0});
    launched_step_.push_back(s);
  }
  if (step.is_awaited) {
    event_of[at(s)] = static_cast<std::int32_t>(events_.size());
    events_.push_back(device.make_event());
    commands_.push_back({CommandKind::record, event_of[at(s)], &own});
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
    case Storage::staging: return static_cast<std::byte*>(memory_.staging()) + value.offset;
  }
  __builtin_unreachable();
}

std::size_t CompiledPlan::feed_of(const PlannedValue& value) const {
  return static_cast<std::size_t>(std::ranges::find(feed_nodes_, value.node) -
                                  feed_nodes_.begin());
}

void CompiledPlan::bake() {
  for (std::size_t d = 0; d < plan_.arena_bytes.size(); ++d) {
    try {
      memory_.reserve_arena(d, plan_.arena_bytes[d]);
    } catch (const std::bad_alloc&) {
      fail_without_arena(*memory_.device(d), memory_use(), plan_, static_cast<std::int32_t>(d));
    }
  }
  if (!used_devices_.empty()) memory_.reserve_staging(used_devices_.front(), plan_.staging_bytes);
  for (const PlannedValue& value : plan_.values)
    if (value.storage == Storage::variable)
      memory_.place_variable(user_node(*value.node), at(value.device));

  recorded_run_ = nullptr;
  recorded_steps_.clear();
  feed_patches_.clear();
  for (std::size_t i = 0; i < addresses_.size(); ++i) {
    const std::int32_t index = plan_.step_values[i];
    if (index == kNoValue) continue;
    const PlannedValue& value = plan_.values[at(index)];
    addresses_[i] = address_of(value);
    if (value.storage == Storage::feed) feed_patches_.push_back({feed_of(value), i});
  }
  stage_patches_.clear();
  for (const StagedFeed& staged : plan_.staged_feeds) {
    const PlannedValue& value = plan_.values[at(staged.staged)];
    stage_patches_.push_back({feed_of(value), value.offset, value.bytes});
  }
  std::size_t launch = 0;
  for (const PlannedStep& step : plan_.steps) {
    if (step.node->op().traits.moves_value) continue;
    KernelArgs& args = launches_[launch++].args;
    args.workspace =
        static_cast<std::byte*>(memory_.arena(at(step.device))) + step.workspace_offset;
    if (!plan_.is_host[at(step.device)])
      args.run = step.node->op().traits.random
                     ? static_cast<const RunInfo*>(memory_.run_info(at(step.device)))
                     : nullptr;
  }
  generation_ = memory_.generation();
}

void CompiledPlan::stage(void* to, const void* from, std::size_t bytes) const {
  constexpr std::int64_t kGrain = 1 << 18;
  parallel_for(static_cast<std::int64_t>(bytes), kGrain, threads_,
               [=](std::int64_t begin, std::int64_t end) {
                 std::memcpy(static_cast<std::byte*>(to) + begin,
                             static_cast<const std::byte*>(from) + begin, at(end - begin));
               });
}

void CompiledPlan::run(const Tensor* feeds, std::vector<Tensor>& results, const RunInfo& info,
                       RunStats& stats) {
  if (generation_ != memory_.generation()) bake();
  for (const FeedPatch& patch : feed_patches_)
    addresses_[patch.address] = const_cast<void*>(feeds[patch.feed].raw());
  info_ = info;
  if (!used_devices_.empty()) {
    auto* staging = static_cast<std::byte*>(memory_.staging());
    std::memcpy(staging, &info, sizeof info);
    for (const StagePatch& patch : stage_patches_)
      if (patch.bytes > 0) stage(staging + patch.offset, feeds[patch.feed].raw(), patch.bytes);
  }
  for (const auto& nested : nested_) nested->record(stats.nodes.empty() ? nullptr : &stats);
  backups_made_ = 0;
  const FloatMode mode = float_mode();
  const bool flushes = flushes_denormals_ && !updated_variables_.empty();
  const FloatModeScope scope(flushes ? flushing_denormals(mode) : mode);
  const Command* current = nullptr;
  try {
    if (numerics_)
      execute_checked(results, current);
    else if (!stats.nodes.empty())
      execute_timed(results, stats, current);
    else if (!run_recorded(results))
      for (const Command& command : commands_) execute(*(current = &command), results);
  } catch (const KernelError& error) {  // of a call: launches tell themselves
    recover();
    refuse(launches_[at(current->index)], error);
  } catch (const RefusedValue&) {  // as foreseen: nothing was updated, or there is a backup
    recover();
    throw;
  } catch (const RunError& error) {
    recover();
    fail_at(current, error);
  } catch (...) {
    recover();
    throw;
  }
  has_run_ = true;
  for (VariableSlot* variable : updated_variables_) variable->initialized = true;
}

/// The variables that commands before `end` have updated and of which nothing was kept.
std::vector<std::string> CompiledPlan::changed_before(const Command& end) {
  std::vector<std::string> names;
  for (const Command& command : commands_) {
    if (&command == &end) break;
    if (command.kind != CommandKind::call && command.kind != CommandKind::launch) continue;
    const Node& node = *launches_[at(command.index)].node;
    for (int i = 0; i < num_updates(node); ++i) {
      const Node& variable = user_node(*variable_behind(node.input(i)));
      const VariableSlot* const slot = &memory_.variable(variable);
      if (std::ranges::find(backups_, slot, &Backup::slot) == backups_.end())
        names.push_back(fmt::format("'{}'", variable.name()));
    }
  }
  return names;
}

/// Throws `error`, which is being handled, with the node that it stopped at and with what cannot
/// be put back. (There are backups where kernels may refuse values; what a device refuses nobody
/// foresees.)
void CompiledPlan::fail_at(const Command* command, const RunError& error) {
  if (!command) throw;
  const std::vector<std::string> changed = changed_before(*command);
  const Node* const node = node_of(*command);
  const bool names_node = error.where().known() || !node;
  if (names_node && changed.empty()) throw;
  const std::string message =
      names_node ? error.what() : node_message(node->op().name, node->name(), error.what());
  if (changed.empty()) throw RunError(message, node->where());
  throw RunError(
      fmt::format("{}\nvariables that had been updated by then, and have to be set anew "
                  "before training goes on: {}\nin the run",
                  message, fmt::join(changed, ", ")));
}

const Node* CompiledPlan::node_of(const Command& command) const {
  switch (command.kind) {
    case CommandKind::call:
    case CommandKind::launch: return launches_[at(command.index)].node;
    case CommandKind::copy:
    case CommandKind::fetch: return plan_.steps[at(command.index)].node;
    default: return nullptr;
  }
}

void CompiledPlan::execute(const Command& command, std::vector<Tensor>& results) {
  switch (command.kind) {
    case CommandKind::call: {
      const Launch& launch = launches_[at(command.index)];
      launch.kernel->run(launch.args);
      break;
    }
    case CommandKind::launch: command.stream->launch(launches_[at(command.index)]); break;
    case CommandKind::copy: copy_between(command); break;
    case CommandKind::fetch: fetch_result(command, results); break;
    case CommandKind::backup: {
      Backup& backup = backups_[at(command.index)];
      command.stream->copy(backup.copy.get(), backup.slot->buffer.get(), backup.copy.bytes(),
                           CopyKind::within);
      backups_made_ = at(command.index) + 1;
      break;
    }
    case CommandKind::run_info:
      command.stream->copy(memory_.run_info(at(command.index)), memory_.staging(),
                           sizeof(RunInfo), CopyKind::to_device);
      break;
    case CommandKind::record: command.stream->record(*events_[at(command.index)]); break;
    case CommandKind::wait: command.stream->wait(*events_[at(command.index)]); break;
    case CommandKind::host_wait: wait_for(command); break;
    case CommandKind::finish: finish(); break;
  }
}

/// Launches on the host are timed by its clock, all else by events, so that nobody waits.
void CompiledPlan::execute_timed(std::vector<Tensor>& results, RunStats& stats,
                                 const Command*& current) {
  const auto make_timed = [](const Command& command) -> TimedWork {
    Device& device = command.stream->device();
    if (device.host_memory()) return {};
    return {device.make_event(), device.make_event()};
  };
  if (timed_.empty()) {
    timed_.resize(launches_.size());
    for (const Command& command : commands_)
      if (command.kind == CommandKind::launch) timed_[at(command.index)] = make_timed(command);
    for (const Command& command : commands_)
      if (is_timed_copy(command)) timed_.push_back(make_timed(command));
    for (const std::size_t device : used_devices_)
      origins_.push_back(memory_.device(device)->make_event());
  }
  for (std::size_t d = 0; d < used_devices_.size(); ++d)
    stream(used_devices_[d]).record(*origins_[d]);
  const double origin = seconds_since(stats.start);
  const auto for_each_timed = [&](const auto& body, const auto& other) {
    std::size_t copies = launches_.size();
    for (const Command& command : commands_) {
      const bool is_launch =
          command.kind == CommandKind::call || command.kind == CommandKind::launch;
      if (is_launch || is_timed_copy(command))
        body(command, is_launch ? at(command.index) : copies++);
      else
        other(command);
    }
  };
  for_each_timed(
      [&](const Command& command, std::size_t work) {
        current = &command;
        if (const TimedWork& timed = timed_[work]; timed.begin) {
          command.stream->record(*timed.begin);
          execute(command, results);
          command.stream->record(*timed.end);
        } else {
          const HostTimer timer(stats);
          execute(command, results);
          timer.stop(stats.nodes[work]);
        }
      },
      [&](const Command& command) { execute(*(current = &command), results); });
  for_each_timed(
      [&](const Command& command, std::size_t work) {
        const TimedWork& timed = timed_[work];
        if (!timed.begin) return;
        const auto own = std::ranges::find_if(used_devices_, [&](std::size_t device) {
          return memory_.device(device).get() == &command.stream->device();
        });
        const Event& began = *origins_[static_cast<std::size_t>(own - used_devices_.begin())];
        stats.nodes[work].seconds = timed.end->seconds_since(*timed.begin);
        stats.nodes[work].start = origin + timed.begin->seconds_since(began);
      },
      [](const Command&) {});
}

CopyKind CompiledPlan::copy_kind(const PlannedStep& step) const {
  const PlannedValue& from = plan_.values[at(plan_.inputs_of(step)[0])];
  const PlannedValue& to = plan_.values[at(plan_.outputs_of(step)[0])];
  const bool from_host = plan_.is_host[at(from.device)], to_host = plan_.is_host[at(to.device)];
  return from_host != to_host ? (to_host ? CopyKind::to_host : CopyKind::to_device)
         : from_host || from.device == to.device ? CopyKind::within
                                                 : CopyKind::between;
}

void CompiledPlan::copy_between(const Command& command) {
  const PlannedStep& step = plan_.steps[at(command.index)];
  const PlannedValue& from = plan_.values[at(plan_.inputs_of(step)[0])];
  command.stream->copy(addresses_[at(step.first_value + 1)], addresses_[at(step.first_value)],
                       from.bytes, copy_kind(step));
}

void CompiledPlan::fetch_result(const Command& command, std::vector<Tensor>& results) {
  const PlannedStep& step = plan_.steps[at(command.index)];
  Tensor& result = results[at(result_of_[slot(*step.node)])];
  if (result.bytes() > 0)
    std::memcpy(result.raw(), addresses_[at(step.first_value)], result.bytes());
}

void CompiledPlan::wait_for(const Command& command) {
  command.stream->device().synchronize(*events_[at(command.index)]);
  check_streams();
}

void CompiledPlan::finish() {
  for (const std::size_t device : used_devices_) stream(device).synchronize();
  check_streams();
}

/// Whoever has waited for one step knows of others, of any stream, that they are done.
void CompiledPlan::check_streams() {
  for (const std::size_t device : used_devices_)
    for (const auto& stream : memory_.streams(device)) stream->check();
}

void CompiledPlan::recover() noexcept {
  for (const std::size_t device : used_devices_)
    for (const auto& stream : memory_.streams(device)) {
      try {
        stream->synchronize();
        stream->check();
      } catch (...) {  // the first error is the one that is reported
      }
    }
  for (std::size_t i = 0; i < backups_made_; ++i) {
    const Backup& backup = backups_[i];
    Stream& stream = memory_.stream_of(*backup.copy.device());
    stream.copy(backup.slot->buffer.get(), backup.copy.get(), backup.copy.bytes(),
                CopyKind::within);
    stream.synchronize();
  }
}

}  // namespace gradgraph
