#include "plan/plan.h"

#include <algorithm>
#include <span>
#include <unordered_set>

#include "core/checked.h"
#include "core/index.h"
#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/slot.h"
#include "graph/static_inputs.h"
#include "plan/arena.h"
#include "plan/assign_memory.h"
#include "plan/order.h"

namespace gradgraph {
namespace {

constexpr std::int32_t kHost = 0;

/// Names the user's node, whose copy or part `node` is.
[[noreturn]] void fail_too_large(const Node& node, const std::string& message) {
  const Node& user = node.origin() ? *node.origin() : node;
  throw RunError(node_message(user.op().name, user.name(), message), node.where());
}

class Planner {
 public:
  Planner(Graph& graph, Placement& placement, const PlanOptions& options)
      : graph_(graph), placement_(placement), options_(options) {}

  Plan run() {
    const Order order = order_nodes(graph_, placement_, options_.fetches, options_.is_host);
    plan_.is_host = options_.is_host;
    for (const Node* node : order.nodes)
      for (int i = 0; i < num_updates(*node); ++i)
        is_updated_.insert(variable_behind(node->input(i)));
    number_outputs();
    find_results(order.nodes);
    if (options_.shares_parts) count_read_parts(order.nodes);
    if (std::find(plan_.is_host.begin(), plan_.is_host.end(), false) != plan_.is_host.end())
      plan_.staging_bytes = kStagingHeader;
    for (std::size_t i = 0; i < order.nodes.size(); ++i) {
      if (i == order.num_early) plan_.finish = static_cast<std::int32_t>(plan_.steps.size());
      add(*order.nodes[i]);
    }
    if (order.num_early == order.nodes.size())
      plan_.finish = static_cast<std::int32_t>(plan_.steps.size());
    resolve_parts();
    assign_memory(plan_, options_.rooms);
    plan_waits(plan_, options_);
    return std::move(plan_);
  }

 private:
  /// Values that nobody reads but who hands them over.
  void find_results(const std::vector<Node*>& order) {
    is_result_.assign(graph_.nodes().size(), true);
    for (const Node* node : order)
      if (!is_fetch(*node))
        for (const Output& input : node->inputs()) is_result_[slot(input)] = false;
  }

  std::int32_t device_of(const Node& node) const { return placement_.device[slot(node)]; }
  bool is_host(std::int32_t device) const { return options_.is_host[at(device)]; }
  std::int32_t& value_of(const Node& node, int index) {
    return output_value_[first_output_[slot(node)] + at(index)];
  }
  std::int32_t& value_of(const Output& output) { return value_of(output.node(), output.index()); }

  void number_outputs() {
    std::size_t outputs = 0;
    for (const Node& node : graph_.nodes()) {
      first_output_.push_back(outputs);
      outputs += at(node.num_outputs());
    }
    output_value_.assign(outputs, kNoValue);
  }

  /// Gives the node values, and a step where it has something to do.
  void add(Node& node) {
    const Traits& traits = node.op().traits;
    if (traits.no_kernel) {
      if (node.num_outputs() > 0) add_value(node, 0, source_storage(node));
      return;
    }
    if (renames_input(node)) {
      value_of(node, 0) = value_of(node.input(0));
      return;
    }
    if (options_.shares_parts && place_parts(node)) return;
    PlannedStep step{.node = &node, .device = device_of(node)};
    step.first_value = static_cast<std::int32_t>(plan_.step_values.size());
    step.num_inputs = node.num_inputs();
    step.num_outputs = node.num_outputs();
    if (node.op().name == "copy") place_copy(node, step);
    for (int i = 0; i < node.num_inputs(); ++i)
      plan_.step_values.push_back(traits.shape_only || is_static_input(traits, i) ? kNoValue
                                  : is_host(step.device) ? value_of(node.input(i))
                                                         : staged(value_of(node.input(i))));
    for (int i = 0; i < node.num_outputs(); ++i) {
      if (traits.updates_variable)
        value_of(node, i) = value_of(node.input(i));
      else if (is_host(device_of(node)) && !is_host(step.device) && is_result_[slot(node)])
        stage(node, i);
      else
        add_value(node, i, Storage::arena);
      plan_.step_values.push_back(value_of(node, i));
    }
    if (!traits.moves_value) {
      step.workspace_bytes = options_.workspace_bytes(node);
      if (step.workspace_bytes > kMaxValueBytes)
        fail_too_large(
            node, fmt::format("its kernel needs {} bytes of work memory", step.workspace_bytes));
      count_bytes(node, step.workspace_bytes);
    }
    plan_.steps.push_back(step);
  }

