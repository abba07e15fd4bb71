#include "plan/order.h"

#include <algorithm>
#include <iterator>
#include <queue>
#include <span>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/slot.h"

namespace gradgraph {

Node* variable_behind(Output output) {
  while (output.node().op().traits.updates_variable) output = output.node().input(output.index());
  const Traits& traits = output.node().op().traits;
  return traits.stateful && traits.no_kernel && output.node().num_outputs() == 1 ? &output.node()
                                                                                 : nullptr;
}

int num_updates(const Node& node) {
  return node.op().traits.updates_variable ? node.num_outputs() : 0;
}

bool is_fetch(const Node& node) {
  return node.op().traits.moves_value && node.num_outputs() == 0;
}

namespace {

/// All that one run does with one variable.
struct VariableUse {
  std::vector<Node*> updates;
  std::vector<Node*> readers;  ///< of the variable or of an update's output
};

class Orderer {
 public:
  Orderer(Graph& graph, Placement& placement, const std::vector<Node*>& fetches,
          const std::vector<bool>& is_host)
      : graph_(graph), placement_(placement), is_host_(is_host) {
    mark_needed(fetches);
    find_variable_uses();
    link();
    if (!uses_.empty()) find_positions();
    for (auto& [variable, use] : uses_) constrain(*variable, use);
  }

  Order run() {
    std::vector<Node*> late;
    for (Node* node : needed_)
      if (pending_[slot(*node)] == 0) push(*node);
    while (order_.size() + late.size() < needed_.size() + snapshots_) {
      if (ready_.empty()) break_cycle();
      Node& node = *ready_.top().node;
      ready_.pop();
      done_[slot(node)] = true;
      (is_late(node) ? late : order_).push_back(&node);
      for (Node* next : successors(node)) release(*next);
      const auto anti = overwriters_.find(&node);
      if (anti == overwriters_.end()) continue;
      for (const Overwrite& overwrite : anti->second) release(*overwrite.update);
    }
    const std::size_t num_early = order_.size();
    order_.insert(order_.end(), late.begin(), late.end());
    return {std::move(order_), num_early};
  }

 private:
  /// Hands over what another device computes, when all work has been issued.
  bool is_late(const Node& node) const {
    if (!is_fetch(node) || node.num_inputs() == 0) return false;
    const Node* source = &node.input(0).node();
    while (source->op().traits.alias) source = &source->input(0).node();
    return source->op().name == "copy" &&
           !is_host_[static_cast<std::size_t>(placement_.device[slot(source->input(0).node())])];
  }

  /// Nodes in the order in which users made them, except that updates wait for all the rest and
  /// that what the library added (copies, fetches) stands beside what it reads.
  struct Entry {
    bool update;
    std::int32_t key;
    std::int32_t id;
    Node* node;
    bool operator<(const Entry& other) const {  // the queue's top is the largest
      return std::tie(update, key, id) > std::tie(other.update, other.key, other.id);
    }
  };

  void push(Node& node) {
    const Node* base = &node;
    while (base->op().traits.moves_value && base->num_inputs() > 0) base = &base->input(0).node();
    ready_.push({node.op().traits.updates_variable, base->id(), node.id(), &node});
  }

  void release(Node& node) {
    if (--pending_[slot(node)] == 0) push(node);
  }

  void mark_needed(const std::vector<Node*>& fetches) {
    is_needed_.assign(graph_.nodes().size(), false);
    std::vector<Node*> stack;
    const auto need = [&](Node& node) {
      if (is_needed_[slot(node)]) return;
      is_needed_[slot(node)] = true;
      stack.push_back(&node);
    };
    for (Node* fetch : fetches) need(*fetch);
    while (!stack.empty()) {
      Node& node = *stack.back();
      stack.pop_back();
      needed_.push_back(&node);
      for (const Output& input : node.inputs()) need(input.node());
      for (Node* before : node.control_inputs()) need(*before);
    }
    std::sort(needed_.begin(), needed_.end(), [](auto* a, auto* b) { return a->id() < b->id(); });
  }

  void find_variable_uses() {
    for (Node* node : needed_)
      for (int i = 0; i < num_updates(*node); ++i)
        uses_[variable_behind(node->input(i))].updates.push_back(node);
    if (uses_.empty()) return;
    for (Node* node : needed_)
      for (const Output& input : node->inputs()) {
        const auto use = uses_.find(variable_behind(input));
        if (use == uses_.end()) continue;
        auto& readers = use->second.readers;
        if (readers.empty() || readers.back() != node) readers.push_back(node);
      }
  }

  /// Successors by data and control as one flat list, and how many a node waits for.
  void link() {
    const std::size_t count = graph_.nodes().size();
    pending_.assign(count, 0);
    done_.assign(count, false);
    first_successor_.assign(count + 1, 0);
    for_each_edge([&](Node& before, Node&) { ++first_successor_[slot(before) + 1]; });
    for (std::size_t i = 0; i < count; ++i) first_successor_[i + 1] += first_successor_[i];
    successors_.resize(first_successor_.back());
    std::vector<std::size_t> next(first_successor_.begin(), first_successor_.end() - 1);
    for_each_edge([&](Node& before, Node& after) {
      successors_[next[slot(before)]++] = &after;
      ++pending_[slot(after)];
    });
  }

