// How a CompiledPlan records its steps, and runs them as they were recorded.
#include <algorithm>
#include <cstring>
#include <new>

#include "core/checked.h"
#include "core/index.h"
#include "core/text.h"
#include "graph/may_fail.h"
#include "graph/slot.h"
#include "plan/memory_order.h"
#include "plan/order.h"
#include "session/compiled_plan.h"
#include "session/memory_report.h"

namespace gradgraph {
namespace {

/// Plans keep as many recordings of several steps, for other numbers of them.
constexpr std::size_t kMostRecordings = 4;

using Range = MemoryOrder::Range;

Range range_of(const void* memory, std::size_t bytes, bool writes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  return {begin, begin + bytes, writes};
}

/// What a stream knows of values that are refused in each of kRefusingSteps, as if it were
/// memory: kernels that may refuse one write it, in their order; updates read it, but for what
/// the next step's kernels write.
constexpr std::uintptr_t kRefusals = 1;
Range refusals_of(std::int32_t step, bool writes) {
  const std::uintptr_t begin = kRefusals + at(step % kRefusingSteps);
  return {begin, begin + 1, writes};
}
/// In the same way, copies of what is fed come one after the other.
constexpr std::uintptr_t kInputs = kRefusals + kRefusingSteps;
/// From so many bytes on, what is fed to one of several steps has a copy of its own.
constexpr std::size_t kLargeInput = std::size_t{64} << 10;

std::byte* bytes_at(const DeviceBuffer& buffer, std::size_t offset) {
  return static_cast<std::byte*>(buffer.get()) + offset;
}

}  // namespace

void CompiledPlan::find_recordable() {
  if (!is_recordable_) return;
  is_recordable_ = used_devices_.size() == 1 && stream(used_devices_.front()).recorder();
  if (!is_recordable_) return;
  const Device& device = stream(used_devices_.front()).device();
  for (std::size_t i = 0; i < first_after_finish_; ++i) {
    const Command& command = commands_[i];
    const bool is_of_device = command.stream && &command.stream->device() == &device;
    if (command.kind != CommandKind::finish &&
        (!is_of_device || command.kind == CommandKind::host_wait))
      is_recordable_ = false;
  }
  // What comes from the host comes from what is fed: a variable there is in no staging memory.
  for (const PlannedStep& step : plan_.steps)
    if (step.node->op().traits.moves_value && step.num_outputs > 0 &&
        copy_kind(step) == CopyKind::to_device &&
        feed_of(plan_.values[at(plan_.inputs_of(step)[0])]) == feed_nodes_.size())
      is_recordable_ = false;
  const auto is_copied = [&](std::int32_t value) {
    return std::ranges::any_of(plan_.steps, [&](const PlannedStep& step) {
      return step.node->op().traits.moves_value && step.num_outputs > 0 &&
             plan_.outputs_of(step)[0] == value;
    });
  };
  gives_results_alone_ = backups_.empty();
  for (std::size_t i = first_after_finish_; i < commands_.size(); ++i)
    if (commands_[i].kind != CommandKind::fetch ||
        !is_copied(plan_.inputs_of(plan_.steps[at(commands_[i].index)])[0]))
      gives_results_alone_ = false;
}

/// Issues a plan's commands once more for each of some steps, in pieces that wait for what they
/// must.
class CompiledPlan::StepRecorder {
 public:
  explicit StepRecorder(CompiledPlan& plan)
      : plan_(plan),
        device_(plan.used_devices_.front()),
        stream_(plan.stream(device_)),
        recorder_(*stream_.recorder()) {}

  /// The plan's own run.
  void record(RecordedSteps& run) {
    record_pieces(run, [&] {
      for (std::size_t i = 0; i < plan_.first_after_finish_; ++i) issue(plan_.commands_[i]);
    });
  }

