#include "placement/placement.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/kernel_dtype.h"
#include "graph/slot.h"
#include "graph/static_inputs.h"
#include "graph/user_node.h"
#include "placement/cost_search.h"

namespace gradgraph {
namespace {

class Placer {
 public:
  Placer(Graph& graph, const PlacementOptions& options) : graph_(graph), options_(options) {}

  Placement run() {
    result_.device.assign(graph_.nodes().size(), kNone);
    result_.reason.assign(graph_.nodes().size(), PlacementReason::session);
    collect_updates();
    if (!options_.choices.empty()) search_devices();
    for (const Node& node : graph_.nodes()) decide(node);
    insert_copies();
    return std::move(result_);
  }

 private:
  struct Choice {
    int device;
    PlacementReason reason;
  };

  std::int32_t& device_of(const Node& node) { return result_.device[slot(node)]; }
  void settle(const Node& node, Choice choice) {
    device_of(node) = choice.device;
    result_.reason[slot(node)] = choice.reason;
  }
  const std::string& name_of(int device) const {
    return options_.devices[static_cast<std::size_t>(device)];
  }

  // --- Choosing ---

  /// A variable has one home for all runs of a session, so updates that this run leaves out
  /// count as well: they are looked up in the user's graph. Variables that one node updates share
  /// a home. Branches have none, and there may be thousands.
  void collect_updates() {
    const auto is_variable = [&](const Node& node) { return &node.op() == &variable_; };
    if (std::ranges::none_of(graph_.nodes(), is_variable)) return;
    std::vector<const Node*> updates;
    const auto collect = [&](const Graph& graph) {
      for (const Node& node : graph.nodes())
        if (node.op().traits.updates_variable) updates.push_back(&node);
    };
    collect(graph_);
    const auto copied = std::find_if(graph_.nodes().begin(), graph_.nodes().end(),
                                     [](const Node& node) { return node.origin() != nullptr; });
    if (copied != graph_.nodes().end()) collect(copied->origin()->graph());
    for (const Node* update : updates)
      for (int i = 1; i < update->num_outputs(); ++i)
        shares_home_with_[home_of(update->input(i).node())] = home_of(update->input(0).node());
    for (const Node* update : updates)
      updates_[home_of(update->input(0).node())].push_back(update);
  }
  /// One user's variable for all that share a home.
  const Node* home_of(const Node& variable) const {
    const Node* home = &user_node(variable);
    for (auto next = shares_home_with_.find(home);
         next != shares_home_with_.end() && next->second != home;
         next = shares_home_with_.find(home))
      home = next->second;
    return home;
  }

  // --- By cost ---

  /// Finds out where nodes go that ask for no device.
  void search_devices() {
    units_.of_node.assign(graph_.nodes().size(), kNone);
    for (const Node& node : graph_.nodes()) find_unit(node);
    UnitPlacement found = search_by_cost(graph_, units_, options_);
    cheapest_ = std::move(found.device);
    result_.estimate = std::move(found.estimate);
  }

  /// Nodes are of the unit of what they follow, variables that share a home of one.
  void find_unit(const Node& node) {
    const auto unit_of = [&](const Node& n) -> std::int32_t& { return units_.of_node[slot(n)]; };
    const Node* current = &node;
    while (unit_of(*current) == kNone && follows_input(*current) &&
           &current->input(0).node().op() != &constant_) {
      followers_.push_back(current);
      current = &current->input(0).node();
    }
    if (unit_of(*current) == kNone && &current->op() != &constant_ && !only_orders(*current))
      unit_of(*current) = unit_for(*current);
    for (; !followers_.empty(); followers_.pop_back())
      unit_of(*followers_.back()) = unit_of(*current);
  }

  std::int32_t unit_for(const Node& node) {
    const auto next = static_cast<std::int32_t>(units_.units.size());
    PlacementUnits::Unit limits = limits_of(node);
    if (&node.op() == &variable_) {
      const auto [known, is_new] = unit_of_home_.try_emplace(home_of(node), next);
      if (!is_new) {
        PlacementUnits::Unit& unit = units_.units[static_cast<std::size_t>(known->second)];
        if (unit.device == kNone) unit.device = limits.device;
        return known->second;
      }
    }
    units_.units.push_back(limits);
    return next;
  }

