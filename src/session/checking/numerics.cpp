#include "session/checking/numerics.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <variant>

#include "core/index.h"
#include "core/text.h"
#include "gradgraph/op.h"
#include "gradgraph/session.h"
#include "graph/user_node.h"
#include "plan/order.h"

namespace gradgraph {
namespace {

/// What a copy on another device is one of.
Output source_of(Output value) {
  while (value.node().op().traits.moves_value) value = value.node().input(0);
  return value;
}

/// The user's name of what a node reads.
std::string name_of(Output value) {
  value = source_of(value);
  const std::string& name = user_node(value.node()).name();
  return value.index() == 0 ? name : fmt::format("{}:{}", name, value.index());
}

/// Attributes are a node's inputs, too: padding may be infinite.
bool has_finite_attributes(const Node& node) {
  const auto is_finite = [](double x) { return std::isfinite(x); };
  return std::all_of(node.attributes().begin(), node.attributes().end(), [&](const auto& entry) {
    if (const auto* number = std::get_if<double>(&entry.second)) return is_finite(*number);
    const auto* list = std::get_if<std::vector<double>>(&entry.second);
    return !list || std::ranges::all_of(*list, is_finite);
  });
}

}  // namespace

void read_on_host(const PlannedValue& value, const void* address,
                  const NumericsCheck::Take& take) {
  take(address, value.bytes);
}

NumericsCheck::NumericsCheck(const Plan& plan) : plan_(plan), ranges_(plan.values.size()) {
  std::vector<bool> seen(plan.values.size(), false);
  for (std::size_t i = 0; i < plan.step_values.size(); ++i) {
    if (plan.step_values[i] == kNoValue) continue;
    const std::size_t index = at(plan.step_values[i]);
    const PlannedValue& value = plan.values[index];
    if (seen[index] || !is_floating(value.node->dtype(value.index))) continue;
    seen[index] = true;
    const bool is_staged =
        std::ranges::count(plan.staged_feeds, plan.step_values[i], &StagedFeed::staged) > 0;
    if (value.storage == Storage::constant)
      constants_.push_back({index, i});
    else if (value.storage == Storage::variable || value.storage == Storage::feed || is_staged)
      others_.push_back({index, i});
  }
}

void NumericsCheck::begin(std::int64_t step, const void* const* addresses, const Read& read,
                          const std::function<bool(const PlannedValue&)>& has_value) {
  step_ = step;
  const auto look_at = [&](const std::vector<Source>& sources) {
    for (const auto& [index, address] : sources) {
      const PlannedValue& value = plan_.values[index];
      ranges_[index] = !has_value || has_value(value) ? range_of(value, addresses[address], read)
                                                      : ValueRange();
    }
  };
  if (!knows_constants_) look_at(constants_);
  knows_constants_ = true;
  look_at(others_);
}

void NumericsCheck::require_sources() const {
  for (const bool feeds : {true, false})
    for (const auto& [index, address] : others_) {
      const PlannedValue& value = plan_.values[index];
      const ValueRange& range = ranges_[index];
      if ((value.storage != Storage::variable) != feeds) continue;
      if (feeds ? range.is_finite() : !range.has_nan()) continue;
      if (feeds && !range.has_infinity() && is_known_to_hold_nan(index)) continue;
      const std::string faults =
          range.faults(value.node->dtype(value.index), value.node->shape(value.index));
      fail(*value.node, feeds ? fmt::format("the fed value itself is not finite: {}", faults)
                              : fmt::format("when the run began it held {}", faults));
    }
}

bool NumericsCheck::is_known_to_hold_nan(std::size_t value) const {
  return std::ranges::any_of(plan_.steps, [&](const PlannedStep& step) {
    return step.node->op().name == "is_nan" &&
           &source_of(step.node->input(0)).node() == plan_.values[value].node;
  });
}

ValueRange NumericsCheck::range_of(const PlannedValue& value, const void* address,
                                   const Read& read) const {
  const DType dtype = value.node->dtype(value.index);
  ValueRange range;
  if (is_floating(dtype) && value.bytes > 0)
    read(value, address, [&](const void* elements, std::size_t bytes) {
      range.add(dtype, elements, bytes / size_of(dtype));
    });
  return range;
}

void NumericsCheck::check(const PlannedStep& step, const void* const* addresses,
                          const Read& read) {
  const auto values = std::span(plan_.step_values).subspan(at(step.first_value));
  const std::int32_t updated = num_updates(*step.node);
  for (std::int32_t i = 0; i < step.num_outputs; ++i) {
    const std::int32_t output = step.num_inputs + i;
    const std::size_t index = at(values[at(output)]);
    const PlannedValue& value = plan_.values[index];
    const ValueRange range = range_of(value, addresses[output], read);
    const bool spoils = i < updated && ranges_[index].is_finite() && !range.is_finite();
    if (spoils || !may_make(step, range))
      fail(*step.node,
           fmt::format("made {}{}", range.faults(step.node->dtype(i), step.node->shape(i)),
                       inputs_in_words(step)));
    ranges_[index] = range;
  }
}

/// Whether what the step read explains what is in its result.
bool NumericsCheck::may_make(const PlannedStep& step, const ValueRange& result) const {
  if (result.is_finite() || step.node->op().traits.runs_subgraphs) return true;
  bool reads_nan = false, reads_infinity = !has_finite_attributes(*step.node);
  for (const std::int32_t index : plan_.inputs_of(step)) {
    if (index == kNoValue) continue;
    reads_nan = reads_nan || ranges_[at(index)].has_nan();
    reads_infinity = reads_infinity || ranges_[at(index)].has_infinity();
  }
  return reads_nan || (reads_infinity && !result.has_nan());
}

void NumericsCheck::check_copy(const PlannedStep& step) {
  ranges_[at(plan_.outputs_of(step)[0])] = ranges_[at(plan_.inputs_of(step)[0])];
}

std::string NumericsCheck::inputs_in_words(const PlannedStep& step) const {
  std::vector<std::string> words;
  for (std::int32_t i = 0; i < step.num_inputs; ++i) {
    const std::int32_t index = plan_.inputs_of(step)[at(i)];
    if (index == kNoValue) continue;
    const Output& input = step.node->input(i);
    std::string text = fmt::format("'{}' {}", name_of(input),
                                   ranges_[at(index)].words(input.dtype(), input.shape()));
    if (std::ranges::count(words, text) == 0) words.push_back(std::move(text));
  }
  return words.empty() ? "" : fmt::format(", of {}", fmt::join(words, ", "));
}

void NumericsCheck::fail(const Node& node, const std::string& message) const {
  const Node& user = user_node(node);
  const std::string when = step_ < 0 ? std::string("while initial values were computed")
                                     : fmt::format("in step {}", step_);
  throw NumericsError(
      node_message(user.op().name, user.name(), fmt::format("{}; {}", message, when)),
      user.where());
}

}  // namespace gradgraph