  /// Several runs: what is fed comes in one copy, before all of them, but for what is large,
  /// which comes step by step, while others run; what they give goes in one, behind them.
  void record_several(RecordedSteps& run) {
    const AddressScope scope(plan_.addresses_);
    run.launches.reserve(plan_.launches_.size() * static_cast<std::size_t>(run.steps));
    record_pieces(run, [&] {
      copy_inputs(run);
      for (std::int64_t k = 0; k < run.steps; ++k) {
        const auto step = static_cast<std::size_t>(k);
        if (run.steps > 1) move_early_values(k);
        for (const SteppedFeed& feed : run.feeds)
          if (!is_part(feed.value))
            patch(feed.value, bytes_at(run.inputs, feed.offset + step * feed.stride));
        for (const SteppedResult& result : run.results)
          patch(result.staged,
                bytes_at(run.results_on_device, result.offset + step * result.stride));
        for (std::size_t i = 0; i < plan_.first_after_finish_; ++i)
          issue_of_several(plan_.commands_[i], run, k);
      }
      copy(run.host_results.get(), run.results_on_device.get(), run.host_results.bytes(),
           CopyKind::to_host);
    });
  }

 private:
  /// Puts addresses back as they were, in place, as `patch` does.
  class AddressScope {
   public:
    explicit AddressScope(std::vector<void*>& addresses)
        : addresses_(addresses), before_(addresses) {}
    ~AddressScope() { std::ranges::copy(before_, addresses_.begin()); }
    AddressScope(const AddressScope&) = delete;
    AddressScope& operator=(const AddressScope&) = delete;

   private:
    std::vector<void*>& addresses_;
    std::vector<void*> before_;
  };

  template <class Body>
  void record_pieces(RecordedSteps& run, const Body& body) {
    recorder_.begin();
    try {
      body();
    } catch (...) {
      try {
        recorder_.end();
      } catch (...) {  // of what is half done nothing else is expected
      }
      throw;
    }
    run.recording = recorder_.end();
  }

  /// In place: launches hold on to the addresses' memory. Of a value and its parts.
  void patch(std::int32_t value, std::byte* address) {
    const std::size_t begin = plan_.plan_.values[at(value)].offset;
    for (std::size_t i = 0; i < plan_.addresses_.size(); ++i)
      if (const std::int32_t part = plan_.plan_.step_values[i];
          part != kNoValue && plan_.plan_.whole_of(part) == value)
        plan_.addresses_[i] = address + (plan_.plan_.values[at(part)].offset - begin);
  }
  bool is_part(std::int32_t value) const { return plan_.plan_.whole_of(value) != value; }

  /// Into the places that they had two steps before.
  void move_early_values(std::int64_t k) {
    if (!plan_.early_memory_.get()) return;
    early_ = bytes_at(plan_.early_memory_, at(k % 2) * plan_.early_.bytes);
    for (std::size_t i = 0; i < plan_.addresses_.size(); ++i) {
      const std::int32_t value = plan_.plan_.step_values[i];
      if (value == kNoValue) continue;
      const std::size_t offset = plan_.early_.value_offset[at(value)];
      if (offset != EarlyValues::kNowhere) plan_.addresses_[i] = early_ + offset;
    }
  }

  void begin_piece() {
    recorder_.begin_piece(order_.add(ranges_));
    ranges_.clear();
  }

  void copy(void* to, const void* from, std::size_t bytes, CopyKind kind) {
    if (bytes == 0) return;
    ranges_ = {range_of(from, bytes, false), range_of(to, bytes, true)};
    begin_piece();
    stream_.copy(to, from, bytes, kind);
  }

