#include "passes/specialize.h"

#include <algorithm>
#include <memory_resource>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/may_fail.h"
#include "graph/static_inputs.h"
#include "graph/subgraph.h"
#include "ops/builders.h"

namespace gradgraph {
namespace {

/// It has a value before a run, which may be missing.
bool is_variable(const Node& node) {
  const Traits& traits = node.op().traits;
  return traits.stateful && traits.no_kernel && node.num_outputs() == 1;
}

/// Finds outputs among those that are fed.
class FedOutputs {
 public:
  static constexpr std::size_t kNotFed = static_cast<std::size_t>(-1);

  explicit FedOutputs(const std::vector<Output>& fed) {
    for (std::size_t i = 0; i < fed.size(); ++i)
      if (fed[i]) sorted_.push_back({fed[i].node_id(), fed[i].index(), i});
    std::ranges::sort(sorted_);
  }
  /// The number of the feed, or kNotFed.
  std::size_t find(const Output& output) const {
    const Fed wanted{output.node_id(), output.index(), 0};
    const auto found = std::ranges::lower_bound(sorted_, wanted);
    const bool is_fed =
        found != sorted_.end() && found->id == wanted.id && found->index == wanted.index;
    return is_fed ? found->number : kNotFed;
  }

 private:
  struct Fed {
    int id, index;
    std::size_t number;
    auto operator<=>(const Fed&) const = default;
  };
  std::vector<Fed> sorted_;
};

/// What the fetches need when the fed outputs come from outside: nodes, and which feeds. Nothing
/// here takes time for the rest of the graph, of which there may be thousands of branches.
struct Needed {
  struct Entry {
    const Node* node;
    bool for_value;  ///< not for its shape alone
  };
  std::vector<Entry> nodes;  ///< in the order in which they were made
  std::vector<bool> feeds;   ///< by index into `fed`
};

Needed find_needed(const std::vector<Output>& fed, const std::vector<Output>& fetches) {
  const FedOutputs feeds(fed);
  Needed needed{{}, std::vector<bool>(fed.size(), false)};
  std::pmr::monotonic_buffer_resource memory;
  std::pmr::unordered_map<int, bool> for_value(&memory);  // by node id
  // Users' graphs are in topological order: the last node first, so readers come first.
  std::priority_queue<std::pair<int, const Node*>> open;
  const auto need_node = [&](const Node& node, bool value) {
    const auto [found, is_new] = for_value.try_emplace(node.id(), value);
    if (is_new) open.emplace(node.id(), &node);
    if (value) found->second = true;
  };
  const auto need = [&](const Output& output, bool value) {
    if (const std::size_t feed = feeds.find(output); feed != FedOutputs::kNotFed)
      needed.feeds[feed] = true;
    else
      need_node(output.node(), value);
  };
  for (const Output& fetch : fetches) need(fetch, true);
  while (!open.empty()) {
    const Node& node = *open.top().second;
    open.pop();
    const bool value = for_value.at(node.id());
    needed.nodes.push_back({&node, value});
    const Traits& traits = node.op().traits;
    // A shape is known before the run, unless something must run before it.
    const bool is_known = traits.shape_only && node.control_inputs().empty();
    const bool reads_values = value && !is_known;
    for (int i = 0; i < node.num_inputs(); ++i) {
      const bool overwrites = traits.overwrites_variable && i < node.num_outputs();
      need(node.input(i), (reads_values && !overwrites) || is_static_input(traits, i));
    }
    for (const Node* before : node.control_inputs())
      if (before->region() == node.region())  // others have run before the branch
        need_node(*before, value && !is_variable(*before));
  }
  std::ranges::reverse(needed.nodes);
  return needed;
}

class Specializer {
 public:
  Specializer(const Graph& graph, const Evaluator& evaluate) : user_(graph), evaluate_(evaluate) {
    result_.graph = std::make_unique<Graph>();
  }

  SpecializedGraph run(const std::vector<FedValue>& feeds, const std::vector<Output>& fetches) {
    std::vector<Output> fed;
    for (const FedValue& feed : feeds) fed.push_back(feed.output);
    const Needed needed = find_needed(fed, fetches);
    for (std::size_t i = 0; i < feeds.size(); ++i) {
      result_.feeds.push_back(nullptr);
      if (needed.feeds[i]) add_feed(feeds[i]);
    }
    for (const auto& [node, for_value] : needed.nodes) {
      copy(*node, for_value);
      if (for_value && is_variable(*node))
        result_.read_variables.push_back(node->origin() ? node->origin() : node);
    }
    for (const Output& fetch : fetches) add_fetch(fetch);
    return std::move(result_);
  }

 private:
  /// Empty where there is none.
  Output copy_of(const Node& node, int index) const {
    const auto first = first_output_.find(node.id());
    if (first == first_output_.end()) return {};
    return copies_[first->second + static_cast<std::size_t>(index)];
  }
  Output copy_of(const Output& output) const { return copy_of(output.node(), output.index()); }

