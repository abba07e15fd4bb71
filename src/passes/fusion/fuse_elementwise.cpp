#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <span>
#include <string>

#include "core/index.h"
#include "core/text.h"
#include "graph/may_fail.h"
#include "graph/program.h"
#include "graph/slot.h"
#include "passes/attempt.h"
#include "passes/rewriting/known_op.h"
#include "passes/whole_graph_pass.h"

/// Makes one node of elementwise ops that only feed each other:
///
///     x ── mul ── add ── relu ── ...          x ─┐
///           │      │              becomes     y ─┤ fused(mul, add, relu) ── ...
///           y      b                          b ─┘
///
/// and one of all updates of variables of one shape, together with what only they need, where the
/// device is quicker so.
namespace gradgraph {
namespace {

constexpr std::size_t kMaxInstructions = 256;
/// Of many updates, for each.
constexpr std::size_t kMaxOfUpdate = 8;
constexpr std::int32_t kNone = -1;

/// Nodes that become one. Only the last one, or all the updates, are seen from outside.
struct Group {
  Node* head = nullptr;               ///< the first of `nodes`
  std::size_t size = 0;               ///< of `nodes`, while these are gathered
  std::span<Node* const> nodes = {};  ///< readers first
  std::vector<Node*> updates = {};    ///< the part of `nodes` that updates variables
};

/// Which register of the program that is being written holds a value.
class Registers {
 public:
  explicit Registers(const Graph& graph) : graph_(graph) {}

  /// For the next program: no value has a register.
  void clear() { ++program_; }
  /// Null where the value has none.
  std::int32_t* find(const Output& value) {
    Entry& entry = entry_of(value);
    return entry.program == program_ ? &entry.index : nullptr;
  }
  std::int32_t at(const Output& value) { return *find(value); }
  void set(const Output& value, std::int32_t index) { entry_of(value) = {program_, index}; }

 private:
  struct Entry {
    std::int32_t program = -1;
    std::int32_t index = 0;
  };
  Entry& entry_of(const Output& value) {
    // Rewriting adds nodes.
    for (std::size_t id = first_.size(); id < graph_.nodes().size(); ++id) {
      first_.push_back(entries_.size());
      entries_.resize(entries_.size() +
                      static_cast<std::size_t>(graph_.nodes()[id].num_outputs()));
    }
    return entries_[first_[slot(value)] + static_cast<std::size_t>(value.index())];
  }

  const Graph& graph_;
  std::vector<std::size_t> first_;  ///< by node id: where its outputs begin in `entries_`
  std::vector<Entry> entries_;      ///< by output
  std::int32_t program_ = 0;
};

class Fusion : public WholeGraphPass {
 public:
  Fusion(Graph& graph, const PassContext& context, RewriteLog& log)
      : WholeGraphPass(graph, context, log),
        registers_(graph),
        group_of_(graph.nodes().size(), kNone) {}

  void run() {
    gather_updates();
    const auto& order = topology_.order();
    for (auto node = order.rbegin(); node != order.rend(); ++node)
      if (is_candidate(**node)) join(**node);
    lay_out_groups();
    // A group begins with its last node, so later groups feed earlier ones.
    for (auto group = groups_.rbegin(); group != groups_.rend(); ++group)
      if (!group->updates.empty())
        rewrite_updates(*group);
      else if (group->nodes.size() > 1 && !log_.is_spent())
        rewrite(*group);
  }

 private:
  /// Nodes that depend on an update stay alone: a variable that they read, or that a node
  /// before them reads, may have another value by then.
  bool is_candidate(const Node& node) const {
    return context_.fuses(node) && !is_late(node) && !may_fail(node) &&
           !topology_.is_awaited(node);
  }

  std::int32_t group_of(const Node& node) const {
    return slot(node) < group_of_.size() ? group_of_[slot(node)] : kNone;
  }

  /// Updates that nothing but groups of ops wait for can run together: no path leads from one
  /// of them back to another.
  void gather_updates() {
    std::map<std::string, std::int32_t> group_at;
    std::set<const Node*> updated;
    for (Node* node : topology_.order()) {
      if (!is_joinable_update(*node)) continue;
      const Node& variable = node->input(0).node();
      if (!updated.insert(&variable).second) continue;
      const std::string key = fmt::format("{} {} {} {}", node->shape(), node->dtype(),
                                          node->device(), variable.device());
      const auto [known, is_new] =
          group_at.try_emplace(key, static_cast<std::int32_t>(groups_.size()));
      if (is_new) groups_.emplace_back();
      groups_[at(known->second)].updates.push_back(node);
      group_of_[slot(*node)] = known->second;
    }
    for (Group& group : groups_) {
      group.head = group.updates.back();
      group.size = group.updates.size();
      members_.insert(members_.end(), group.updates.rbegin(), group.updates.rend());
    }
  }