  /// All of a run stays below a limit, so that no sum of it wraps.
  void count_bytes(const Node& node, std::size_t bytes) {
    total_bytes_ += rounded(bytes);
    if (total_bytes_ > kMaxRunBytes)
      fail_too_large(node, fmt::format("with its {} bytes, the values of this run are larger "
                                       "than any memory",
                                       bytes));
  }

  void add_value(Node& node, int index, Storage storage) {
    value_of(node, index) = static_cast<std::int32_t>(plan_.values.size());
    plan_.values.push_back({&node, index, storage, device_of(node), bytes_of(node, index)});
    count_bytes(node, plan_.values.back().bytes);
  }

  /// Memory of the host that devices copy from or to, for the whole run.
  std::int32_t stage(Node& node, int index) {
    add_value(node, index, Storage::staging);
    PlannedValue& value = plan_.values.back();
    value.device = kHost;
    value.offset = plan_.staging_bytes;
    plan_.staging_bytes += rounded(value.bytes);
    return value_of(node, index);
  }

  /// What a device reads in place of `value`: what is fed is the caller's memory.
  std::int32_t staged(std::int32_t value) {
    if (plan_.values[at(value)].storage != Storage::feed) return value;
    const auto known = std::ranges::find(plan_.staged_feeds, value, &StagedFeed::feed);
    if (known != plan_.staged_feeds.end()) return known->staged;
    Node& node = *plan_.values[at(value)].node;
    const int index = plan_.values[at(value)].index;
    const std::int32_t copied = stage(node, index);
    value_of(node, index) = value;  // the host goes on with what is fed
    plan_.staged_feeds.push_back({value, copied});
    return copied;
  }

  static Storage source_storage(const Node& node) {
    if (node.op().traits.stateful) return Storage::variable;
    return node.op().name == "constant" ? Storage::constant : Storage::feed;
  }

  /// An alias of a variable that this run updates is copied instead: it must keep its value.
  bool renames_input(const Node& node) const {
    return node.op().traits.alias && device_of(node) == device_of(node.input(0).node()) &&
           !is_updated_.contains(variable_behind(node.input(0)));
  }

  /// How much of each value is read as parts of it: a few would keep all of it in memory.
  void count_read_parts(const std::vector<Node*>& order) {
    read_parts_.assign(output_value_.size(), 0);
    for (const Node* node : order) {
      if (!node->op().parts) continue;
      const std::optional<Parts> parts = node->op().parts(*node);
      if (!parts || parts->of_output) continue;
      const Output& whole = node->input(0);
      for (int i = 0; i < node->num_outputs(); ++i)
        read_parts_[first_output_[slot(whole)] + at(whole.index())] += bytes_of(*node, i);
    }
  }

  /// Whether the node needs no step, as the values that it takes apart or puts together are, or
  /// become, parts of one.
  bool place_parts(Node& node) {
    if (!node.op().parts) return false;
    const std::optional<Parts> parts = node.op().parts(node);
    if (!parts) return false;
    std::vector<std::size_t> offsets;
    for (const std::int64_t offset : parts->offsets) {
      offsets.push_back(at(offset) * size_of(node.dtype()));
      // As kernels may expect of what an arena gives out.
      if (offsets.back() % kArenaAlignment != 0) return false;
    }
    return parts->of_output ? put_together(node, offsets) : take_apart(node, offsets);
  }

  bool is_in_arena(std::int32_t value, std::int32_t device) const {
    return value != kNoValue && plan_.values[at(value)].storage == Storage::arena &&
           plan_.values[at(value)].device == device;
  }

  bool take_apart(Node& node, const std::vector<std::size_t>& offsets) {
    const Output& whole = node.input(0);
    const std::int32_t value = value_of(whole);
    if (!is_in_arena(value, device_of(node)) ||
        2 * read_parts_[first_output_[slot(whole)] + at(whole.index())] <
            plan_.values[at(value)].bytes)
      return false;
    for (int i = 0; i < node.num_outputs(); ++i) {
      add_value(node, i, Storage::arena);
      plan_.values.back().whole = value;
      plan_.values.back().offset = offsets[at(i)];
    }
    return true;
  }

  /// Bytes of a value that is part of no other.
  struct Piece {
    std::int32_t whole;
    std::size_t offset, bytes;
  };
  Piece piece_of(std::int32_t value) const {
    Piece piece{value, 0, plan_.values[at(value)].bytes};
    while (plan_.values[at(piece.whole)].whole != kNoValue) {
      piece.offset += plan_.values[at(piece.whole)].offset;
      piece.whole = plan_.values[at(piece.whole)].whole;
    }
    return piece;
  }