  void set_copy(const Node& node, int index, const Output& copy) {
    const auto [first, is_new] = first_output_.try_emplace(node.id(), copies_.size());
    if (is_new)
      copies_.resize(copies_.size() + static_cast<std::size_t>(std::max(node.num_outputs(), 1)));
    copies_[first->second + static_cast<std::size_t>(index)] = copy;
  }

  void add_feed(const FedValue& feed) {
    const Node& node = feed.output.node();
    if (feed.value) {
      set_copy(node, feed.output.index(), constant(feed.value, node));
      return;
    }
    Node& placeholder =
        add(node, "placeholder", {}, {{"dtype", feed.dtype}, {"shape", feed.shape}}, node.name());
    result_.feeds.back() = &placeholder;
    set_copy(node, feed.output.index(), placeholder.output());
  }

  /// A node that the user's graph does not have, made for one that it has.
  Node& add(const Node& original, std::string_view op, OutputList inputs, Attributes attributes,
            std::string_view name) {
    const ContextGuard guard(*result_.graph);
    result_.graph->context().origin = original.origin() ? original.origin() : &original;
    return result_.graph->add(op_registry().at(op), inputs, std::move(attributes),
                              original.where(), name);
  }

  Output constant(const Tensor& value, const Node& original) {
    return add(original, "constant", {}, {{"value", value}}, original.name()).output();
  }

  void copy(const Node& node, bool for_value) {
    if (&node.op() == &placeholder_)
      throw RunError(
          node_message("placeholder", node.name(),
                       fmt::format("{}{} of {} is needed but was not fed", node.dtype(),
                                   node.shape(), to_string(node.where()))));
    inputs_.clear();
    for (const Output& input : node.inputs()) inputs_.push_back(copy_of(input));
    if (node.op().traits.updates_variable && inputs_.front().node().op().name != "variable")
      throw RunError(node_message(node.op().name, node.name(),
                                  fmt::format("updates variable '{}', which this run feeds: "
                                              "set it with Session::set_value instead",
                                              node.input(0).name())),
                     node.where());
    for (int i = 0; i < node.num_inputs(); ++i)
      if (is_static_input(node.op().traits, i))
        check_static(node, i, inputs_[static_cast<std::size_t>(i)]);
    control_inputs_.clear();
    for (const Node* before : node.control_inputs())
      if (const Output copied_before = copy_of(*before, 0))
        control_inputs_.push_back(&copied_before.node());

    if (node.op().traits.runs_subgraphs && copy_chosen_branch(node)) return;
    Node& copied = node.op().traits.runs_subgraphs
                       ? add_with_subgraphs(node)
                       : result_.graph->add_copy(node, inputs_, control_inputs_);
    for (int i = 0; i < copied.num_outputs(); ++i)
      if (!copied.shape(i).fully_known())
        throw RunError(node_message(node.op().name, node.name(),
                                    fmt::format("its shape {} is not known although all feeds' "
                                                "shapes are; a -1 stands for it",
                                                copied.shape(i))),
                       node.where());
    for (int i = 0; i < std::max(node.num_outputs(), 1); ++i) set_copy(node, i, copied.output(i));
    fold(node, copied, for_value);
  }

  /// Copies the branch of a "cond" whose predicate is known, in place of the node.
  bool copy_chosen_branch(const Node& node) {
    const Tensor* predicate = &node.op() == &cond_ ? constant_value(inputs_.front()) : nullptr;
    if (!predicate || !control_inputs_.empty()) return false;
    const auto& branch = *node.attributes().get<std::shared_ptr<const Subgraph>>(
        predicate->item<bool>() ? "then_branch" : "else_branch");
    if (&graph_of(branch) != &user_) return false;
    for (const auto& [inner, for_value] : find_needed(branch.parameters, branch.results).nodes)
      if (!copy_of(*inner, 0)) copy(*inner, for_value);
    for (int i = 0; i < node.num_outputs(); ++i)
      set_copy(node, i, copy_of(branch.results[static_cast<std::size_t>(i)]));
    return true;
  }

  /// A node whose subgraphs are copies too, so that their results' shapes are known.
  Node& add_with_subgraphs(const Node& node) {
    Attributes attributes = node.attributes();
    for (const auto& [name, value] : node.attributes())
      if (const auto* subgraph = std::get_if<std::shared_ptr<const Subgraph>>(&value))
        attributes.set(name, copy_subgraph(**subgraph));
    Node& copied =
        result_.graph->add_in_place_of(node, node.op(), inputs_, std::move(attributes));
    for (Node* before : control_inputs_) copied.add_control_input(*before);
    return copied;
  }

