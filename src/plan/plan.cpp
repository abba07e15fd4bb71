#include "plan/plan.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <span>
#include <unordered_set>

#include "core/checked.h"
#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/may_fail.h"
#include "graph/slot.h"
#include "graph/static_inputs.h"
#include "plan/arena.h"
#include "plan/order.h"

namespace gradgraph {
namespace {

std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

/// Names the user's node, whose copy or part `node` is.
[[noreturn]] void fail_too_large(const Node& node, const std::string& message) {
  const Node& user = node.origin() ? *node.origin() : node;
  throw RunError(node_message(user.op().name, user.name(), message), node.where());
}

constexpr int kComputeStream = 0, kCopyStream = 1, kStreams = 2;

class Planner {
 public:
  Planner(Graph& graph, Placement& placement, const PlanOptions& options)
      : graph_(graph), placement_(placement), options_(options) {}

  Plan run() {
    const std::vector<Node*> order = order_nodes(graph_, placement_, options_.fetches);
    for (const Node* node : order)
      for (int i = 0; i < num_updates(*node); ++i)
        is_updated_.insert(variable_behind(node->input(i)));
    number_outputs();
    for (Node* node : order) add(*node);
    assign_memory();
    if (std::find(options_.is_host.begin(), options_.is_host.end(), false) !=
        options_.is_host.end())
      synchronize();
    protect_updates();
    return std::move(plan_);
  }

 private:
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
    PlannedStep step{.node = &node, .device = device_of(node)};
    step.first_value = static_cast<std::int32_t>(plan_.step_values.size());
    step.num_inputs = node.num_inputs();
    step.num_outputs = node.num_outputs();
    if (node.op().name == "copy") place_copy(node, step);
    for (int i = 0; i < node.num_inputs(); ++i)
      plan_.step_values.push_back(is_static_input(traits, i) ? kNoValue
                                                             : value_of(node.input(i)));
    for (int i = 0; i < node.num_outputs(); ++i) {
      if (traits.updates_variable)
        value_of(node, i) = value_of(node.input(i));
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

  static Storage source_storage(const Node& node) {
    if (node.op().traits.stateful) return Storage::variable;
    return node.op().name == "constant" ? Storage::constant : Storage::feed;
  }

  /// An alias of a variable that this run updates is copied instead: it must keep its value.
  bool renames_input(const Node& node) const {
    return node.op().traits.alias && device_of(node) == device_of(node.input(0).node()) &&
           !is_updated_.contains(variable_behind(node.input(0)));
  }

  /// Copies run on the device that is not the host, beside its computing stream.
  void place_copy(const Node& node, PlannedStep& step) const {
    if (is_host(step.device)) step.device = device_of(node.input(0).node());
    step.stream = is_host(step.device) ? kComputeStream : kCopyStream;
  }

  void assign_memory() {
    std::vector<std::int32_t> last_use(plan_.values.size(), -1);
    for (std::size_t s = 0; s < plan_.steps.size(); ++s)
      for (const std::int32_t value : values_of(plan_.steps[s]))
        if (value != kNoValue) last_use[at(value)] = static_cast<std::int32_t>(s);

    plan_.buffers.resize(options_.is_host.size());
    std::vector<std::size_t> workspace(plan_.steps.size());
    for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
      const PlannedStep& step = plan_.steps[s];
      const auto index = static_cast<std::int32_t>(s);
      const std::int32_t reused = reusable_input(step, index, last_use);
      for (const std::int32_t value : outputs_of(step)) {
        PlannedValue& output = plan_.values[at(value)];
        if (output.storage != Storage::arena) continue;
        auto& buffers = plan_.buffers[at(output.device)];
        if (reused != kNoValue && value == outputs_of(step)[0]) {
          output.buffer = plan_.values[at(reused)].buffer;
          buffers[output.buffer].last = last_use[at(value)];
        } else {
          output.buffer = buffers.size();
          buffers.push_back({output.bytes, index, last_use[at(value)], 0});
        }
      }
      workspace[s] = plan_.buffers[at(step.device)].size();
      plan_.buffers[at(step.device)].push_back({step.workspace_bytes, index, index, 0});
    }

    for (auto& buffers : plan_.buffers) plan_.arena_bytes.push_back(pack(buffers));
    for (PlannedValue& value : plan_.values)
      if (value.storage == Storage::arena)
        value.offset = plan_.buffers[at(value.device)][value.buffer].offset;
    for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
      PlannedStep& step = plan_.steps[s];
      step.workspace_offset = plan_.buffers[at(step.device)][workspace[s]].offset;
    }
  }

