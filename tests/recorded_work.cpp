#include "recorded_work.h"

#include <algorithm>
#include <map>

#include "core/text.h"
#include "gradgraph/op.h"
#include "plan/order.h"

namespace gradgraph::tests {
namespace {

MemoryRange range(const void* address, std::size_t bytes, bool writes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  return {begin, begin + bytes, writes};
}

std::size_t bytes_of(const Output& value) {
  return static_cast<std::size_t>(value.shape().num_elements()) * size_of(value.dtype());
}

}  // namespace

WorkItem WorkRecord::of(const Stream& stream, const Launch& launch) {
  WorkItem item{.kind = WorkItem::Kind::launch, .stream = &stream, .what = launch.node->name()};
  const Node& node = *launch.node;
  const KernelArgs& args = launch.args;
  for (std::size_t i = 0; i < args.inputs.size(); ++i)
    if (args.inputs[i])
      item.ranges.push_back(
          range(args.inputs[i], bytes_of(node.input(static_cast<int>(i))), false));
  for (std::size_t i = 0; i < args.outputs.size(); ++i)
    item.ranges.push_back(range(
        args.outputs[i], bytes_of(Output(const_cast<Node&>(node), static_cast<int>(i))), true));
  if (launch.kernel->workspace_bytes > 0)
    item.ranges.push_back(range(args.workspace, launch.kernel->workspace_bytes, true));
  if (args.run) item.ranges.push_back(range(args.run, sizeof(RunInfo), false));
  return item;
}

std::string find_race(const std::vector<WorkItem>& items, std::size_t without) {
  // A clock holds, for each stream, one more than the last of its items that is known to be done.
  using Clock = std::map<const Stream*, std::size_t>;
  const auto learn = [](Clock& clock, const Clock& other) {
    for (const auto& [stream, item] : other) clock[stream] = std::max(clock[stream], item);
  };
  Clock host;
  std::map<const Stream*, Clock> streams;
  std::map<const Event*, Clock> events;
  std::vector<std::size_t> work;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i == without) continue;
    const WorkItem& item = items[i];
    if (item.kind == WorkItem::Kind::host_waits) {
      learn(host, item.event ? events[item.event] : streams[item.stream]);
      continue;
    }
    Clock& mine = streams[item.stream];
    learn(mine, host);
    if (item.kind == WorkItem::Kind::record) {
      events[item.event] = mine;
    } else if (item.kind == WorkItem::Kind::wait) {
      learn(mine, events[item.event]);
    } else {
      for (const std::size_t other : work)
        for (const MemoryRange& a : items[other].ranges)
          for (const MemoryRange& b : item.ranges)
            if ((a.writes || b.writes) && a.begin < b.end && b.begin < a.end &&
                mine[items[other].stream] <= other)
              return fmt::format("'{}' and '{}' touch the same memory", items[other].what,
                                 item.what);
      work.push_back(i);
      mine[item.stream] = i + 1;
    }
  }
  for (const std::size_t i : work)
    if (host[items[i].stream] <= i) return fmt::format("'{}' may still run", items[i].what);
  return {};
}

}  // namespace gradgraph::tests