  std::shared_ptr<const Subgraph> copy_subgraph(const Subgraph& original) const {
    const Evaluator evaluate = without_failures(evaluate_);
    const std::vector<FedValue> fed = fed_values(original, inputs_);
    SpecializedGraph copied = specialize(graph_of(original), fed, original.results, evaluate);
    Subgraph subgraph;
    for (std::size_t i = 0, next = 0; i < original.parameters.size(); ++i) {
      Node* feed = original.parameters[i] ? copied.feeds[next++] : nullptr;
      subgraph.parameters.push_back(feed ? feed->output() : Output());
    }
    for (const Node* fetch : copied.fetches) subgraph.results.push_back(fetch->input(0));
    subgraph.own = std::move(copied.graph);
    return std::make_shared<const Subgraph>(std::move(subgraph));
  }

  /// Puts constants in place of what is known already, for whoever reads it.
  void fold(const Node& node, const Node& copied, bool for_value) {
    const Traits& traits = copied.op().traits;
    if (traits.no_kernel || traits.stateful || traits.random || copied.num_outputs() == 0 ||
        !copied.control_inputs().empty())
      return;
    if (const auto known = known_vector(copy_of(node, 0)); known && known->fully_known()) {
      set_copy(node, 0, constant(Tensor::from(known->dims(), Shape{known->rank()}), node));
      return;
    }
    if (!for_value || !is_foldable(copied)) return;
    const auto values = evaluate_(copied);
    if (!values) return;
    for (int i = 0; i < copied.num_outputs(); ++i)
      set_copy(node, i, constant((*values)[static_cast<std::size_t>(i)], node));
  }

  void check_static(const Node& node, int i, const Output& copied_input) const {
    if (&copied_input.node().op() == &constant_) return;
    throw RunError(
        node_message(node.op().name, node.name(),
                     fmt::format("input {}, '{}', decides a shape but depends on values "
                                 "that are only known during the run",
                                 i, node.input(i).name())),
        node.where());
  }

  void add_fetch(const Output& fetch) {
    const Output value = copy_of(fetch);
    const Node& node = fetch.node();
    result_.fetches.push_back(node.num_outputs() == 0
                                  ? &value.node()
                                  : &add(node, "fetch", {value}, {}, "fetch/" + node.name()));
  }

  const Graph& user_;
  const Evaluator& evaluate_;
  const OpDef& constant_ = op_registry().at("constant");
  const OpDef& placeholder_ = op_registry().at("placeholder");
  const OpDef& cond_ = op_registry().at("cond");
  /// Where the copies of a node's outputs begin in `copies_`, by node id.
  std::pmr::monotonic_buffer_resource memory_;
  std::pmr::unordered_map<int, std::size_t> first_output_{&memory_};
  std::vector<Output> copies_;
  SpecializedGraph result_;
  std::vector<Output> inputs_;  // of the node that is copied; kept for their memory
  std::vector<Node*> control_inputs_;
};

}  // namespace

std::vector<bool> find_static_feeds(const std::vector<Output>& fed,
                                    const std::vector<Output>& fetches) {
  const Needed needed = find_needed(fed, fetches);
  const FedOutputs feeds(fed);
  std::unordered_set<int> value_decides;  // by node id
  std::vector<bool> is_static(fed.size(), false);
  const auto mark = [&](const Output& output) {
    if (const std::size_t feed = feeds.find(output); feed != FedOutputs::kNotFed)
      is_static[feed] = true;
    else
      value_decides.insert(output.node_id());
  };
  for (auto entry = needed.nodes.rbegin(); entry != needed.nodes.rend(); ++entry) {
    const auto* node = entry->node;
    const Traits& traits = node->op().traits;
    const bool decides = value_decides.contains(node->id()) && !traits.shape_only;
    for (int i = 0; i < node->num_inputs(); ++i)
      if (decides || is_static_input(traits, i)) mark(node->input(i));
    for_each_subgraph(*node, [&, &reader = *node](const Subgraph& subgraph) {
      const std::vector<bool> inside = find_static_feeds(subgraph.parameters, subgraph.results);
      for (std::size_t i = 0; i < inside.size(); ++i)
        if (inside[i]) mark(reader.input(input_of_parameter(reader, subgraph, i)));
    });
  }
  return is_static;
}

std::vector<FedValue> fed_values(const Subgraph& subgraph, std::span<const Output> inputs) {
  std::vector<FedValue> fed;
  const auto values = inputs.last(subgraph.parameters.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    if (const Output& parameter = subgraph.parameters[i]) {
      const Tensor* known = constant_value(values[i]);
      fed.push_back({parameter, values[i].dtype(), values[i].shape(), known ? *known : Tensor()});
    }
  return fed;
}

Evaluator without_failures(const Evaluator& evaluate) {
  return [&evaluate](const Node& node) { return may_fail(node) ? std::nullopt : evaluate(node); };
}

SpecializedGraph specialize(const Graph& graph, const std::vector<FedValue>& feeds,
                            const std::vector<Output>& fetches, const Evaluator& evaluate) {
  return Specializer(graph, evaluate).run(feeds, fetches);
}

}  // namespace gradgraph