  /// Gives each group its nodes, in the order in which they joined it.
  void lay_out_groups() {
    ordered_.resize(members_.size());
    std::vector<std::size_t> next;
    next.reserve(groups_.size());
    std::size_t begin = 0;
    for (Group& group : groups_) {
      next.push_back(begin);
      group.nodes = std::span(ordered_).subspan(begin, group.size);
      begin += group.size;
    }
    for (Node* node : members_) ordered_[next[at(group_of(*node))]++] = node;
  }

  bool is_joinable_update(const Node& node) const {
    const Traits& traits = node.op().traits;
    if (!traits.updates_variable || traits.fused || is_late(node) ||
        !node.control_inputs().empty() || !has_exactly(node.attributes(), {}) ||
        node.input(1).shape() != node.shape() || !context_.has_kernel(node, "fused_update"))
      return false;
    // A value that is there already is copied, and may be a variable that another update changes.
    if (!traits.update_op && !is_candidate(node.input(1).node())) return false;
    return std::ranges::all_of(topology_.readers(node), [&](const auto& reader) {
      return reader.index < 0 && only_orders(*reader.node);
    });
  }

  /// A node that does nothing and that only such nodes wait for.
  bool only_orders(const Node& node) const {
    return node.op().traits.no_kernel && node.num_outputs() == 0 &&
           std::ranges::all_of(topology_.readers(node),
                               [&](const auto& reader) { return only_orders(*reader.node); });
  }

  /// Puts the node into its readers' group where they are all in one, else begins a new one.
  void join(Node& node) {
    const auto readers = topology_.readers(node);
    std::int32_t group = readers.empty() ? kNone : group_of(*readers.front().node);
    for (const auto& reader : readers)
      if (group_of(*reader.node) != group) group = kNone;
    if (group != kNone) {
      const Group& joined = groups_[at(group)];
      if (joined.head->shape() != node.shape() || joined.head->device() != node.device() ||
          joined.size >= std::max(kMaxInstructions, kMaxOfUpdate * joined.updates.size()))
        group = kNone;
    }
    if (group == kNone) {
      group = static_cast<std::int32_t>(groups_.size());
      groups_.push_back({.head = &node});
    }
    ++groups_[at(group)].size;
    members_.push_back(&node);
    group_of_[slot(node)] = group;
  }

  static std::string describe(const Group& group) {
    std::string ops;
    for (auto node = group.nodes.rbegin(); node != group.nodes.rend(); ++node)
      ops += (ops.empty() ? "" : ", ") + (*node)->op().name;
    return fmt::format("'{}' = {}", group.nodes.front()->name(), ops);
  }

  using Nodes = std::vector<Node*>;

  /// The nodes of each variable, or of several that share some, in the order of `nodes`.
  std::vector<Nodes> find_parts(std::span<Node* const> nodes) const {
    std::map<const Node*, std::size_t> place;
    for (const Node* node : nodes) place.emplace(node, place.size());
    std::vector<std::size_t> joined(nodes.size());  // to whom, or oneself
    std::iota(joined.begin(), joined.end(), std::size_t{0});
    const auto leader = [&](std::size_t i) {
      while (joined[i] != i) i = joined[i] = joined[joined[i]];
      return i;
    };
    for (std::size_t i = 0; i < nodes.size(); ++i)
      for (const Output& input : nodes[i]->inputs())
        if (const auto known = place.find(&input.node()); known != place.end())
          joined[leader(known->second)] = leader(i);
    std::vector<Nodes> of_leaders(nodes.size()), parts;
    for (std::size_t i = 0; i < nodes.size(); ++i) of_leaders[leader(i)].push_back(nodes[i]);
    for (std::size_t i = 0; i < nodes.size(); ++i)
      if (leader(i) == i) parts.push_back(std::move(of_leaders[i]));
    return parts;
  }