  /// The input whose memory output 0 may take over, since nobody reads it afterwards.
  std::int32_t reusable_input(const PlannedStep& step, std::int32_t index,
                              const std::vector<std::int32_t>& last_use) const {
    const Traits& traits = step.node->op().traits;
    if (!traits.in_place || step.num_outputs == 0) return kNoValue;
    const PlannedValue& output = plan_.values[at(outputs_of(step)[0])];
    const int candidates = traits.elementwise ? step.num_inputs : std::min(step.num_inputs, 1);
    for (int i = 0; i < candidates; ++i) {
      const std::int32_t value = inputs_of(step)[at(i)];
      if (value == kNoValue || last_use[at(value)] != index) continue;
      const PlannedValue& input = plan_.values[at(value)];
      if (input.storage == Storage::arena && input.device == output.device &&
          input.bytes == output.bytes && output.bytes > 0 &&
          step.node->input(i).shape().num_elements() == step.node->shape().num_elements())
        return value;
    }
    return kNoValue;
  }

  std::span<const std::int32_t> values_of(const PlannedStep& step) const {
    return {plan_.step_values.data() + step.first_value, at(step.num_inputs + step.num_outputs)};
  }
  std::span<const std::int32_t> inputs_of(const PlannedStep& step) const {
    return values_of(step).first(at(step.num_inputs));
  }
  std::span<const std::int32_t> outputs_of(const PlannedStep& step) const {
    return values_of(step).last(at(step.num_outputs));
  }

  // --- What waits for what ------------------------------------------------------------------

  /// The order in which work was issued; host work of all devices is one queue.
  std::size_t queue_of(const PlannedStep& step) const {
    return is_host(step.device) ? 0 : at(1 + step.device * kStreams + step.stream);
  }

  /// Who touched a stretch of an arena last.
  struct Touch {
    std::size_t begin = 0, end = 0;
    std::int32_t step = 0;
  };

  void synchronize() {
    const std::size_t queues = 1 + options_.is_host.size() * kStreams;
    std::vector<std::vector<Touch>> arenas(options_.is_host.size());
    std::vector<std::int32_t> variable_touch(plan_.values.size(), -1);
    std::vector<std::int32_t> step_of(graph_.nodes().size(), -1);
    // covered[q * queues + p]: the last step of queue p that queue q has waited for.
    std::vector<std::int32_t> covered(queues * queues, -1);

    for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
      PlannedStep& step = plan_.steps[s];
      const auto index = static_cast<std::int32_t>(s);
      std::vector<std::int32_t> before;
      add_ordering(*step.node, step_of, before);
      for (const std::int32_t value : values_of(step))
        if (value != kNoValue) touch_value(value, index, arenas, variable_touch, before);
      touch(arenas[at(step.device)], step.workspace_offset, step.workspace_bytes, index, before);
      add_waits(step, before, queues, covered);
      step_of[slot(*step.node)] = index;
    }
  }

  /// Control inputs, through nodes that have no step of their own.
  void add_ordering(const Node& node, const std::vector<std::int32_t>& step_of,
                    std::vector<std::int32_t>& before) const {
    std::vector<const Node*> stack{&node};
    while (!stack.empty()) {
      const Node& current = *stack.back();
      stack.pop_back();
      const auto visit = [&](const Node& input) {
        if (step_of[slot(input)] >= 0)
          before.push_back(step_of[slot(input)]);
        else if (!input.inputs().empty() || !input.control_inputs().empty())
          stack.push_back(&input);
      };
      for (const Output& input : current.inputs()) visit(input.node());
      for (const Node* input : current.control_inputs()) visit(*input);
    }
  }

  void touch_value(std::int32_t value, std::int32_t index,
                   std::vector<std::vector<Touch>>& arenas,
                   std::vector<std::int32_t>& variable_touch,
                   std::vector<std::int32_t>& before) const {
    const PlannedValue& planned = plan_.values[at(value)];
    if (planned.storage == Storage::arena) {
      touch(arenas[at(planned.device)], planned.offset, planned.bytes, index, before);
    } else if (planned.storage == Storage::variable) {
      std::int32_t& last = variable_touch[at(value)];
      if (last >= 0) before.push_back(last);
      last = index;
    }
  }

  /// What stands in the way comes first. Stretches that this one covers are forgotten: whoever
  /// waits for this step waits for them too.
  static void touch(std::vector<Touch>& arena, std::size_t offset, std::size_t bytes,
                    std::int32_t index, std::vector<std::int32_t>& before) {
    if (bytes == 0) return;
    const Touch mine{offset, offset + rounded(bytes), index};
    std::erase_if(arena, [&](const Touch& other) {
      if (other.end <= mine.begin || mine.end <= other.begin) return false;
      before.push_back(other.step);
      return mine.begin <= other.begin && other.end <= mine.end;
    });
    arena.push_back(mine);
  }