  PlacementUnits::Unit limits_of(const Node& node) {
    if (&node.op() == &placeholder_ || &node.op() == &fetch_) return {.device = kHost};
    const int requested = requested_device(node);
    if (requested != kNone && !obstacle(node, requested)) return {.device = requested};
    if (const int home = known_home(node); home != kNone) return {.device = home};
    PlacementUnits::Unit unit;
    for (std::size_t i = 0; i < options_.choices.size(); ++i)
      if (!obstacle(node, options_.choices[i])) unit.choices |= std::uint64_t{1} << i;
    if (unit.choices == 0) unit.device = choose(node).device;
    return unit;
  }
  /// Where a variable was before, if it can stay there.
  int known_home(const Node& node) const {
    if (&node.op() != &variable_ || !options_.home) return kNone;
    const int home = options_.home(user_node(node));
    return home != kNone && !obstacle(node, home) ? home : kNone;
  }
  static bool only_orders(const Node& node) {
    return node.op().traits.no_kernel && node.num_outputs() == 0;
  }

  /// By cost, where nodes go so.
  Choice preferred(const Node& node) const {
    const std::int32_t unit = cheapest_.empty() ? kNone : units_.of_node[slot(node)];
    if (unit == kNone) return {options_.default_device, PlacementReason::session};
    const int device = cheapest_[static_cast<std::size_t>(unit)];
    if (device == known_home(node)) return {device, PlacementReason::home};
    const auto& [fixed, choices] = units_.units[static_cast<std::size_t>(unit)];
    const bool had_choice = fixed == kNone && (choices & (choices - 1)) != 0;
    return {device, had_choice ? PlacementReason::cost : PlacementReason::only_kernel};
  }

  /// Decides about `node`, and first about the nodes whose place it shares.
  void decide(const Node& node) {
    const Node* current = &node;
    while (device_of(*current) == kNone && follows_input(*current)) {
      followers_.push_back(current);
      current = &current->input(0).node();
    }
    if (device_of(*current) == kNone && &current->op() != &constant_)
      settle(*current, choose(*current));
    for (; !followers_.empty(); followers_.pop_back()) {
      const Node& follower = *followers_.back();
      settle(follower, follow(follower));
    }
  }
  bool follows_input(const Node& node) const {
    const Traits& traits = node.op().traits;
    return traits.updates_variable ||
           (traits.alias && find_device(options_.devices, node.device()) == kNone);
  }

  Choice follow(const Node& node) {
    const Node& leader = node.input(0).node();
    const int requested = requested_device(node);
    // A constant has no place of its own: what follows it is placed like anything else.
    if (&leader.op() == &constant_) return choose(node);
    if (!node.op().traits.updates_variable)
      return {device_of(leader),
              node.device().empty() ? PlacementReason::beside_input : PlacementReason::fallback};
    if (!options_.soft && requested != kNone && requested != device_of(leader))
      fail(node, fmt::format("asks for '{}', but its variable '{}' is on '{}'", node.device(),
                             leader.name(), name_of(device_of(leader))));
    return {device_of(leader), PlacementReason::variable};
  }

  Choice choose(const Node& node) {
    if (&node.op() == &placeholder_ || &node.op() == &fetch_)
      return {kHost, PlacementReason::host_value};
    if (only_orders(node)) return {kHost, PlacementReason::order_only};

    const int requested = requested_device(node);
    const Choice usual = preferred(node);
    const int first = requested != kNone ? requested : usual.device;
    if (!obstacle(node, first))
      return {first, requested != kNone      ? PlacementReason::requested
                     : node.device().empty() ? usual.reason
                                             : PlacementReason::fallback};
    if (options_.soft) {
      if (!obstacle(node, usual.device)) return {usual.device, PlacementReason::fallback};
      for (int device = 0; device < static_cast<int>(options_.devices.size()); ++device)
        if (!obstacle(node, device)) return {device, PlacementReason::fallback};
    }
    const Node& blocked = *obstacle(node, first);
    const DType dtype = kernel_dtype(blocked);
    if (options_.soft)
      fail(blocked, fmt::format("no device has a {} kernel for it (there are: {})", dtype,
                                fmt::join(options_.devices, ", ")));
    fail(blocked,
         fmt::format(
             "device '{}' has no {} kernel for it{}", name_of(first), dtype,
             &blocked == &node ? "" : ", but its variable '" + node.name() + "' is there"));
  }

