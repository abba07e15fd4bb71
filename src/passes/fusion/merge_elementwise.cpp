#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "core/index.h"
#include "core/text.h"
#include "graph/may_fail.h"
#include "graph/program.h"
#include "graph/slot.h"
#include "passes/attempt.h"
#include "passes/rewriting/known_op.h"
#include "passes/whole_graph_pass.h"

/// Makes one node of elementwise ones that read the same, or each other, and of which others read
/// more than the last:
///
///     x ── sigmoid ─┬── ...                   x ─┐
///     y ── tanh ────┼── ...        becomes    y ─┴ fused(sigmoid, tanh, mul) ─┬─┬─┬── ...
///                   └ mul ── ...
///
/// What they read is read once, and a device has fewer kernels to start.
namespace gradgraph {
namespace {

constexpr std::size_t kMostInputs = 16, kMostOutputs = 8, kMostInstructions = 64;
/// Of a value, that are considered.
constexpr std::size_t kMostReaders = 16;
/// In the order of all units: what is further apart stays apart. A pass takes time in proportion
/// to it, and values would live longer.
constexpr std::int32_t kMostDistance = 256;
constexpr std::int32_t kNoUnit = -1;

class ElementwiseMerge : public WholeGraphPass {
 public:
  ElementwiseMerge(Graph& graph, const PassContext& context, RewriteLog& log)
      : WholeGraphPass(graph, context, log),
        unit_of_(graph.nodes().size(), kNoUnit),
        is_fetched_(graph.nodes().size()) {
    const auto& order = topology_.order();
    for (std::size_t i = 0; i < order.size(); ++i) {
      unit_of_[slot(*order[i])] = static_cast<std::int32_t>(i);
      units_.push_back({.nodes = {order[i]}, .rank = static_cast<std::int32_t>(i)});
      ranked_.push_back(static_cast<std::int32_t>(i));
    }
    position_ = unit_of_;
    for (const Node* node : context.fetches) is_fetched_[slot(*node)] = true;
  }

  void run() {
    for (Node* node : topology_.order())
      if (is_candidate(*node)) {
        Unit& own = units_[at(unit_of(*node))];
        own.instructions = make_program(*node).instructions.size();
        join(*node);
      }
    for (const Unit& unit : units_)
      if (unit.nodes.size() > 1 && !log_.is_spent()) rewrite(unit);
    update_made();
  }

 private:
  /// Nodes that become one; empty where another unit has taken them.
  struct Unit {
    std::vector<Node*> nodes;      ///< in the order of the topology
    std::size_t instructions = 0;  ///< of all nodes; 0 for what is no candidate
    std::int32_t rank = 0;         ///< units that it needs have lower ones
    std::int32_t marked = 0;       ///< in which search it was found to need the first unit
  };

  bool is_candidate(const Node& node) const {
    const bool is_fused = fused_.matches(node) && node.control_inputs().empty();
    return (is_fused || context_.fuses(node)) && node.num_outputs() == 1 && !is_late(node) &&
           !may_fail(node) && !topology_.is_awaited(node) && context_.has_kernel(node, "fused") &&
           !is_fetched_[slot(node)];
  }

  std::int32_t unit_of(const Node& node) const {
    return slot(node) < unit_of_.size() ? unit_of_[slot(node)] : kNoUnit;
  }

  static bool are_alike(const Node& a, const Node& b) {
    return a.shape() == b.shape() && a.dtype() == b.dtype() && a.device() == b.device() &&
           a.phase() == b.phase();
  }

  /// Unites the node with those before it that make what it reads, or read it too.
  void join(Node& node) {
    std::vector<const Node*> partners;
    const auto consider = [&](const Node& other) {
      if (&other != &node && units_[at(unit_of(other))].instructions > 0 &&
          are_alike(node, other))
        partners.push_back(&other);
    };
    for (const Output& input : node.inputs()) {
      consider(input.node());
      const auto readers = topology_.readers(input.node());
      if (input.shape().num_elements() != node.shape().num_elements() ||
          readers.size() > kMostReaders)
        continue;
      for (const auto& reader : readers)
        if (reader.index >= 0 && reader.node->input(reader.index) == input)
          consider(*reader.node);
    }
    for (const Node* other : partners) {
      const std::int32_t own = unit_of(node), partner = unit_of(*other);
      if (partner == own) continue;
      const bool is_first = units_[at(partner)].rank < units_[at(own)].rank;
      const std::int32_t first = is_first ? partner : own, second = is_first ? own : partner;
      if (are_small(first, second) && !needs_through_others(second, first)) unite(first, second);
    }
  }

  bool are_small(std::int32_t a, std::int32_t b) const {
    if (units_[at(a)].instructions + units_[at(b)].instructions > kMostInstructions ||
        units_[at(b)].rank - units_[at(a)].rank > kMostDistance)
      return false;
    const auto is_own = [&](const Node& node) {
      const std::int32_t unit = unit_of(node);
      return unit == a || unit == b;
    };
    std::set<std::pair<const Node*, int>> inputs;
    std::size_t outputs = 0;
    for (const std::int32_t unit : {a, b})
      for (const Node* node : units_[at(unit)].nodes) {
        for (const Output& input : node->inputs())
          if (!is_own(input.node())) inputs.emplace(&input.node(), input.index());
        outputs += std::ranges::any_of(topology_.readers(*node),
                                       [&](const auto& reader) { return !is_own(*reader.node); });
      }
    return inputs.size() <= kMostInputs && outputs <= kMostOutputs;
  }