  template <class Visit>
  void for_each_edge(const Visit& visit) {
    for (Node* node : needed_) {
      for (const Output& input : node->inputs()) visit(input.node(), *node);
      for (Node* before : node->control_inputs()) visit(*before, *node);
    }
  }

  std::span<Node* const> successors(const Node& node) const {
    // Snapshots are newer than the lists; whoever reads one was told when it was made.
    if (slot(node) + 1 >= first_successor_.size()) return {};
    const std::size_t begin = first_successor_[slot(node)];
    return {successors_.data() + begin, first_successor_[slot(node) + 1] - begin};
  }

  std::unordered_set<const Node*> reachable_from(Node& start) const {
    std::unordered_set<const Node*> seen;
    std::vector<Node*> stack{&start};
    while (!stack.empty()) {
      Node& node = *stack.back();
      stack.pop_back();
      for (Node* next : successors(node))
        if (seen.insert(next).second) stack.push_back(next);
    }
    return seen;
  }

  /// Where each node stands in an order in which all follow what they read.
  void find_positions() {
    position_.assign(graph_.nodes().size(), 0);
    std::vector<std::int32_t> pending = pending_;
    std::vector<Node*> ready;
    for (Node* node : needed_)
      if (pending[slot(*node)] == 0) ready.push_back(node);
    for (std::int32_t position = 0; !ready.empty(); ++position) {
      Node& node = *ready.back();
      ready.pop_back();
      position_[slot(node)] = position;
      for (Node* next : successors(node))
        if (--pending[slot(*next)] == 0) ready.push_back(next);
    }
  }

  /// Of each node that comes after updates of a variable, the number of the last of them, from 1
  /// on. The updates, in order, follow each other.
  using UpdatesBefore = std::unordered_map<const Node*, std::size_t>;
  UpdatesBefore updates_before(const Node& variable, const std::vector<Node*>& updates) const {
    const auto later = [&](const Node* a, const Node* b) {
      return position_[slot(*a)] > position_[slot(*b)];
    };
    UpdatesBefore before;
    std::vector<Node*> open{updates.front()};  // a heap: the earliest node first
    std::size_t found = 0;
    while (!open.empty()) {
      std::ranges::pop_heap(open, later);
      Node& node = *open.back();
      open.pop_back();
      std::size_t last = before[&node];
      if (found < updates.size() && &node == updates[found]) {
        if (last != found) break;
        before[&node] = last = ++found;
      }
      for (Node* next : successors(node)) {
        const auto [entry, is_new] = before.try_emplace(next, 0);
        entry->second = std::max(entry->second, last);
        if (!is_new) continue;
        open.push_back(next);
        std::ranges::push_heap(open, later);
      }
    }
    if (found < updates.size())
      fail_unordered(variable, *updates[found > 0 ? found - 1 : 0], *updates[found]);
    return before;
  }

  /// Readers that do not depend on an update run before it.
  void constrain(Node& variable, VariableUse& use) {
    std::vector<Node*>& updates = use.updates;
    std::ranges::sort(updates, {}, [&](const Node* node) { return position_[slot(*node)]; });
    const UpdatesBefore before = updates_before(variable, updates);
    const auto count_before = [&](const Node& node) {
      const auto found = before.find(&node);
      return found == before.end() ? 0 : found->second;
    };
    for (Node* reader : use.readers) {
      const std::size_t last = count_before(*reader);
      const bool is_update = last > 0 && reader == updates[last - 1];
      require_not_overwritten(variable, *reader, updates, is_update ? last - 1 : last,
                              count_before);
      // Later updates follow this one.
      if (is_update || last == updates.size()) continue;
      overwriters_[reader].push_back({updates[last], &variable});
      ++pending_[slot(*updates[last])];
    }
  }

  /// `reader` runs after the first `last` updates: it cannot also read what one before the last
  /// of them gave.
  template <class CountBefore>
  void require_not_overwritten(const Node& variable, const Node& reader,
                               const std::vector<Node*>& updates, std::size_t last,
                               const CountBefore& count_before) const {
    for (int i = num_updates(reader); i < reader.num_inputs(); ++i) {
      const Node& source = reader.input(i).node();
      if (!source.op().traits.updates_variable || variable_behind(reader.input(i)) != &variable ||
          count_before(source) >= last)
        continue;
      throw RunError(
          node_message(reader.op().name, reader.name(),
                       fmt::format("reads '{}' after '{}' has overwritten it; read it through "
                                   "gg::identity before",
                                   source.name(), updates[count_before(source)]->name())),
          reader.where());
    }
  }

