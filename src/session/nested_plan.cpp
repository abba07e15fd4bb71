#include "session/nested_plan.h"

#include <algorithm>
#include <cstring>

#include "core/index.h"
#include "core/threads.h"
#include "graph/user_node.h"
#include "session/compiled_plan.h"
#include "session/evaluate.h"
#include "session/rewritten_copy.h"

namespace gradgraph {
namespace {

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// The number of the result that the step fetches.
std::size_t result_of(const PlannedStep& step, const SpecializedGraph& subgraph) {
  return static_cast<std::size_t>(std::ranges::find(subgraph.fetches, step.node) -
                                  subgraph.fetches.begin());
}

}  // namespace

HostTimer::HostTimer(const RunStats& stats)
    : stats_(stats),
      first_inside_(stats.nodes.size()),
      start_(std::chrono::steady_clock::now()) {}

void HostTimer::stop(NodeTime& time) const {
  time.seconds = seconds_between(start_, std::chrono::steady_clock::now());
  time.start = seconds_between(stats_.start, start_);
  for (std::size_t i = first_inside_; i < stats_.nodes.size(); ++i) {
    time.seconds -= stats_.nodes[i].seconds;
    time.start += stats_.nodes[i].seconds;
  }
}

NestedPlan::NestedPlan(SpecializedGraph subgraph, const SessionOptions& options,
                       const Device& host)
    : placement_options_{.soft = options.soft_placement, .supports = has_kernel_for} {
  graph_ = std::move(subgraph.graph);
  if (verifies_stages) verify(*graph_);
  placement_ = place(*graph_, placement_options_);
  const int threads = thread_count(options.threads);
  const auto workspace_bytes = [&](const Node& node) {
    const std::vector<Kernel> inside = make_nested_plans(node, subgraph, options, host, nested_);
    return kernels_
        .emplace_back(make_kernel(KernelSite(node, threads, &host, inside), host.kind(),
                                  options.reference_kernels))
        .workspace_bytes;
  };
  std::vector<Node*> fetches = subgraph.fetches;
  std::erase(fetches, nullptr);
  // Nothing is part of another value: a buffer of its own may be a result of the node's.
  plan_ = make_plan(*graph_, placement_,
                    {.fetches = fetches,
                     .is_host = {true},
                     .kinds = {},
                     .workspace_bytes = workspace_bytes,
                     .shares_parts = false});
  if (verifies_stages) {
    verify(*graph_, placement_, placement_options_);
    verify(plan_);
  }
  locate_values(subgraph);
  add_steps(subgraph);
  if (options.check_numerics) numerics_ = std::make_unique<NumericsCheck>(plan_);
  is_watched_ = numerics_ != nullptr;
}

void NestedPlan::locate_values(const SpecializedGraph& subgraph) {
  // A buffer whose last use is to be fetched may as well be the result's own memory.
  for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
    const PlannedStep& step = plan_.steps[s];
    if (!step.node->op().traits.moves_value) continue;
    const PlannedValue& value = plan_.values[at(plan_.inputs_of(step)[0])];
    if (value.storage == Storage::arena && at(plan_.buffers.front()[value.buffer].last) == s)
      output_of_.emplace(value.buffer, result_of(step, subgraph));
  }
  addresses_.assign(plan_.step_values.size(), nullptr);
  for (std::size_t i = 0; i < addresses_.size(); ++i) {
    if (plan_.step_values[i] == kNoValue) continue;
    const PlannedValue& value = plan_.values[at(plan_.step_values[i])];
    if (value.storage == Storage::constant) {
      const Tensor& tensor = value.node->attributes().get<Tensor>("value");
      addresses_[i] = const_cast<void*>(tensor.raw());  // no kernel writes to its inputs
    } else if (value.storage == Storage::feed) {
      const auto feed = std::ranges::find(subgraph.feeds, value.node);
      call_addresses_.push_back(
          {i, Place::input, static_cast<std::size_t>(feed - subgraph.feeds.begin())});
    } else if (const auto output = output_of_.find(value.buffer); output != output_of_.end()) {
      call_addresses_.push_back({i, Place::output, output->second});
    } else {
      call_addresses_.push_back({i, Place::arena, value.offset});
    }
  }
}

