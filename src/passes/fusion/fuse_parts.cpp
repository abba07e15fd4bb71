#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/index.h"
#include "core/text.h"
#include "graph/may_fail.h"
#include "graph/program.h"
#include "graph/slot.h"
#include "passes/attempt.h"
#include "passes/rewriting/known_op.h"
#include "passes/whole_graph_pass.h"

/// Lets an elementwise program read and write parts where they lie, in values that were taken
/// apart for it and are put together behind it:
///
///     x ── split ═╦═ fused ═╦═ concat ──     becomes     x ── fused_parts ──
///                 ╚═       ═╝
///
/// Of parts that lie in one piece each nothing is copied anyhow: they stay.
namespace gradgraph {
namespace {

class PartsFusion : public WholeGraphPass {
 public:
  PartsFusion(Graph& graph, const PassContext& context, RewriteLog& log)
      : WholeGraphPass(graph, context, log), is_fetched_(graph.nodes().size()) {
    for (const Node* node : context.fetches) is_fetched_[slot(*node)] = true;
  }

  void run() {
    for (Node* node : topology_.order()) {
      if (is_taken_apart(*node)) {
        std::vector<Output> parts;
        for (int i = 0; i < node->num_outputs(); ++i) parts.push_back(node->output(i));
        taken_apart_[node] = places(*node, node->input(0).shape(), parts);
      }
      if (is_put_together(*node)) put_together_[&node->input(0).node()].push_back(node);
    }
    for (Node* node : topology_.order())
      if (is_program(*node) && !log_.is_spent()) rewrite(*node);
  }

 private:
  using Place = ElementwiseProgram::Place;

  bool may_go(const Node& node) const {
    return !is_fetched_[slot(node)] && !topology_.is_awaited(node) && !is_late(node);
  }
  bool is_program(const Node& node) const {
    return (fused_.matches(node) || context_.fuses(node)) && may_go(node) && !may_fail(node) &&
           context_.has_kernel(node, "fused_parts");
  }
  /// Whether all who read a part are programs for elements like it.
  bool is_taken_apart(const Node& node) const {
    if (!split_.matches(node) || !may_go(node) || node.op().parts(node)) return false;
    return std::ranges::all_of(topology_.readers(node), [&](const Topology::Reader& reader) {
      return is_program(*reader.node) && reader.node->device() == node.device() &&
             reader.node->shape() == reader.node->input(reader.index).shape();
    });
  }
  /// Whether one program makes all parts.
  bool is_put_together(const Node& node) const {
    if (!concat_.matches(node) || !may_go(node) || node.op().parts(node)) return false;
    const Node& maker = node.input(0).node();
    std::set<int> results;
    for (const Output& part : node.inputs())
      if (&part.node() != &maker || !results.insert(part.index()).second) return false;
    return is_program(maker) && maker.device() == node.device();
  }

  /// Of parts along an axis of a value, one after the other.
  static std::vector<Place> places(const Node& node, const Shape& whole,
                                   std::span<const Output> parts) {
    const auto axis = static_cast<int>(node.attributes().get<std::int64_t>("axis"));
    std::int64_t inner = 1, offset = 0;
    for (int i = whole.rank() - 1; i > axis; --i) inner *= whole[i];
    std::vector<Place> places;
    for (const Output& part : parts) {
      places.push_back(
          {.offset = offset, .row = part.shape()[axis] * inner, .pitch = whole[axis] * inner});
      offset += places.back().row;
    }
    return places;
  }

  void rewrite(Node& node) {
    const auto found = put_together_.find(&node);
    const std::vector<Node*> wholes =
        found == put_together_.end() ? std::vector<Node*>() : found->second;
    const bool reads_parts = std::ranges::any_of(
        node.inputs(), [&](const Output& input) { return taken_apart_.contains(&input.node()); });
    if (!reads_parts && wholes.empty()) return;

    ElementwiseProgram program = make_program(node);
    std::vector<Output> inputs;
    for (const Output& input : node.inputs()) {
      const auto split = taken_apart_.find(&input.node());
      const bool is_part = split != taken_apart_.end();
      const Output& value = is_part ? input.node().input(0) : input;
      const auto known = std::ranges::find(inputs, value);
      Place place = is_part ? split->second[at(input.index())] : Place{};
      place.value = static_cast<std::int32_t>(known - inputs.begin());
      if (known == inputs.end()) inputs.push_back(value);
      program.reads.push_back(place);
    }

    const std::vector<std::int32_t> results = std::move(program.results);
    program.results.clear();
    const auto next_value = [&] { return static_cast<std::int32_t>(program.values.size()); };
    const auto write = [&](int result, Place place) {
      place.value = next_value();
      program.results.push_back(results[at(result)]);
      program.writes.push_back(place);
    };
    std::vector<int> kept(results.size(), -1);
    for (const auto& reader : topology_.readers(node)) {
      if (std::ranges::find(wholes, reader.node) != wholes.end()) continue;
      const int result = reader.node->input(reader.index).index();
      if (kept[at(result)] >= 0) continue;
      kept[at(result)] = next_value();
      write(result, {});
      program.values.push_back(program.shape);
    }
    const std::int32_t first_whole = next_value();
    for (const Node* whole : wholes) {
      const std::vector<Place> parts = places(*whole, whole->shape(), whole->inputs());
      for (std::size_t i = 0; i < parts.size(); ++i)
        write(whole->input(static_cast<int>(i)).index(), parts[i]);
      program.values.push_back(whole->shape());
    }

    Attempt attempt(graph_, context_);
    Node& fused = graph_.add_in_place_of(
        node, op_registry().at("fused_parts"), std::move(inputs),
        {{"program", std::make_shared<const ElementwiseProgram>(std::move(program))}});
    const auto describe = [&] {
      return fmt::format("'{}' {} parts of values", node.name(),
                         wholes.empty() ? "reads"
                         : reads_parts  ? "reads and writes"
                                        : "writes");
    };
    if (!attempt.succeeds(log_, describe)) return;
    for (const auto& reader : topology_.readers(node))
      if (std::ranges::find(wholes, reader.node) == wholes.end())
        graph_.set_input(*reader.node, reader.index,
                         fused.output(kept[at(reader.node->input(reader.index).index())]));
    for (std::size_t i = 0; i < wholes.size(); ++i)
      for (const auto& reader : topology_.readers(*wholes[i]))
        graph_.set_input(*reader.node, reader.index,
                         fused.output(first_whole + static_cast<int>(i)));
  }

  const KnownOp fused_{"fused", {"program"}}, split_{"split", {"sizes", "axis"}},
      concat_{"concat", {"axis"}};
  std::vector<bool> is_fetched_;                            ///< by node id
  std::map<const Node*, std::vector<Place>> taken_apart_;   ///< with the places of the parts
  std::map<const Node*, std::vector<Node*>> put_together_;  ///< by who makes the parts
};

}  // namespace

void fuse_parts(Graph& graph, const PassContext& context, RewriteLog& log) {
  if (has_any(graph, {"split", "concat"})) PartsFusion(graph, context, log).run();
}

}  // namespace gradgraph