  void add_waits(PlannedStep& step, const std::vector<std::int32_t>& before, std::size_t queues,
                 std::vector<std::int32_t>& covered) {
    const std::size_t mine = queue_of(step);
    std::map<std::size_t, std::int32_t> latest;
    for (const std::int32_t other : before) {
      const std::size_t queue = queue_of(plan_.steps[at(other)]);
      if (queue != mine && queue != 0)
        latest.try_emplace(queue, other).first->second = std::max(latest[queue], other);
    }
    step.first_wait = static_cast<std::int32_t>(plan_.waits.size());
    for (const auto& [queue, other] : latest) {
      std::int32_t& seen = covered[mine * queues + queue];
      if (seen >= other) continue;
      seen = other;
      plan_.waits.push_back(other);
      plan_.steps[at(other)].is_awaited = true;
      ++step.num_waits;
    }
  }

  // --- A run that throws leaves every variable as it was --------------------------------------

  void protect_updates() {
    const auto count = static_cast<std::int32_t>(plan_.steps.size());
    std::int32_t last_failing = -1;  // when it is seen
    plan_.first_update = count;
    for (std::int32_t s = 0; s < count; ++s) {
      const Node& node = *plan_.steps[at(s)].node;
      // Errors of asynchronous work are seen before the first update, and after all.
      const bool is_seen = plan_.first_update == count || is_host(plan_.steps[at(s)].device);
      if (may_fail(node)) last_failing = is_seen ? std::max(last_failing, s) : count;
      if (num_updates(node) > 0 && plan_.first_update == count) plan_.first_update = s;
    }
    std::unordered_set<const Node*> kept;
    for (std::int32_t s = plan_.first_update; s < last_failing; ++s) {
      Node& node = *plan_.steps[at(s)].node;
      for (int i = 0; i < num_updates(node); ++i) {
        Node* variable = variable_behind(node.input(i));
        if (kept.insert(variable).second) plan_.backups.push_back({variable, s});
      }
    }
  }

  Graph& graph_;
  Placement& placement_;
  const PlanOptions& options_;
  std::unordered_set<const Node*> is_updated_;
  std::vector<std::size_t> first_output_;   ///< by node id: where its outputs begin below
  std::vector<std::int32_t> output_value_;  ///< by output
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

Plan make_plan(Graph& graph, Placement& placement, const PlanOptions& options) {
  return Planner(graph, placement, options).run();
}

void verify(const Plan& plan) {
  std::vector<std::int32_t> first(plan.values.size(), -1), last(plan.values.size(), -1);
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    const PlannedStep& step = plan.steps[s];
    for (std::int32_t i = 0; i < step.num_inputs + step.num_outputs; ++i) {
      const std::int32_t value = plan.step_values[at(step.first_value + i)];
      if (value == kNoValue) continue;
      if (first[at(value)] < 0) first[at(value)] = static_cast<std::int32_t>(s);
      last[at(value)] = static_cast<std::int32_t>(s);
    }
  }
  // Sweep through the steps with the live values of each arena by offset.
  std::map<std::pair<std::int32_t, std::size_t>, std::int32_t> live;
  const auto check = [&](std::int32_t a, std::int32_t b) {
    const PlannedValue &x = plan.values[at(a)], &y = plan.values[at(b)];
    if (x.device != y.device || x.offset + x.bytes <= y.offset || y.offset + y.bytes <= x.offset)
      return;
    throw RunError(fmt::format("verify: '{}' and '{}' share memory while both are alive",
                               x.node->name(), y.node->name()));
  };
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    const PlannedStep& step = plan.steps[s];
    const std::span<const std::int32_t> values(plan.step_values.data() + step.first_value,
                                               at(step.num_inputs + step.num_outputs));
    const auto in_arena = [&](std::int32_t value) {
      return value != kNoValue && plan.values[at(value)].storage == Storage::arena &&
             plan.values[at(value)].bytes > 0;
    };
    // Inputs that end here may be taken over by an output that begins here.
    for (const std::int32_t value : values.first(at(step.num_inputs)))
      if (in_arena(value) && last[at(value)] == static_cast<std::int32_t>(s) &&
          step.node->op().traits.in_place)
        live.erase({plan.values[at(value)].device, plan.values[at(value)].offset});
    for (const std::int32_t value : values) {
      if (!in_arena(value) || first[at(value)] != static_cast<std::int32_t>(s)) continue;
      const auto [place, inserted] =
          live.try_emplace({plan.values[at(value)].device, plan.values[at(value)].offset}, value);
      if (!inserted) check(place->second, value);
      if (place != live.begin()) check(std::prev(place)->second, value);
      if (std::next(place) != live.end()) check(std::next(place)->second, value);
    }
    for (const std::int32_t value : values)
      if (in_arena(value) && last[at(value)] == static_cast<std::int32_t>(s)) {
        const auto place =
            live.find({plan.values[at(value)].device, plan.values[at(value)].offset});
        if (place != live.end() && place->second == value) live.erase(place);
      }
  }
}

}  // namespace gradgraph