  /// Names the user's updates: all of the variable's where passes may have made one node of
  /// several.
  [[noreturn]] static void fail_unordered(const Node& variable, const Node& a, const Node& b) {
    std::vector<const Node*> updates;
    const Node* const original = variable.origin();
    const auto is_update = [&](const Node* node) {
      return node && node->op().traits.updates_variable && &node->input(0).node() == original;
    };
    if (is_update(a.origin()) && is_update(b.origin()) && a.origin() != b.origin())
      updates = {a.origin(), b.origin()};
    else if (original)
      for (const Node& node : original->graph().nodes())
        if (is_update(&node)) updates.push_back(&node);
    if (updates.size() < 2) updates = {&a, &b};
    std::ranges::sort(updates, {}, &Node::id);
    std::vector<std::string> names;
    for (const Node* update : updates)
      names.push_back(fmt::format("'{}' ({})", update->name(), to_string(update->where())));
    throw RunError(node_message("variable", variable.name(),
                                fmt::format("{} update it, and this run has no order for them: "
                                            "give it one with gg::control_dependencies",
                                            fmt::join(names, " and "))),
                   updates.front()->where());
  }

  /// Nothing can run: some update waits for readers that wait for another update. These get a
  /// snapshot of what the first such update overwrites.
  void break_cycle() {
    for (Node* update : needed_) {
      if (num_updates(*update) == 0 || done_[slot(*update)]) continue;
      std::int32_t waits = 0;
      std::vector<Node*> waiting;
      for (auto& [reader, overwrites] : overwriters_) {
        if (done_[slot(*reader)]) continue;
        const auto count = std::ranges::count(overwrites, update, &Overwrite::update);
        waits += static_cast<std::int32_t>(count);
        if (count > 0) waiting.push_back(reader);
      }
      if (waiting.empty() || pending_[slot(*update)] != waits) continue;
      if (!std::ranges::all_of(waiting, [&](Node* reader) { return sees_current(*reader); }))
        continue;
      std::ranges::sort(waiting, {}, [](const Node* node) { return node->id(); });
      for (int i = 0; i < num_updates(*update); ++i)
        take_snapshot(*variable_behind(update->input(i)), waiting);
      return;
    }
    throw RunError("the graph has a cycle");
  }

  /// False when an update that comes before `reader` has still to run.
  bool sees_current(Node& reader) const {
    for (const auto& [variable, use] : uses_)
      for (Node* update : use.updates)
        if (!done_[slot(*update)] && std::ranges::count(use.readers, &reader) > 0 &&
            reachable_from(*update).contains(&reader))
          return false;
    return true;
  }

  void take_snapshot(Node& variable, const std::vector<Node*>& readers) {
    const auto is_this = [&](const Overwrite& other) { return other.variable == &variable; };
    Node* snapshot = nullptr;
    for (Node* reader : readers) {
      auto& overwrites = overwriters_[reader];
      if (std::ranges::none_of(overwrites, is_this)) continue;
      if (!snapshot) snapshot = &add_snapshot(variable);
      for (int i = num_updates(*reader); i < reader->num_inputs(); ++i)
        if (&reader->input(i).node() == &variable)
          graph_.set_input(*reader, i, snapshot->output());
      std::vector<Overwrite> released;
      std::ranges::copy_if(overwrites, std::back_inserter(released), is_this);
      std::erase_if(overwrites, is_this);
      for (const Overwrite& overwrite : released) release(*overwrite.update);
    }
  }

  Node& add_snapshot(Node& variable) {
    Node& snapshot = graph_.add(op_registry().at("identity"), {variable.output()}, {},
                                variable.where(), variable.name() + "/snapshot");
    placement_.device.push_back(placement_.device[slot(variable)]);
    placement_.reason.push_back(PlacementReason::variable);
    done_.push_back(true);
    pending_.push_back(0);
    order_.push_back(&snapshot);
    ++snapshots_;
    return snapshot;
  }

  /// An update that must come after a reader of the variable.
  struct Overwrite {
    Node* update;
    Node* variable;
  };

  Graph& graph_;
  Placement& placement_;
  const std::vector<bool>& is_host_;
  std::vector<bool> is_needed_;
  std::vector<Node*> needed_;
  std::unordered_map<Node*, VariableUse> uses_;
  std::vector<std::size_t> first_successor_;
  std::vector<Node*> successors_;
  /// By reader: the updates that must come after it.
  std::unordered_map<Node*, std::vector<Overwrite>> overwriters_;
  std::vector<std::int32_t> pending_;
  std::vector<std::int32_t> position_;
  std::vector<bool> done_;
  std::priority_queue<Entry> ready_;
  std::vector<Node*> order_;
  std::size_t snapshots_ = 0;
};

}  // namespace

Order order_nodes(Graph& graph, Placement& placement, const std::vector<Node*>& fetches,
                  const std::vector<bool>& is_host) {
  return Orderer(graph, placement, fetches, is_host).run();
}

}  // namespace gradgraph