  void rewrite_updates(const Group& group) {
    std::vector<Nodes> parts = find_parts(group.nodes);
    const Node& first = *group.updates.front();
    const std::size_t most =
        first.shape().num_elements() > context_.most_merged(first) ? 0 : kMaxInstructions;
    for (std::size_t begin = 0, end = 0; begin < parts.size(); begin = end) {
      std::size_t count = parts[begin].size();
      for (end = begin + 1; end < parts.size() && count + parts[end].size() <= most; ++end)
        count += parts[end].size();
      rewrite_parts(std::span(parts).subspan(begin, end - begin));
    }
  }

  /// As one node, or where a device declines so much, each half of them.
  void rewrite_parts(std::span<const Nodes> parts) {
    Nodes nodes;
    for (const Nodes& part : parts) nodes.insert(nodes.end(), part.begin(), part.end());
    if (nodes.size() < 2 || log_.is_spent()) return;
    Group group{.head = nodes.front(), .size = nodes.size(), .nodes = nodes};
    std::copy_if(nodes.rbegin(), nodes.rend(), std::back_inserter(group.updates),
                 [](const Node* node) { return node->op().traits.updates_variable; });
    if (rewrite(group) || parts.size() < 2) return;
    rewrite_parts(parts.first(parts.size() / 2));
    rewrite_parts(parts.subspan(parts.size() / 2));
  }

  /// Returns whether the devices take it.
  bool rewrite(const Group& group) {
    ElementwiseProgram program;
    program.shape = group.nodes.front()->shape();
    std::vector<Output> inputs;
    registers_.clear();
    const auto add_input = [&](const Output& value) {
      if (registers_.find(value)) return;
      registers_.set(value, static_cast<std::int32_t>(inputs.size()));
      inputs.push_back(value);
      program.input_dtypes.push_back(value.dtype());
    };
    // Variables first, in the order of the results.
    for (const Node* update : group.updates) add_input(update->input(0));
    const std::int32_t own = group_of(*group.nodes.front());
    for (const Node* node : group.nodes)
      for (const Output& input : node->inputs())
        if (group_of(input.node()) != own) add_input(input);

    for (auto node = group.nodes.rbegin(); node != group.nodes.rend(); ++node)
      add_instruction(program, **node);
    if (group.updates.empty()) program.results.push_back(registers_.at(group.head->output()));
    for (Node* update : group.updates) program.results.push_back(registers_.at(update->output()));
    return replace(group, std::move(program), std::move(inputs));
  }

  void add_instruction(ElementwiseProgram& program, Node& node) {
    const Traits& traits = node.op().traits;
    if (traits.updates_variable && !traits.update_op) {
      registers_.set(node.output(), registers_.at(node.input(1)));
      return;
    }
    ElementwiseProgram::Instruction instruction;
    instruction.op = traits.update_op ? &op_registry().at(traits.update_op) : &node.op();
    instruction.dtype = node.dtype();
    if (!traits.update_op) instruction.attributes = node.attributes();
    for (const Output& input : node.inputs())
      instruction.operands[at(instruction.num_operands++)] = registers_.at(input);
    registers_.set(node.output(),
                   program.num_inputs() + static_cast<std::int32_t>(program.instructions.size()));
    program.instructions.push_back(instruction);
  }

  bool replace(const Group& group, ElementwiseProgram program, std::vector<Output> inputs) {
    const bool updates = !group.updates.empty();
    Node& head = *group.nodes.front();
    Attempt attempt(graph_, context_);
    Node& fused = graph_.add_in_place_of(
        head, op_registry().at(updates ? "fused_update" : "fused"), std::move(inputs),
        {{"program", std::make_shared<const ElementwiseProgram>(std::move(program))}});
    if (!attempt.is_taken()) return false;
    if (!log_.admit([&] { return describe(group); })) return true;
    attempt.keep();
    const std::vector<Node*> seen = updates ? group.updates : std::vector<Node*>{&head};
    for (const Node* node : seen) replace_readers(graph_, topology_, *node, fused.output());
    return true;
  }

  Registers registers_;
  std::vector<std::int32_t> group_of_;  ///< by node id
  std::vector<Group> groups_;
  std::vector<Node*> members_;  ///< of all groups, as they joined
  std::vector<Node*> ordered_;  ///< the same by group
};

}  // namespace

void fuse_elementwise(Graph& graph, const PassContext& context, RewriteLog& log) {
  Fusion(graph, context, log).run();
}

}  // namespace gradgraph
