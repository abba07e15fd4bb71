#include "io/drawing.h"

#include <algorithm>
#include <unordered_map>

#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/slot.h"

namespace gradgraph {
namespace {

constexpr std::int64_t kMaxInlined = 8;  // elements of a constant

std::string_view scope_of(std::string_view name) {
  const auto slash = name.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

/// "0.5" or "[2, 3]": a tensor's text without its type.
std::string inlined_value(const Node& constant) {
  const std::string text = constant.attributes().get<Tensor>("value").to_string();
  const auto space = text.find(' ');
  return space == std::string::npos ? text : text.substr(space + 1);
}

}  // namespace

std::string_view short_name(std::string_view name) {
  const std::string_view last = name.substr(name.rfind('/') + 1);  // npos + 1 is 0
  return last.empty() ? name : last;
}

Drawing::Drawing(const Graph& graph, const DotOptions& options)
    : graph_(graph),
      inline_constants_(options.inline_constants),
      box_of_(graph.nodes().size(), -1) {
  select(options);
  const auto count = std::count_if(graph.nodes().begin(), graph.nodes().end(),
                                   [&](const Node& node) { return is_drawn(node); });
  folded_ = count > options.fold_above;
  make_boxes();
  connect();
  if (folded_) find_neighbours();
}

bool Drawing::is_drawn(const Node& node) const { return drawn_[slot(node)] && !is_inlined(node); }

bool Drawing::is_inlined(const Node& node) const {
  if (!inline_constants_ || node.op().name != "constant") return false;
  const Shape& shape = node.shape();
  return shape.rank() <= 1 && shape.num_elements() <= kMaxInlined;
}

void Drawing::select(const DotOptions& options) {
  drawn_.assign(graph_.nodes().size(), options.fetches.empty());
  std::vector<const Node*> stack;
  const auto need = [&](const Node& node) {
    if (!drawn_[slot(node)]) stack.push_back(&node);
    drawn_[slot(node)] = true;
  };
  for (const Output& fetch : options.fetches) {
    if (!fetch) throw BuildError("write_dot: a fetch is empty");
    if (&fetch.graph() != &graph_)
      throw BuildError(fmt::format("write_dot: fetch '{}' is of another graph", fetch.name()));
    need(fetch.node());
  }
  while (!stack.empty()) {
    const Node& node = *stack.back();
    stack.pop_back();
    for (const Output& input : node.inputs()) need(input.node());
    for (const Node* before : node.control_inputs()) need(*before);
    if (!options.initial_values) continue;
    if (const Output initial = graph_.initial_value(node)) need(initial.node());
  }
  if (options.fetches.empty() && !options.initial_values) hide_initial_values();
}

/// Hides the nodes that nothing but initial values needs.
void Drawing::hide_initial_values() {
  std::vector<bool> only_initial(drawn_.size(), false), has_reader(drawn_.size(), false);
  std::vector<bool> is_initial(drawn_.size(), false);
  for (const Node& node : graph_.nodes())
    if (const Output initial = graph_.initial_value(node)) is_initial[slot(initial)] = true;
  // Readers come after what they read, so backwards all of a node's readers are known.
  std::vector<bool> other_reader(drawn_.size(), false);
  for (auto node = graph_.nodes().rbegin(); node != graph_.nodes().rend(); ++node) {
    const std::size_t at = slot(*node);
    only_initial[at] = !other_reader[at] && (is_initial[at] || has_reader[at]);
    if (only_initial[at]) drawn_[at] = false;
    const auto read = [&](const Node& input) {
      has_reader[slot(input)] = true;
      if (!only_initial[at]) other_reader[slot(input)] = true;
    };
    for (const Output& input : node->inputs()) read(input.node());
    for (const Node* before : node->control_inputs()) read(*before);
  }
}

/// What names the box that `node` goes into, or empty for a box of its own.
std::string Drawing::folded_into(const Node& node) const {
  if (node.phase() == Phase::gradient && node.differentiates())
    return "gradients/" + node.differentiates()->name();
  if (node.phase() == Phase::recompute) return std::string(scope_of(node.name()));
  if (node.phase() != Phase::update || node.num_outputs() == 0) return {};
  const auto updater = updater_.find(&node);
  const Node& named = updater == updater_.end() ? node : *updater->second;
  return std::string(scope_of(named.name()));
}

void Drawing::make_boxes() {
  if (folded_)
    for (const Node& node : graph_.nodes())
      if (is_drawn(node) && node.op().traits.updates_variable &&
          node.input(0).node().phase() == Phase::update)
        updater_.emplace(&node.input(0).node(), &node);

  std::unordered_map<std::string, int> by_name;
  for (const Node& node : graph_.nodes()) {
    if (!is_drawn(node)) continue;
    const std::string group = folded_ ? folded_into(node) : std::string();
    int& box = box_of_[slot(node)];
    if (!group.empty()) {
      const auto [entry, is_new] = by_name.emplace(group, static_cast<int>(boxes_.size()));
      box = entry->second;
      if (!is_new) {
        boxes_[static_cast<std::size_t>(box)].nodes.push_back(&node);
        continue;
      }
    }
    box = static_cast<int>(boxes_.size());
    const std::string name = group.empty() ? node.name() : group;
    boxes_.push_back({{&node}, node.phase(), std::string(scope_of(name)), {}, -1});
    boxes_.back().title = short_name(name);
  }
}

void Drawing::connect() {
  for (const Node& node : graph_.nodes()) {
    const int to = box_of(node);
    if (to < 0) continue;
    for (const Output& input : node.inputs()) {
      const int from = box_of(input.node());
      if (from >= 0 && from != to) edges_[{from, to}].emplace(&input.node(), input.index());
    }
    for (const Node* before : node.control_inputs()) {
      const int from = box_of(*before);
      if (from >= 0 && from != to) edges_[{from, to}];
    }
  }
}

void Drawing::find_neighbours() {
  const auto at = [&](int box) -> DrawnBox& { return boxes_[static_cast<std::size_t>(box)]; };
  std::vector<bool> updates_forward(boxes_.size(), false);
  for (std::size_t i = 0; i < boxes_.size(); ++i)
    for (const Node* node : boxes_[i].nodes) {
      const Node* forward = node->differentiates() ? node->differentiates() : node->recomputes();
      // Gradients of gradients run down again, so they stand where they like.
      if (boxes_[i].beside < 0 && forward && box_of(*forward) >= 0 &&
          forward->phase() == Phase::forward)
        boxes_[i].beside = box_of(*forward);
      if (node->op().traits.updates_variable && node->input(0).node().phase() == Phase::forward)
        updates_forward[i] = true;
    }
  for (const auto& [ends, edge] : edges_)
    if (updates_forward[static_cast<std::size_t>(ends.second)] &&
        at(ends.second).phase == Phase::update && at(ends.first).phase == Phase::gradient)
      at(ends.second).beside = ends.first;
}

std::string Drawing::expression(const Node& node) const {
  const bool listed = boxes_[static_cast<std::size_t>(box_of(node))].is_folded();
  std::vector<std::string> arguments;
  bool says_something = listed && node.num_inputs() > 0;
  for (const Output& input : node.inputs()) {
    const Node& source = input.node();
    if (is_inlined(source))
      arguments.push_back(inlined_value(source));
    else if (listed)
      arguments.push_back(box_of(source) == box_of(node) ? std::string(short_name(source.name()))
                                                         : input.name());
    else
      arguments.emplace_back("\u00B7");
    says_something |= is_inlined(source);
  }
  if (!says_something) return node.op().name;
  return fmt::format("{}({})", node.op().name, fmt::join(arguments, ", "));
}

}  // namespace gradgraph