  /// The device that `node` asks for, kNone when it asks for none or for one that is not there.
  int requested_device(const Node& node) const {
    if (node.device().empty()) return kNone;
    const int device = find_device(options_.devices, node.device());
    if (device == kNone && !options_.soft)
      fail(node, fmt::format("there is no device '{}' (there are: {})", node.device(),
                             fmt::join(options_.devices, ", ")));
    return device;
  }

  /// The node that keeps `node` off `device` for want of a kernel: itself, or for a variable one
  /// of its updates. Null when there is none.
  const Node* obstacle(const Node& node, int device) const {
    const std::string_view kind = kind_of(name_of(device));
    if (!node.op().traits.no_kernel && !node.op().traits.alias)
      return options_.supports(node, kind) ? nullptr : &node;
    if (&node.op() != &variable_) return nullptr;
    const auto updates = updates_.find(home_of(node));
    if (updates == updates_.end()) return nullptr;
    const auto missing =
        std::find_if(updates->second.begin(), updates->second.end(),
                     [&](const Node* update) { return !options_.supports(*update, kind); });
    return missing == updates->second.end() ? nullptr : *missing;
  }

  [[noreturn]] static void fail(const Node& node, const std::string& message) {
    throw PlacementError(node_message(node.op().name, node.name(), message), node.where());
  }

  // --- Copies ---

  void insert_copies() {
    const ContextGuard guard(graph_);
    const int original = graph_.num_nodes();
    for (int id = 0; id < original; ++id) {
      Node& reader = graph_.nodes()[static_cast<std::size_t>(id)];
      const Traits& traits = reader.op().traits;
      if (traits.shape_only) continue;
      moved_for_reader_.clear();
      for (int i = 0; i < reader.num_inputs(); ++i) {
        if (is_static_input(traits, i)) continue;
        const Output value = reader.input(i);
        const Output local = on_device(value, device_of(reader), reader);
        if (!(local == value)) graph_.set_input(reader, i, local);
      }
    }
    for (int id = 0; id < original; ++id) {
      const Node& node = graph_.nodes()[static_cast<std::size_t>(id)];
      if (device_of(node) == kNone) settle(node, {kHost, PlacementReason::host_value});
    }
  }

  /// `value` as `reader` can read it on `device`.
  Output on_device(Output value, int device, const Node& reader) {
    Node& source = value.node();
    const bool is_constant = &source.op() == &constant_;
    if (is_constant && device_of(source) == kNone)
      settle(source, {device, PlacementReason::beside_reader});
    if (device_of(source) == device) return value;

    const bool at_its_time = &source.op() == &variable_ && follows_update(reader);
    const auto key = static_cast<std::uint64_t>(source.id()) << 32 |
                     static_cast<std::uint64_t>(value.index()) << 8 |
                     static_cast<std::uint64_t>(device);
    auto& moved_before = at_its_time ? moved_for_reader_ : moved_;
    if (const auto known = moved_before.find(key); known != moved_before.end())
      return known->second;

    Output from = value;
    if (!is_constant && device != kHost && device_of(source) != kHost &&
        kind_of(name_of(device)) != kind_of(name_of(device_of(source))))
      from = on_device(value, kHost, reader);
    BuildContext& context = graph_.context();
    context.origin = &user_node(source);
    context.where = source.where();
    context.phase = source.phase();
    context.control_inputs.clear();
    if (at_its_time) {
      context.control_inputs.assign(reader.control_inputs().begin(),
                                    reader.control_inputs().end());
      for (const Output& other : reader.inputs()) context.control_inputs.push_back(&other.node());
    }
    const std::string name = fmt::format("{}@{}", value.name(), name_of(device));
    Node& moved = is_constant ? graph_.add(constant_, {}, source.attributes(), {}, name)
                              : graph_.add(copy_, {from}, {}, {}, name);
    result_.device.push_back(device);
    result_.reason.push_back(is_constant ? PlacementReason::beside_reader
                                         : PlacementReason::copy);
    moved_before.emplace(key, moved.output());
    return moved.output();
  }