  /// Marks the units between both that need `first`, and says whether `second` needs one of them.
  bool needs_through_others(std::int32_t second, std::int32_t first) {
    ++search_;
    const auto needs_marked = [&](std::int32_t unit, bool or_first) {
      const auto is_it = [&](const Node& node) {
        const std::int32_t input = unit_of(node);
        return units_[at(input)].marked == search_ || (or_first && input == first);
      };
      return std::ranges::any_of(units_[at(unit)].nodes, [&](const Node* node) {
        return std::ranges::any_of(node->inputs(),
                                   [&](const Output& input) { return is_it(input.node()); }) ||
               std::ranges::any_of(node->control_inputs(),
                                   [&](const Node* before) { return is_it(*before); });
      });
    };
    for (std::int32_t rank = units_[at(first)].rank + 1; rank < units_[at(second)].rank; ++rank) {
      const std::int32_t unit = ranked_[at(rank)];
      if (unit != kNoUnit && needs_marked(unit, true)) units_[at(unit)].marked = search_;
    }
    return needs_marked(second, false);
  }

  /// What has just been marked comes after the united one, all else between both before it.
  void unite(std::int32_t first, std::int32_t second) {
    Unit &all = units_[at(first)], &taken = units_[at(second)];
    const auto begin = ranked_.begin() + all.rank, end = ranked_.begin() + taken.rank + 1;
    *begin = kNoUnit;
    const auto after = std::stable_partition(begin, end, [&](std::int32_t unit) {
      return unit == kNoUnit || units_[at(unit)].marked != search_;
    });
    // The second one is the last of those before.
    *std::prev(after) = first;
    for (auto place = begin; place != end; ++place)
      if (*place != kNoUnit)
        units_[at(*place)].rank = static_cast<std::int32_t>(place - ranked_.begin());

    for (const Node* node : taken.nodes) unit_of_[slot(*node)] = first;
    std::vector<Node*> nodes;
    std::merge(all.nodes.begin(), all.nodes.end(), taken.nodes.begin(), taken.nodes.end(),
               std::back_inserter(nodes), [&](const Node* x, const Node* y) {
                 return position_[slot(*x)] < position_[slot(*y)];
               });
    all.nodes = std::move(nodes);
    all.instructions += taken.instructions;
    taken = {};
  }

  void rewrite(const Unit& unit) {
    const std::int32_t own = unit_of(*unit.nodes.front());
    ElementwiseProgram program;
    program.shape = unit.nodes.front()->shape();
    std::vector<Output> inputs;
    std::map<std::pair<const Node*, int>, std::int32_t> registers;
    const auto register_of = [&](const Output& value) -> std::int32_t& {
      return registers[{&value.node(), value.index()}];
    };
    for (const Node* node : unit.nodes)
      for (const Output& input : node->inputs()) {
        if (unit_of(input.node()) == own || registers.contains({&input.node(), input.index()}))
          continue;
        register_of(input) = program.num_inputs();
        inputs.push_back(input);
        program.input_dtypes.push_back(input.dtype());
      }
    std::string ops;
    for (Node* node : unit.nodes) {
      append(program, *node, register_of);
      ops += (ops.empty() ? "'" : ", '") + node->name() + "'";
    }
    // The last one first: a plan may let it have an input's memory.
    std::vector<const Node*> results;
    for (auto node = unit.nodes.rbegin(); node != unit.nodes.rend(); ++node)
      if (std::ranges::any_of(topology_.readers(**node),
                              [&](const auto& reader) { return unit_of(*reader.node) != own; })) {
        results.push_back(*node);
        program.results.push_back(register_of((*node)->output()));
      }
    Attempt attempt(graph_, context_);
    Node& merged = graph_.add_in_place_of(
        *unit.nodes.back(), op_registry().at("fused"), std::move(inputs),
        {{"program", std::make_shared<const ElementwiseProgram>(std::move(program))}});
    if (!attempt.succeeds(log_, [&] { return ops + " are one"; })) return;
    for (std::size_t i = 0; i < results.size(); ++i)
      replace(*results[i], merged.output(static_cast<int>(i)));
  }

  template <class RegisterOf>
  static void append(ElementwiseProgram& program, Node& node, const RegisterOf& register_of) {
    const ElementwiseProgram added = make_program(node);
    const std::int32_t first = program.num_registers() - added.num_inputs();
    const auto moved = [&](std::int32_t reg) {
      return reg < added.num_inputs() ? register_of(node.input(reg)) : first + reg;
    };
    for (ElementwiseProgram::Instruction instruction : added.instructions) {
      for (std::int32_t i = 0; i < instruction.num_operands; ++i)
        instruction.operands[at(i)] = moved(instruction.operands[at(i)]);
      program.instructions.push_back(std::move(instruction));
    }
    register_of(node.output()) = moved(added.results.front());
  }

  const KnownOp fused_{"fused", {"program"}};
  std::vector<std::int32_t> unit_of_, position_;  ///< by node id
  std::vector<bool> is_fetched_;                  ///< likewise
  std::vector<Unit> units_;
  std::vector<std::int32_t> ranked_;  ///< by rank
  std::int32_t search_ = 0;
};

}  // namespace

void merge_elementwise(Graph& graph, const PassContext& context, RewriteLog& log) {
  ElementwiseMerge(graph, context, log).run();
}

}  // namespace gradgraph
