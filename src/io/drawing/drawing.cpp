#include "io/drawing/drawing.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/slot.h"
#include "graph/subgraph.h"
#include "io/drawing/repetition.h"

namespace gradgraph {
namespace {

using Scope = std::vector<std::string>;

constexpr std::int64_t kMaxInlined = 8;  // elements of a constant
/// Forward boxes of a folded picture: what a screen shows in letters that can be read, alone and
/// with their gradients.
constexpr std::size_t kMaxBoxes = 50, kMaxBoxesWithGradients = 30;
constexpr std::size_t kMaxArguments = 8;
/// Forward boxes one below the other that a screen shows.
constexpr std::size_t kColumn = 14;

Scope split(std::string_view scope) {
  Scope parts;
  while (!scope.empty()) {
    parts.emplace_back(scope.substr(0, scope.find('/')));
    scope.remove_prefix(std::min(scope.size(), parts.back().size() + 1));
  }
  return parts;
}

std::string_view scope_of(std::string_view name) {
  const auto slash = name.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

/// The forward node that a node is about, else itself.
const Node& subject_of(const Node& node) {
  if (const Node* forward = node.differentiates()) return *forward;
  if (const Node* forward = node.recomputes()) return *forward;
  return node;
}

/// What arrows lead to the node from. A subgraph's results stand for what the node runs it with,
/// since arrows lead from there into the subgraph.
std::vector<Output> shown_inputs(const Node& node) {
  std::vector<Output> inputs(node.inputs().begin(), node.inputs().end());
  for_each_subgraph(node, [&](const Subgraph& subgraph) {
    inputs.resize(static_cast<std::size_t>(input_of_parameter(node, subgraph, 0)));
  });
  for_each_subgraph(node, [&](const Subgraph& subgraph) {
    inputs.insert(inputs.end(), subgraph.results.begin(), subgraph.results.end());
  });
  return inputs;
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
  folded_ = count > options.fold_above || options.depth >= 0;
  if (folded_) {
    find_rounds();
    find_variables_of_updates();
    choose_depth(options.depth);
  }
  make_boxes();
  connect();
  if (!folded_) return;
  find_neighbours();
  if (!has_gradients()) arrange_columns();
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
  for (const Output& fetch : options.fetches) need(fetch.node());
  while (!stack.empty()) {
    const Node& node = *stack.back();
    stack.pop_back();
    for (const Output& input : node.inputs()) need(input.node());
    for (const Node* before : node.control_inputs()) need(*before);
    for_each_subgraph(node, [&](const Subgraph& subgraph) {
      for (const Output& result : subgraph.results) need(result.node());
    });
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

// --- Repetitions ---------------------------------------------------------------------------

void Drawing::find_rounds() {
  std::vector<const Node*> nodes;
  for (const Node& node : graph_.nodes())
    if (is_drawn(node) && node.phase() == Phase::forward) nodes.push_back(&node);
  const auto repetitions =
      find_repetitions(nodes, [this](const Node& node) { return is_inlined(node); });
  for (std::size_t i = 0; i < repetitions.size(); ++i) {
    const auto& [begin, period, count] = repetitions[i];
    for (std::size_t place = 0; place < period * count; ++place)
      rounds_[nodes[begin + place]] = {nodes[begin + place % period], i, place / period};
    if (period == 1)
      copies_[nodes[begin]] = static_cast<int>(count);
    else
      name_repetition(nodes, begin, period, count);
  }
}

/// Puts "x 20" into the scopes of the first round: behind the scope that is the round, or with
/// the lines that made it as a scope of its own.
void Drawing::name_repetition(const std::vector<const Node*>& nodes, std::size_t begin,
                              std::size_t period, std::size_t count) {
  const auto common_scope = [&](std::size_t first) {
    Scope common = split(scope_of(nodes[first]->name()));
    for (std::size_t i = 1; i < period; ++i) {
      const Scope other = split(scope_of(nodes[first + i]->name()));
      common.resize(
          static_cast<std::size_t>(std::ranges::mismatch(common, other).in1 - common.begin()));
    }
    return common;
  };
  const Scope first = common_scope(begin);
  Scope common = first;
  bool is_scope = !first.empty();  // each round is, and all stand in the same one
  for (std::size_t round = 1; round < count; ++round) {
    const Scope other = common_scope(begin + round * period);
    const auto same =
        static_cast<std::size_t>(std::ranges::mismatch(common, other).in1 - common.begin());
    is_scope = is_scope && other.size() == first.size() && same + 1 == first.size();
    common.resize(same);
  }
  const std::string times = fmt::format(" \u00D7 {}", count);
  const std::size_t depth = is_scope ? first.size() : common.size();
  std::string line;
  if (!is_scope) {
    const SourceLocation where = nodes[begin]->where();
    line = where.known() ? to_string(where) : "repeated";
    if (const int number = ++same_lines_[line + times]; number > 1)
      line += fmt::format(" #{}", number);
  }
  for (std::size_t i = begin; i < begin + period; ++i) {
    Scope scope = split(scope_of(nodes[i]->name()));
    if (is_scope)
      scope[depth - 1] += times;
    else
      scope.insert(scope.begin() + static_cast<std::ptrdiff_t>(depth), line + times);
    scopes_[nodes[i]] = std::move(scope);
  }
}

const Node& Drawing::first_of(const Node& node) const {
  const auto rounds = rounds_.find(&node);
  return rounds == rounds_.end() ? node : *rounds->second.first;
}

// --- Boxes ---------------------------------------------------------------------------------

/// An update's nodes stand in a scope of its variable's; so do the variables that it keeps.
void Drawing::find_variables_of_updates() {
  std::unordered_map<std::string_view, const Node*> by_scope;
  for (const Node& node : graph_.nodes())
    if (is_drawn(node) && node.op().traits.updates_variable && node.phase() == Phase::update &&
        node.input(0).node().phase() == Phase::forward)
      by_scope.emplace(scope_of(node.name()), &node.input(0).node());
  for (const Node& node : graph_.nodes()) {
    if (!is_drawn(node) || node.phase() != Phase::update) continue;
    const auto found = by_scope.find(scope_of(node.name()));
    if (found == by_scope.end()) continue;
    updated_by_[&node] = found->second;
    if (node.op().traits.updates_variable && node.input(0).node().phase() == Phase::update)
      updated_by_[&node.input(0).node()] = found->second;
  }
  updated_variables_ = static_cast<int>(by_scope.size());
}

bool Drawing::has_gradients() const {
  return std::ranges::any_of(graph_.nodes(), [this](const Node& node) {
    return node.phase() == Phase::gradient && is_drawn(node);
  });
}

/// As many levels of scopes as give a picture that can be looked at.
void Drawing::choose_depth(int depth) {
  depth_ = depth;
  if (depth >= 0) return;
  const auto count_boxes = [this] {
    std::unordered_set<std::string> keys;
    for (const Node& node : graph_.nodes())
      if (is_drawn(node) && node.phase() == Phase::forward) keys.insert(place_of(node).key);
    return keys.size();
  };
  depth_ = 0;
  for (const Node& node : graph_.nodes())
    if (is_drawn(node) && node.phase() == Phase::forward)
      depth_ = std::max(depth_, static_cast<int>(scope_parts(node).size()));
  const std::size_t most = has_gradients() ? kMaxBoxesWithGradients : kMaxBoxes;
  if (count_boxes() <= most) return;
  for (const Layer& layer : graph_.layers()) layers_.insert(layer.name);
  while (depth_ > 0 && count_boxes() > most) --depth_;
  folds_lines_ = count_boxes() > most;
}

/// How many of the scopes that a forward node stands in are opened.
std::size_t Drawing::open_scopes(const Node& node, const Scope& scope) const {
  const std::size_t most = std::min(scope.size(), static_cast<std::size_t>(depth_));
  // The scopes as named, which repetitions may have added to.
  const std::string_view name = node.name();
  const Scope named = split(scope_of(name));
  std::string prefix;
  for (std::size_t i = 0; i < named.size() && !layers_.empty(); ++i) {
    prefix += (i == 0 ? "" : "/") + named[i];
    if (layers_.contains(prefix)) return std::min(most, i + scope.size() - named.size());
  }
  return most;
}

Scope Drawing::scope_parts(const Node& forward) const {
  const auto named = scopes_.find(&forward);
  return named == scopes_.end() || folds_lines_ ? split(scope_of(forward.name())) : named->second;
}

Drawing::Place Drawing::forward_place(const Node& node) const {
  const Node& first = first_of(node);
  Scope scope = scope_parts(first);
  const std::size_t depth = open_scopes(first, scope);
  if (scope.size() > depth) {
    const std::string title = scope[depth];
    const std::string key = fmt::format(
        "{}",
        fmt::join(scope.begin(), scope.begin() + static_cast<std::ptrdiff_t>(depth) + 1, "/"));
    scope.resize(depth);
    return {"scope " + key, std::move(scope), title, true};
  }
  if (folds_lines_ && first.where().known()) {
    const std::string line = to_string(first.where());
    const std::string key = fmt::format("line {} {}", line, fmt::join(scope, "/"));
    return {key, std::move(scope), line, true};
  }
  return {"node " + first.name(), std::move(scope), std::string(short_name(first.name())), false};
}

Drawing::Place Drawing::beside_place(const char* phase, const Node& forward) const {
  Place place = place_of(forward);
  place.key = fmt::format("{} {}", phase, place.key);
  place.scope.insert(place.scope.begin(), phase);
  return place;
}

Drawing::Place Drawing::place_of(const Node& node) const {
  if (folded_) {
    switch (node.phase()) {
      case Phase::forward: return forward_place(node);
      case Phase::gradient:
        if (node.differentiates()) return beside_place("gradients", *node.differentiates());
        break;
      case Phase::recompute:
        if (node.recomputes()) return beside_place("recompute", *node.recomputes());
        break;
      case Phase::update: {
        const auto variable = updated_by_.find(&node);
        if (variable != updated_by_.end()) return forward_place(*variable->second);
        const Scope scope = split(scope_of(node.name()));
        if (!scope.empty()) return {"update " + scope[0], {}, scope[0], true};
        break;
      }
    }
  }
  return {"node " + node.name(), split(scope_of(node.name())),
          std::string(short_name(node.name())), false};
}

void Drawing::make_boxes() {
  std::unordered_map<std::string, int> by_key;
  for (const Node& node : graph_.nodes()) {
    if (!is_drawn(node)) continue;
    Place place = place_of(node);
    const auto [entry, is_new] = by_key.emplace(place.key, static_cast<int>(boxes_.size()));
    box_of_[slot(node)] = entry->second;
    if (is_new) {
      DrawnBox box;
      box.phase = node.phase();
      box.scope = std::move(place.scope);
      box.title = std::move(place.title);
      box.is_scope = place.is_scope && node.phase() != Phase::gradient;
      boxes_.push_back(std::move(box));
    }
    DrawnBox& box = boxes_[static_cast<std::size_t>(entry->second)];
    const auto updated = updated_by_.find(&node);
    const bool is_updated = updated != updated_by_.end();
    if (is_updated || (folded_ && &first_of(subject_of(node)) != &subject_of(node)))
      box.unlisted.push_back(&node);
    else
      box.nodes.push_back(&node);
    if (is_updated && node.op().traits.updates_variable &&
        &node.input(0).node() == updated->second)
      ++box.updated_variables;
    if (const auto copies = copies_.find(&node); copies != copies_.end() && !box.is_scope)
      box.copies = copies->second;
  }
  for (DrawnBox& box : boxes_) list_something(box);
}

/// The gradient of a first round may have no nodes where those of others have some.
void Drawing::list_something(DrawnBox& box) const {
  if (!box.nodes.empty()) return;
  const Node& subject = subject_of(*box.unlisted.front());
  // Without ranges: clang 14 cannot read what theirs returns.
  const auto others =
      std::stable_partition(box.unlisted.begin(), box.unlisted.end(),
                            [&](const Node* node) { return &subject_of(*node) == &subject; });
  box.nodes.assign(box.unlisted.begin(), others);
  box.unlisted.erase(box.unlisted.begin(), others);
}

// --- Arrows --------------------------------------------------------------------------------

void Drawing::connect() {
  for (const Node& node : graph_.nodes()) {
    if (box_of(node) < 0) continue;
    for (const Output& input : shown_inputs(node)) add_edge(input.node(), node, input.index());
    for (const Node* before : node.control_inputs()) add_edge(*before, node, -1);
  }
}

/// What all updates share says so; arrows to each of them would cover the picture.
bool Drawing::is_shared_by_updates(const Node& node) const {
  return folded_ && node.phase() == Phase::update && !updated_by_.contains(&node);
}

void Drawing::add_edge(const Node& from, const Node& to, int index) {
  const int source = box_of(from), target = box_of(to);
  if (source < 0 || is_shared_by_updates(from) || is_shared_by_updates(to)) return;
  const auto round_of = [this](const Node& node) {
    const auto found = rounds_.find(&subject_of(node));
    return found == rounds_.end() ? Rounds() : found->second;
  };
  const Rounds a = round_of(from), b = round_of(to);
  const bool to_next = a.first && b.first && a.repetition == b.repetition && a.round != b.round;
  if (source == target) return;
  const auto [edge, is_new] = edges_.try_emplace({source, target});
  // An arrow within a round shows the order; one to the next round goes against it.
  edge->second.to_next_round = to_next && (is_new || edge->second.to_next_round);
  if (index >= 0) edge->second.values.emplace(&first_of(from), index);
}

/// Cuts a long chain of forward boxes into columns, which a screen shows better. What is in one
/// scope stays in one column.
void Drawing::arrange_columns() {
  std::vector<std::size_t> rank(boxes_.size(), 0);
  std::vector<bool> has_input(boxes_.size(), false);
  const auto place = [](int box) { return static_cast<std::size_t>(box); };
  const auto is_forward = [&](int box) { return boxes_[place(box)].phase == Phase::forward; };
  // By their first nodes boxes are in topological order, but for arrows back into a scope.
  std::size_t longest = 0;
  for (const auto& [ends, edge] : edges_) {
    const auto [from, to] = ends;
    if (from > to || edge.to_next_round || !is_forward(from) || !is_forward(to)) continue;
    rank[place(to)] = std::max(rank[place(to)], rank[place(from)] + 1);
    has_input[place(to)] = true;
    longest = std::max(longest, rank[place(to)]);
  }
  const std::size_t columns = (longest + kColumn) / kColumn;
  if (columns < 2) return;
  const auto unit_of = [&](int box) {
    const Scope& scope = boxes_[place(box)].scope;
    return scope.empty() ? fmt::format("{}", box) : "scope " + scope[0];
  };
  std::unordered_map<std::string, std::size_t> first_rank;
  for (std::size_t i = 0; i < boxes_.size(); ++i)
    if (has_input[i]) {
      const auto [known, is_new] = first_rank.emplace(unit_of(static_cast<int>(i)), rank[i]);
      if (!is_new) known->second = std::min(known->second, rank[i]);
    }
  const auto column_at = [&](std::size_t at) {
    return static_cast<int>(at * columns / (longest + 1));
  };
  for (std::size_t i = 0; i < boxes_.size(); ++i)
    if (const auto known = first_rank.find(unit_of(static_cast<int>(i)));
        known != first_rank.end())
      boxes_[i].column = column_at(known->second);
    else
      boxes_[i].column = -1;
  // What nothing leads to stands where it is read first.
  for (const auto& [ends, edge] : edges_)
    if (int& column = boxes_[place(ends.first)].column;
        column < 0 && is_forward(ends.first) && is_forward(ends.second))
      column = boxes_[place(ends.second)].column;
}

void Drawing::find_neighbours() {
  for (DrawnBox& box : boxes_)
    for (const Node* node : box.nodes) {
      const Node* forward = node->differentiates() ? node->differentiates() : node->recomputes();
      // Gradients of gradients run down again, so they stand where they like.
      if (box.beside < 0 && forward && box_of(*forward) >= 0 &&
          forward->phase() == Phase::forward)
        box.beside = box_of(*forward);
    }
}

std::string Drawing::expression(const Node& node) const {
  const bool listed = boxes_[static_cast<std::size_t>(box_of(node))].is_folded();
  std::vector<std::string> arguments;
  bool says_something = listed && node.num_inputs() > 0;
  for (const Output& input : shown_inputs(node)) {
    if (arguments.size() == kMaxArguments) {
      arguments.emplace_back("...");
      break;
    }
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