  /// Whether `node` depends on an update of some variable. Graphs get deep, so no recursion.
  bool follows_update(const Node& node) {
    after_update_.resize(graph_.nodes().size(), Answer::unknown);
    std::vector<const Node*> stack{&node};
    while (!stack.empty()) {
      const Node& current = *stack.back();
      const std::size_t pending = stack.size();
      bool follows = false;
      const auto visit = [&](const Node& before) {
        const Answer answer = answer_for(before);
        follows |= before.op().traits.updates_variable || answer == Answer::yes;
        if (answer == Answer::unknown) stack.push_back(&before);
      };
      for (const Output& input : current.inputs()) visit(input.node());
      for (const Node* before : current.control_inputs()) visit(*before);
      if (!follows && stack.size() > pending) continue;
      stack.resize(pending - 1);
      answer_for(current) = follows ? Answer::yes : Answer::no;
    }
    return answer_for(node) == Answer::yes;
  }

  enum class Answer : std::uint8_t { unknown, no, yes };
  Answer& answer_for(const Node& node) { return after_update_[slot(node)]; }

  const OpDef& placeholder_ = op_registry().at("placeholder");
  const OpDef& constant_ = op_registry().at("constant");
  const OpDef& variable_ = op_registry().at("variable");
  const OpDef& fetch_ = op_registry().at("fetch");
  const OpDef& copy_ = op_registry().at("copy");

