#include "session/memory_report.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/text.h"
#include "gradgraph/op.h"
#include "plan/peak.h"

namespace gradgraph {
namespace {

constexpr std::size_t kListed = 10;

struct Item {
  std::size_t bytes;
  const char* kind;
  const Node* node;
  int index;
};

/// What the user calls the node's op.
const std::string& op_of(const Node& node) {
  return (node.origin() ? *node.origin() : node).op().name;
}

std::string line(const Item& item) {
  const Node& node = *item.node;
  const std::string_view op = op_of(node);
  std::string text = fmt::format("\n  {:>8}  {}{} '{}'", readable_bytes(item.bytes), item.kind,
                                 op == item.kind ? "" : fmt::format(" [{}]", op),
                                 Output(const_cast<Node&>(node), item.index).name());
  if (item.index < node.num_outputs())
    text += fmt::format(" {}{}", node.dtype(item.index), node.shape(item.index));
  return node.where().known() ? text + fmt::format("  ({})", to_string(node.where())) : text;
}

}  // namespace

std::string readable_bytes(std::size_t bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < std::size(units); ++unit) value /= 1000;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.3g} {}", value, units[unit]);
}

std::string describe(const MemoryUse& use, const Plan& plan) {
  // Of several devices the one whose arena is largest tells most.
  const auto largest = std::ranges::max_element(plan.arena_bytes);
  const auto device = static_cast<std::int32_t>(largest - plan.arena_bytes.begin());
  const Peak peak = find_peak(plan, device);

  std::vector<Item> items;
  const auto add = [&](const PlannedValue& value, const char* kind) {
    items.push_back({value.bytes, kind, value.node, value.index});
  };
  for (const std::int32_t value : peak.values)
    add(plan.values[static_cast<std::size_t>(value)], "value");
  for (const PlannedValue& value : plan.values) {
    if (value.storage == Storage::variable) add(value, "variable");
    if (value.storage == Storage::constant) add(value, "constant");
  }
  std::string text = fmt::format(
      "{} at its peak (intermediate values {}, variables {}, constants {}, results {}{})",
      readable_bytes(use.total()), readable_bytes(use.arena), readable_bytes(use.variables),
      readable_bytes(use.constants), readable_bytes(use.results),
      use.staging > 0 ? ", staging " + readable_bytes(use.staging) : "");
  if (peak.step >= 0) {
    const PlannedStep& step = plan.steps[static_cast<std::size_t>(peak.step)];
    if (step.workspace_bytes > 0)
      items.push_back({step.workspace_bytes, "work memory of", step.node, 0});
    text += fmt::format(", while '{}' runs", step.node->name());
  }
  std::ranges::stable_sort(items, std::greater{}, &Item::bytes);
  if (items.size() > kListed) items.resize(kListed);
  text += items.empty() ? "" : "; the largest tensors then:";
  for (const Item& item : items) text += line(item);
  return text;
}

std::string describe_devices(const std::vector<std::size_t>& bytes,
                             const std::vector<std::string>& names) {
  std::vector<std::string> parts;
  for (std::size_t d = 0; d < bytes.size(); ++d)
    if (bytes[d] > 0)
      parts.push_back(fmt::format("on '{}' {}", names[d], readable_bytes(bytes[d])));
  return parts.size() < 2 ? "" : fmt::format("; {}", fmt::join(parts, ", "));
}

std::string available(const Device& device) {
  const Device::Memory memory = device.memory();
  if (memory.total == 0) return "";
  return fmt::format("; of its {}, {} are free", readable_bytes(memory.total),
                     readable_bytes(memory.free));
}

void fail_without_arena(const Device& on, const MemoryUse& use, const Plan& plan,
                        std::int32_t device) {
  const Peak peak = find_peak(plan, device);
  const Node* largest = plan.steps[static_cast<std::size_t>(peak.step)].node;
  int index = 0;
  std::size_t bytes = plan.steps[static_cast<std::size_t>(peak.step)].workspace_bytes;
  for (const std::int32_t v : peak.values) {
    const PlannedValue& value = plan.values[static_cast<std::size_t>(v)];
    if (value.bytes < bytes) continue;
    largest = value.node;
    index = value.index;
    bytes = value.bytes;
  }
  const std::string type =
      index < largest->num_outputs()
          ? fmt::format(" for {}{}", largest->dtype(index), largest->shape(index))
          : "";
  throw RunError(
      node_message(
          op_of(*largest), largest->name(),
          fmt::format("there is no memory on '{}'{}{}; this run needs {}\n'{}' was made at",
                      on.name(), type, available(on), describe(use, plan), largest->name())),
      largest->where());
}

}  // namespace gradgraph