  void copy_inputs(const RecordedSteps& run) {
    const auto copy_input = [&](std::size_t offset, std::size_t bytes) {
      if (bytes == 0) return;
      void* const to = bytes_at(run.inputs, offset);
      const void* const from = bytes_at(run.host_inputs, offset);
      ranges_ = {
          range_of(from, bytes, false), range_of(to, bytes, true), {kInputs, kInputs + 1, true}};
      begin_piece();
      stream_.copy(to, from, bytes, CopyKind::to_device);
    };
    const auto is_large = [](const SteppedFeed& feed) {
      return feed.stride > 0 && feed.bytes >= kLargeInput;
    };
    std::size_t begin = 0;
    for (const SteppedFeed& feed : run.feeds) {
      if (!is_large(feed)) continue;
      copy_input(begin, feed.offset - begin);
      begin = feed.offset + static_cast<std::size_t>(run.steps) * feed.stride;
    }
    copy_input(begin, run.inputs.bytes() - begin);
    for (std::int64_t k = 0; k < run.steps; ++k)
      for (const SteppedFeed& feed : run.feeds)
        if (is_large(feed)) copy_input(feed.offset + at(k) * feed.stride, feed.bytes);
  }

  void launch(const Launch& launch, const PlannedStep& step) {
    add_ranges(step);
    if (launch.args.workspace)
      ranges_.push_back(range_of(launch.args.workspace, step.workspace_bytes, true));
    if (launch.args.run) ranges_.push_back(range_of(launch.args.run, sizeof(RunInfo), false));
    if (may_fail(*step.node)) ranges_.push_back(refusals_of(launch.step, true));
    if (launch.is_update)
      for (std::int32_t earlier = 0; earlier + 1 < kRefusingSteps; ++earlier)
        ranges_.push_back(refusals_of(launch.step + kRefusingSteps - earlier, false));
    begin_piece();
    stream_.launch(launch);
  }

  /// Of a step's values; updates write what they read.
  void add_ranges(const PlannedStep& step) {
    const std::int32_t updated = num_updates(*step.node);
    for (std::int32_t i = 0; i < step.num_inputs + step.num_outputs; ++i) {
      const std::int32_t index = plan_.plan_.step_values[at(step.first_value + i)];
      if (index == kNoValue) continue;
      const PlannedValue& value = plan_.plan_.values[at(index)];
      ranges_.push_back(range_of(plan_.addresses_[at(step.first_value + i)], value.bytes,
                                 i < updated || i >= step.num_inputs));
    }
  }

  void issue(const Command& command) {
    switch (command.kind) {
      case CommandKind::launch:
        launch(plan_.launches_[at(command.index)],
               plan_.plan_.steps[at(plan_.launched_step_[at(command.index)])]);
        break;
      case CommandKind::copy: {
        const PlannedStep& step = plan_.plan_.steps[at(command.index)];
        copy(plan_.addresses_[at(step.first_value + 1)], plan_.addresses_[at(step.first_value)],
             plan_.plan_.values[at(plan_.plan_.inputs_of(step)[0])].bytes, plan_.copy_kind(step));
        break;
      }
      case CommandKind::backup: {
        const Backup& backup = plan_.backups_[at(command.index)];
        copy(backup.copy.get(), backup.slot->buffer.get(), backup.copy.bytes(), CopyKind::within);
        break;
      }
      case CommandKind::run_info:
        copy(plan_.memory_.run_info(device_), plan_.memory_.staging(), sizeof(RunInfo),
             CopyKind::to_device);
        break;
      default: break;  // pieces wait for others, not for events
    }
  }

  void issue_of_several(const Command& command, RecordedSteps& run, std::int64_t k) {
    if (command.kind == CommandKind::launch) {
      const auto index = at(command.index);
      Launch& launch_of_step = run.launches.emplace_back(plan_.launches_[index]);
      launch_of_step.step = static_cast<std::int32_t>(k);
      if (launch_of_step.args.run)
        launch_of_step.args.run = static_cast<const RunInfo*>(run.inputs.get()) + k;
      if (early_) {
        const std::size_t offset = plan_.early_.workspace_offset[at(plan_.launched_step_[index])];
        if (offset != EarlyValues::kNowhere) launch_of_step.args.workspace = early_ + offset;
      }
      launch(launch_of_step, plan_.plan_.steps[at(plan_.launched_step_[index])]);
    } else if (command.kind == CommandKind::copy) {
      const PlannedStep& step = plan_.plan_.steps[at(command.index)];
      if (plan_.copy_kind(step) != CopyKind::to_host) return copy_feed(step, run, k);
      copy(plan_.addresses_[at(step.first_value + 1)], plan_.addresses_[at(step.first_value)],
           plan_.plan_.values[at(plan_.plan_.inputs_of(step)[0])].bytes, CopyKind::within);
    }
  }