  Graph& graph_;
  const PlacementOptions& options_;
  Placement result_;
  PlacementUnits units_;                // where nodes go by cost
  std::vector<std::int32_t> cheapest_;  // by unit
  std::unordered_map<const Node*, std::int32_t> unit_of_home_;
  std::unordered_map<const Node*, const Node*> shares_home_with_;
  std::unordered_map<const Node*, std::vector<const Node*>> updates_;  // by home_of the variable
  std::vector<const Node*> followers_;
  std::unordered_map<std::uint64_t, Output> moved_;  // by value and device
  std::unordered_map<std::uint64_t, Output> moved_for_reader_;
  std::vector<Answer> after_update_;  // by node id
};

std::string reason_in_words(const Node& node, PlacementReason reason,
                            const PlacementOptions& options) {
  switch (reason) {
    case PlacementReason::requested: return "asked for";
    case PlacementReason::session: return "the session's device";
    case PlacementReason::cost: return "by cost";
    case PlacementReason::only_kernel: return "has the only kernel for it";
    case PlacementReason::home: return "where the session has it";
    case PlacementReason::variable:
      return fmt::format("updates '{}'", node.input(0).node().name());
    case PlacementReason::beside_input:
      return fmt::format("beside '{}'", node.input(0).node().name());
    case PlacementReason::fallback:
      if (!node.device().empty() && find_device(options.devices, node.device()) == kNone)
        return fmt::format("fallback: there is no '{}'", node.device());
      return fmt::format("fallback: no {} kernel on {}", kernel_dtype(node),
                         node.device().empty()
                             ? options.devices[static_cast<std::size_t>(options.default_device)]
                             : node.device());
    case PlacementReason::host_value:
      return &node.op() == &op_registry().at("constant") ? "read while planning"
                                                         : "fed or fetched on the host";
    case PlacementReason::order_only: return "only runs after others";
    case PlacementReason::beside_reader: return "constant, beside its readers";
    case PlacementReason::copy: return fmt::format("brings '{}'", node.input(0).name());
  }
  __builtin_unreachable();
}

std::string microseconds(double seconds) { return fmt::format("{:.1f} us", seconds * 1e6); }

/// What is said of all nodes together where they are placed by cost.
std::string in_words(const CostEstimate& estimate, const std::vector<std::string>& devices) {
  std::string text =
      fmt::format("estimated: {} a step as placed", microseconds(estimate.seconds));
  for (const auto& [device, seconds] : estimate.alone)
    text += fmt::format(", {} on {} alone", microseconds(seconds),
                        devices[static_cast<std::size_t>(device)]);
  return text + '\n';
}

/// Ids in the order of the data: what placement added stands before its first reader.
std::vector<int> reading_order(const Graph& graph) {
  std::vector<int> order;
  std::vector<bool> listed(graph.nodes().size(), false);
  std::vector<const Node*> pending;
  for (const Node& root : graph.nodes()) {
    pending.push_back(&root);
    while (!pending.empty()) {
      const Node& node = *pending.back();
      const std::size_t before = pending.size();
      for (int i = node.num_inputs() - 1; i >= 0; --i) {
        const Node& input = node.input(i).node();
        if (input.id() > node.id() && !listed[slot(input)]) pending.push_back(&input);
      }
      if (pending.size() > before) continue;
      pending.pop_back();
      if (listed[slot(node)]) continue;
      listed[slot(node)] = true;
      order.push_back(node.id());
    }
  }
  return order;
}

}  // namespace

int find_device(const std::vector<std::string>& devices, std::string_view name) {
  const std::string first = std::string(name) + ":0";
  for (const std::string_view candidate : {name, std::string_view(first)})
    if (const auto found = std::find(devices.begin(), devices.end(), candidate);
        found != devices.end())
      return static_cast<int>(found - devices.begin());
  return kNone;
}

Placement place(Graph& graph, const PlacementOptions& options) {
  return Placer(graph, options).run();
}

void verify(const Graph& graph, const Placement& placement, const PlacementOptions& options) {
  const auto fail = [](const Node& node, const std::string& fault) {
    throw PlacementError(node_message(node.op().name, node.name(), "verify: " + fault),
                         node.where());
  };
  const auto device_of = [&](const Node& node) { return placement.device[slot(node)]; };
  if (placement.device.size() != graph.nodes().size())
    throw PlacementError("verify: the placement is of another graph");
  for (const Node& node : graph.nodes()) {
    if (device_of(node) < 0 || device_of(node) >= static_cast<int>(options.devices.size()))
      fail(node, "has no device");
    const Traits& traits = node.op().traits;
    if (traits.shape_only || node.op().name == "copy") continue;
    for (int i = 0; i < node.num_inputs(); ++i) {
      if (!is_static_input(traits, i) && device_of(node.input(i).node()) != device_of(node))
        fail(node, fmt::format("input {}, '{}', is on another device", i, node.input(i).name()));
    }
  }
}

std::string explain(const Graph& graph, const Placement& placement,
                    const PlacementOptions& options) {
  constexpr std::size_t kWidest = 48;
  std::size_t name_width = 4, op_width = 2, device_width = 6;
  for (const Node& node : graph.nodes()) {
    name_width = std::max(name_width, std::min(node.name().size(), kWidest));
    op_width = std::max(op_width, std::min(node.op().name.size(), kWidest));
  }
  for (const std::string& device : options.devices)
    device_width = std::max(device_width, device.size());

  const auto row = [&](std::string_view name, std::string_view op, std::string_view device,
                       std::string_view why) {
    return fmt::format("{:<{}}  {:<{}}  {:<{}}  {}\n", name, name_width, op, op_width, device,
                       device_width, why);
  };
  std::string text = row("node", "op", "device", "why");
  for (const int id : reading_order(graph)) {
    const auto at = static_cast<std::size_t>(id);
    const Node& node = graph.nodes()[at];
    std::string why = reason_in_words(node, placement.reason[at], options);
    if (placement.reason[at] == PlacementReason::cost) {
      const CostEstimate::OfNode& it = placement.estimate.nodes[at];
      why += fmt::format(": {} here, {} on {}", microseconds(it.here), microseconds(it.elsewhere),
                         options.devices[static_cast<std::size_t>(it.other)]);
    }
    text += row(node.name(), node.op().name,
                options.devices[static_cast<std::size_t>(placement.device[at])], why);
  }
  if (!placement.estimate.alone.empty()) text += in_words(placement.estimate, options.devices);
  return text;
}

}  // namespace gradgraph
