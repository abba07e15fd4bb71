// How a CompiledPlan runs when its values are looked at as they are made.
#include <algorithm>
#include <vector>

#include "core/index.h"
#include "graph/user_node.h"
#include "session/compiled_plan.h"

namespace gradgraph {
namespace {

/// What lies elsewhere comes to the host in pieces of so many bytes.
constexpr std::size_t kPiece = std::size_t{4} << 20U;

}  // namespace

/// One thing after the other, on all devices, so that what stops the run is the first in order.
void CompiledPlan::execute_checked(std::vector<Tensor>& results, const Command*& current) {
  std::vector<DeviceBuffer> pieces(plan_.is_host.size());  // by device
  const auto read = [&](const PlannedValue& value, const void* address,
                        const NumericsCheck::Take& take) {
    const std::size_t device = at(value.device);
    if (plan_.is_host[device]) return read_on_host(value, address, take);
    if (!pieces[device].get())
      pieces[device] = DeviceBuffer(memory_.device(device), kPiece, /*is_staging=*/true);
    Stream& own = stream(device);
    for (std::size_t begin = 0; begin < value.bytes; begin += kPiece) {
      const std::size_t bytes = std::min(kPiece, value.bytes - begin);
      own.copy(pieces[device].get(), static_cast<const std::byte*>(address) + begin, bytes,
               CopyKind::to_host);
      own.synchronize();
      take(pieces[device].get(), bytes);
    }
  };
  const auto has_value = [&](const PlannedValue& value) {
    return value.storage != Storage::variable ||
           memory_.variable(user_node(*value.node)).initialized;
  };
  numerics_->begin(info_.step, addresses_.data(), read, has_value);
  numerics_->require_sources();
  for (const Command& command : commands_) {
    execute(*(current = &command), results);
    const bool launches =
        command.kind == CommandKind::call || command.kind == CommandKind::launch;
    if (!launches && command.kind != CommandKind::copy) continue;
    command.stream->synchronize();
    command.stream->check();
    const PlannedStep& step =
        plan_.steps[at(launches ? launched_step_[at(command.index)] : command.index)];
    if (launches)
      numerics_->check(step, addresses_.data() + step.first_value, read);
    else
      numerics_->check_copy(step);
  }
}

}  // namespace gradgraph