  /// Inputs that lie one behind the other in one value are already a part of it. Others become
  /// parts of the output, if each is a whole value, or a row of parts that is one.
  bool put_together(Node& node, const std::vector<std::size_t>& offsets) {
    std::vector<Piece> pieces;
    std::vector<std::size_t> places;
    for (int i = 0; i < node.num_inputs(); ++i) {
      const std::int32_t value = value_of(node.input(i));
      if (!is_in_arena(value, device_of(node))) return false;
      const Piece piece = piece_of(value);
      if (piece.bytes == 0) return false;
      if (!pieces.empty() && pieces.back().whole == piece.whole &&
          pieces.back().offset + pieces.back().bytes == piece.offset) {
        pieces.back().bytes += piece.bytes;
      } else {
        pieces.push_back(piece);
        places.push_back(offsets[at(i)]);
      }
    }
    if (pieces.size() > 1) {
      std::unordered_set<std::int32_t> wholes;
      for (const Piece& piece : pieces)
        if (piece.bytes != plan_.values[at(piece.whole)].bytes ||
            !wholes.insert(piece.whole).second)
          return false;
    }
    add_value(node, 0, Storage::arena);
    const std::int32_t value = value_of(node, 0);
    if (pieces.size() == 1) {
      plan_.values[at(value)].whole = pieces[0].whole;
      plan_.values[at(value)].offset = pieces[0].offset;
      return true;
    }
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      plan_.values[at(pieces[i].whole)].whole = value;
      plan_.values[at(pieces[i].whole)].offset = places[i];
    }
    return true;
  }

  /// Copies run on the device that is not the host, or else on the one that is written to.
  void place_copy(const Node& node, PlannedStep& step) const {
    const std::int32_t from = device_of(node.input(0).node());
    if (!is_host(step.device)) {
      step.stream = kToDeviceStream;
    } else if (!is_host(from)) {
      step.device = from;
      step.stream = kToHostStream;
    }
  }

  /// Every part names the value that is part of no other, and its place there.
  void resolve_parts() {
    std::vector<Piece> pieces;
    for (std::size_t v = 0; v < plan_.values.size(); ++v)
      pieces.push_back(piece_of(static_cast<std::int32_t>(v)));
    for (std::size_t v = 0; v < plan_.values.size(); ++v) {
      PlannedValue& value = plan_.values[v];
      if (value.whole == kNoValue) continue;
      value.whole = pieces[v].whole;
      value.offset = pieces[v].offset;
    }
  }

  Graph& graph_;
  Placement& placement_;
  const PlanOptions& options_;
  std::unordered_set<const Node*> is_updated_;
  std::vector<std::size_t> first_output_;   ///< by node id: where its outputs begin below
  std::vector<std::int32_t> output_value_;  ///< by output
  std::vector<std::size_t> read_parts_;     ///< by output: bytes
  std::vector<bool> is_result_;             ///< by node id
  std::size_t total_bytes_ = 0;
  Plan plan_;
};

}  // namespace

std::size_t bytes_of(const Node& node, int index) {
  const DType dtype = node.dtype(index);
  const Shape& shape = node.shape(index);
  if (spanned_bytes(dtype, shape) > kMaxValueBytes)
    fail_too_large(node, fmt::format("{}{} is larger than any memory", dtype, shape));
  return static_cast<std::size_t>(shape.num_elements()) * size_of(dtype);
}

std::vector<Access> accesses_of(const Plan& plan, const PlannedStep& step) {
  std::vector<Access> accesses;
  const auto devices = static_cast<std::int32_t>(plan.is_host.size());
  const auto add = [&](std::int32_t index, bool writes) {
    if (index == kNoValue) return;
    const PlannedValue& value = plan.values[at(index)];
    if (value.bytes == 0) return;
    switch (value.storage) {
      case Storage::arena:
        accesses.push_back({value.device, value.offset, value.offset + value.bytes, writes});
        return;
      case Storage::staging:
        accesses.push_back({devices, value.offset, value.offset + value.bytes, writes});
        return;
      case Storage::variable:
        accesses.push_back({devices + 1 + index, 0, value.bytes, writes});
        return;
      case Storage::constant:
      case Storage::feed: return;
    }
  };
  for (const std::int32_t value : plan.inputs_of(step)) add(value, false);
  for (const std::int32_t value : plan.outputs_of(step)) add(value, true);
  if (step.workspace_bytes > 0)
    accesses.push_back(
        {step.device, step.workspace_offset, step.workspace_offset + step.workspace_bytes, true});
  return accesses;
}

Plan make_plan(Graph& graph, Placement& placement, const PlanOptions& options) {
  return Planner(graph, placement, options).run();
}

}  // namespace gradgraph
