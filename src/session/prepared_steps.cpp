// Callable::run_steps: several steps in one call.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>

#include "core/checked.h"
#include "core/text.h"
#include "session/session_state.h"

namespace gradgraph {
namespace {

using Clock = std::chrono::steady_clock;

Shape behind_axis(std::int64_t steps, const Shape& shape) {
  Shape stacked = {steps};
  for (int axis = 0; axis < shape.rank(); ++axis) stacked.append(shape[axis]);
  return stacked;
}

Shape without_first_axis(const Shape& shape) {
  Shape rest;
  for (int axis = 1; axis < shape.rank(); ++axis) rest.append(shape[axis]);
  return rest;
}

}  // namespace

void PreparedRun::take_slices(std::int64_t steps, const Tensor* values, std::size_t count) {
  if (steps < 1)
    throw RunError(fmt::format("run_steps takes 1 step or more, not {}", steps), where);
  check_count(count);
  varies_.resize(count);
  slices_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const Tensor& value = values[i];
    varies_[i] = !value.empty_handle() && value.shape().rank() == feeds[i].shape().rank() + 1;
    if (!varies_[i]) {
      slices_[i] = value;  // `plan_for` says what is wrong with it
      continue;
    }
    if (value.shape()[0] != steps)
      throw RunError(fmt::format("'{}' has {} values, {}{}, for {} steps", feeds[i].name(),
                                 value.shape()[0], value.dtype(), value.shape(), steps),
                     where);
    Tensor& slice = slices_[i];
    const Shape shape = without_first_axis(value.shape());
    if (slice.empty_handle() || !slice.unique() || slice.dtype() != value.dtype() ||
        slice.shape() != shape)
      slice = Tensor(value.dtype(), shape, where);
  }
  fill_slices(0, values);
}

void PreparedRun::fill_slices(std::int64_t step, const Tensor* values) {
  for (std::size_t i = 0; i < slices_.size(); ++i)
    if (varies_[i] && slices_[i].bytes() > 0)
      std::memcpy(slices_[i].raw(),
                  static_cast<const std::byte*>(values[i].raw()) +
                      static_cast<std::size_t>(step) * slices_[i].bytes(),
                  slices_[i].bytes());
}

/// For results of a step as `plan` gives them.
void PreparedRun::allocate_stacked(std::int64_t steps, const CompiledPlan& plan) {
  stacked_.resize(fetches.size());
  for (std::size_t i = 0; i < fetches.size(); ++i) {
    if (fetches[i].node().num_outputs() == 0) continue;
    const OutputType& type = plan.result_types()[i];
    Tensor& result = stacked_[i];
    const Shape shape = behind_axis(steps, type.shape);
    if (!result || !result.unique() || result.dtype() != type.dtype || result.shape() != shape)
      result = result_for(fetches[i], {type.dtype, shape});
  }
}

bool PreparedRun::has_room_for(std::int64_t steps, const CompiledPlan& plan) const {
  const std::size_t limit = session.options.memory_limit.total();
  const std::vector<std::size_t>& of_devices = session.device_limits;
  if (limit == 0 && std::ranges::all_of(of_devices, [](std::size_t most) { return most == 0; }))
    return true;
  std::size_t bytes = 0;  // of all steps, where the device has them and once more on the host
  for (std::size_t i = 0; i < slices_.size(); ++i)
    if (varies_[i]) bytes += slices_[i].bytes() + Tensor::kAlignment;
  for (const OutputType& type : plan.result_types())
    bytes += size_of(type.dtype) * static_cast<std::size_t>(type.shape.num_elements()) +
             Tensor::kAlignment;
  bytes = checked_mul(bytes, static_cast<std::size_t>(steps));
  if (limit > 0 &&
      checked_add(memory_use(plan).total(), checked_mul(bytes, std::size_t{2})) > limit)
    return false;
  const std::vector<std::size_t> used = plan.bytes_by_device();
  for (std::size_t d = 0; d < used.size(); ++d)
    if (of_devices[d] > 0 && used[d] > 0 && checked_add(used[d], bytes) > of_devices[d])
      return false;
  return true;
}

const std::vector<Tensor>& PreparedRun::run_steps(std::int64_t steps, const Tensor* values,
                                                  std::size_t count) {
  const auto start = Clock::now();
  // What is fed as it is stays the caller's alone after the call.
  struct Release {
    std::vector<Tensor>& slices;
    const std::vector<bool>& varies;
    ~Release() {
      for (std::size_t i = 0; i < slices.size(); ++i)
        if (!varies[i]) slices[i] = Tensor();
    }
  } const release{slices_, varies_};
  take_slices(steps, values, count);
  CompiledPlan& plan = plan_for(slices_.data(), count);
  allocate_stacked(steps, plan);
  bool as_one = plan.can_run_steps() && !session.options.node_times && has_room_for(steps, plan);
  for (std::size_t i = 0; i < count; ++i) as_one = as_one && !(is_static_[i] && varies_[i]);
  if (!as_one) {
    for (std::int64_t step = 0; step < steps; ++step) {
      fill_slices(step, values);
      keep_results(steps, step, run(slices_.data(), count));
    }
    return stacked_;
  }
  initialize_for(plan);
  RunStats& stats = session.stats;
  stats.nodes.clear();
  stats.start = start;
  stats.feed_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::exception_ptr error;
  const std::int64_t made =
      plan.run_steps(steps, values, varies_, stacked_,
                     {.seed = session.options.seed, .step = session.step}, error);
  stats.step = session.step + std::max<std::int64_t>(made - 1, 0);
  stats.nodes_run = plan.plan().steps.size() * static_cast<std::size_t>(made);
  stats.memory = memory_use(plan);
  session.step += made;
  stats.total_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (error) std::rethrow_exception(error);
  return stacked_;
}

void PreparedRun::keep_results(std::int64_t steps, std::int64_t step,
                               const std::vector<Tensor>& results) {
  for (std::size_t i = 0; i < fetches.size(); ++i) {
    if (fetches[i].node().num_outputs() == 0) continue;
    const std::size_t bytes = results[i].bytes();
    if (behind_axis(steps, results[i].shape()) != stacked_[i].shape())
      throw RunError(fmt::format("'{}' is {}{} in step {}, and another shape in the first",
                                 fetches[i].name(), results[i].dtype(), results[i].shape(), step),
                     where);
    if (bytes > 0)
      std::memcpy(
          static_cast<std::byte*>(stacked_[i].raw()) + static_cast<std::size_t>(step) * bytes,
          results[i].raw(), bytes);
  }
}

}  // namespace gradgraph