  /// Into what it is a part of; others are read where they are.
  void copy_feed(const PlannedStep& step, const RecordedSteps& run, std::int64_t k) {
    const std::int32_t value = plan_.plan_.outputs_of(step)[0];
    if (!is_part(value)) return;
    const auto feed = std::ranges::find(run.feeds, value, &SteppedFeed::value);
    copy(plan_.addresses_[at(step.first_value + 1)],
         bytes_at(run.inputs, feed->offset + at(k) * feed->stride), feed->bytes,
         CopyKind::within);
  }

  CompiledPlan& plan_;
  std::size_t device_;
  Stream& stream_;
  Recorder& recorder_;
  std::byte* early_ = nullptr;  ///< where the step's early values are, if not in the arena
  MemoryOrder order_;
  std::vector<Range> ranges_;
};

bool CompiledPlan::run_recorded(std::vector<Tensor>& results) {
  if (!is_recordable_ || !has_run_) return false;
  if (!recorded_run_) {
    auto run = std::make_unique<RecordedSteps>();
    StepRecorder(*this).record(*run);
    recorded_run_ = std::move(run);
  }
  recorded_run_->recording->replay();
  backups_made_ = backups_.size();
  finish();
  for (std::size_t i = first_after_finish_; i < commands_.size(); ++i)
    execute(commands_[i], results);
  return true;
}

/// Once, for recordings of any number of steps: one runs at a time. Memory is twice what they
/// take, where that is not much of what the device has to spare.
void CompiledPlan::provide_early_values() {
  if (!early_.value_offset.empty()) return;
  constexpr std::size_t kMost = std::size_t{64} << 20;
  const std::size_t number = used_devices_.front();
  early_ = find_early_values(plan_, static_cast<std::int32_t>(number));
  const std::size_t bytes = checked_mul(early_.bytes, std::size_t{2});
  const std::shared_ptr<Device>& device = memory_.device(number);
  const Device::Memory memory = device->memory();
  if (bytes == 0 || bytes > std::min(kMost, rooms_[number].spare) ||
      (memory.total > 0 && bytes > memory.free / 2))
    return;
  try {
    early_memory_ = DeviceBuffer(device, bytes);
  } catch (const std::bad_alloc&) {  // they stay in the arena
  }
}

CompiledPlan::RecordedSteps& CompiledPlan::recorded_steps(std::int64_t steps,
                                                          const std::vector<bool>& varies) {
  for (const auto& recorded : recorded_steps_)
    if (recorded->steps == steps && recorded->varies == varies) return *recorded;

  auto run = std::make_unique<RecordedSteps>();
  run->steps = steps;
  run->varies = varies;
  const auto count = static_cast<std::size_t>(steps);
  const auto aligned = [](std::size_t bytes) {
    return checked_add(bytes, kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  };
  std::size_t input_bytes = aligned(checked_mul(count, sizeof(RunInfo))), result_bytes = 0;
  for (const PlannedStep& step : plan_.steps) {
    if (!step.node->op().traits.moves_value || step.num_outputs == 0) continue;
    const std::int32_t from = plan_.inputs_of(step)[0], to = plan_.outputs_of(step)[0];
    const std::size_t bytes = plan_.values[at(from)].bytes, stride = aligned(bytes);
    if (copy_kind(step) == CopyKind::to_host) {
      run->results.push_back({to, result_bytes, bytes, stride});
      result_bytes = checked_add(result_bytes, checked_mul(stride, count));
    } else {
      const std::size_t feed = feed_of(plan_.values[at(from)]);
      run->feeds.push_back({feed, input_bytes, bytes, varies[feed] ? stride : 0, to});
      input_bytes = checked_add(input_bytes, varies[feed] ? checked_mul(stride, count) : stride);
    }
  }
  const auto& device = memory_.device(used_devices_.front());
  try {
    run->inputs = DeviceBuffer(device, input_bytes);
    run->host_inputs = DeviceBuffer(device, input_bytes, /*is_staging=*/true);
    run->results_on_device = DeviceBuffer(device, result_bytes);
    run->host_results = DeviceBuffer(device, result_bytes, /*is_staging=*/true);
  } catch (const std::bad_alloc&) {
    throw RunError(
        fmt::format("there is no memory for feeds and results of {} steps on '{}', {}{}", steps,
                    device->name(), readable_bytes(checked_add(input_bytes, result_bytes)),
                    available(*device)));
  }
  if (steps > 1) provide_early_values();
  // What lies between values is copied with them.
  std::memset(run->host_inputs.get(), 0, run->host_inputs.bytes());
  std::memset(run->host_results.get(), 0, run->host_results.bytes());
  memory_.write(run->results_on_device, run->host_results.get());
  StepRecorder(*this).record_several(*run);
  if (recorded_steps_.size() == kMostRecordings) recorded_steps_.erase(recorded_steps_.begin());
  return *recorded_steps_.emplace_back(std::move(run));
}

std::int64_t CompiledPlan::run_steps(std::int64_t steps, const Tensor* feeds,
                                     const std::vector<bool>& varies,
                                     std::vector<Tensor>& results, const RunInfo& info,
                                     std::exception_ptr& error) {
  if (generation_ != memory_.generation()) bake();
  RecordedSteps& run = recorded_steps(steps, varies);
  const auto count = static_cast<std::size_t>(steps);
  auto* const infos = static_cast<RunInfo*>(run.host_inputs.get());
  for (std::size_t k = 0; k < count; ++k) {
    infos[k] = info;
    infos[k].step += static_cast<std::int64_t>(k);
  }
  for (const SteppedFeed& feed : run.feeds) {
    const auto* const values = static_cast<const std::byte*>(feeds[feed.feed].raw());
    const std::size_t all = feed.stride > 0 ? count : 1;
    const bool is_one_piece = feed.stride == feed.bytes;
    for (std::size_t k = 0; k < (is_one_piece ? 1 : all); ++k)
      stage(bytes_at(run.host_inputs, feed.offset + k * feed.stride), values + k * feed.bytes,
            is_one_piece ? all * feed.bytes : feed.bytes);
  }
  std::int64_t made = steps;
  backups_made_ = 0;
  try {
    run.recording->replay();
    finish();
  } catch (const RefusedValue& refused) {
    error = std::current_exception();
    made = refused.launch->step;
    recover();
  } catch (...) {
    error = std::current_exception();
    made = 0;
    recover();
  }
  for (VariableSlot* variable : updated_variables_) variable->initialized = true;
  for (std::size_t i = first_after_finish_; i < commands_.size(); ++i) {
    const PlannedStep& step = plan_.steps[at(commands_[i].index)];
    const auto from =
        std::ranges::find(run.results, plan_.inputs_of(step)[0], &SteppedResult::staged);
    auto* const to = static_cast<std::byte*>(results[at(result_of_[slot(*step.node)])].raw());
    for (std::size_t k = 0; k < static_cast<std::size_t>(made) && from->bytes > 0; ++k)
      std::memcpy(to + k * from->bytes,
                  bytes_at(run.host_results, from->offset + k * from->stride), from->bytes);
  }
  return made;
}

}  // namespace gradgraph