void NestedPlan::add_steps(const SpecializedGraph& subgraph) {
  auto kernel = kernels_.begin();
  for (const PlannedStep& planned : plan_.steps) {
    Step step;
    if (planned.node->op().traits.moves_value) {
      const PlannedValue& value = plan_.values[at(plan_.inputs_of(planned)[0])];
      step.from = at(planned.first_value);
      step.output = result_of(planned, subgraph);
      step.bytes = value.bytes;
      const auto there = output_of_.find(value.buffer);
      const bool is_there = value.storage == Storage::arena && there != output_of_.end() &&
                            there->second == step.output;
      if (is_there || step.bytes == 0) continue;
    } else {
      void** values = addresses_.data() + planned.first_value;
      step.launch.kernel = &*kernel++;
      step.launch.args.inputs = {values, at(planned.num_inputs)};
      step.launch.args.outputs = {values + planned.num_inputs, at(planned.num_outputs)};
      step.launch.node = planned.node;
      step.planned = &planned;
      step.workspace = planned.workspace_offset;
    }
    steps_.push_back(step);
  }
}

void NestedPlan::run(const KernelArgs& args) {
  auto* const workspace = static_cast<std::byte*>(args.workspace);
  for (const Address& address : call_addresses_) {
    void*& value = addresses_[address.at];
    switch (address.place) {
      case Place::arena: value = workspace + address.index; break;
      case Place::input: value = const_cast<void*>(args.inputs[address.index]); break;
      case Place::output: value = args.outputs[address.index]; break;
    }
  }
  if (numerics_) numerics_->begin(args.run->step, addresses_.data(), read_on_host);
  for (Step& step : steps_) {
    if (!step.launch.kernel) {
      std::memcpy(args.outputs[step.output], addresses_[step.from], step.bytes);
      continue;
    }
    step.launch.args.workspace = workspace + step.workspace;
    step.launch.args.run = args.run;
    step.launch.args.stream = args.stream;
    execute(step);
  }
}

void NestedPlan::execute(const Step& step) {
  if (!is_watched_) return gradgraph::execute(step.launch, step.launch.args);
  if (stats_) return execute_timed(step.launch);
  gradgraph::execute(step.launch, step.launch.args);
  numerics_->check(*step.planned, addresses_.data() + step.planned->first_value, read_on_host);
}

void NestedPlan::execute_timed(const Launch& launch) {
  const HostTimer timer(*stats_);
  gradgraph::execute(launch, launch.args);
  NodeTime time{&user_node(*launch.node), launch.node->name(), launch.node};
  timer.stop(time);
  stats_->nodes.push_back(std::move(time));
}

void NestedPlan::record(RunStats* stats) {
  stats_ = stats;
  is_watched_ = stats_ || numerics_;
  for (const auto& nested : nested_) nested->record(stats);
}

std::size_t NestedPlan::add_constants(std::set<const void*>& seen) const {
  std::size_t bytes = 0;
  for (const PlannedValue& value : plan_.values)
    if (value.storage == Storage::constant &&
        seen.insert(value.node->attributes().get<Tensor>("value").raw()).second)
      bytes += value.bytes;
  for (const auto& nested : nested_) bytes += nested->add_constants(seen);
  return bytes;
}

std::string NestedPlan::explain_placement() const {
  std::string text = explain(*graph_, placement_, placement_options_);
  for (const auto& nested : nested_) text += nested->explain_placement();
  return text;
}

std::vector<Kernel> make_nested_plans(const Node& node, SpecializedGraph& specialized,
                                      const SessionOptions& options, const Device& host,
                                      std::vector<std::shared_ptr<NestedPlan>>& plans) {
  std::vector<Kernel> kernels;
  const auto subgraphs = specialized.subgraphs.find(&node);
  if (subgraphs == specialized.subgraphs.end()) return kernels;
  for (SpecializedGraph& subgraph : subgraphs->second) {
    plans.push_back(std::make_shared<NestedPlan>(std::move(subgraph), options, host));
    const auto& plan = plans.back();
    kernels.push_back(
        {[plan](const KernelArgs& args) { plan->run(args); }, plan->workspace_bytes()});
  }
  return kernels;
}

}  // namespace gradgraph
