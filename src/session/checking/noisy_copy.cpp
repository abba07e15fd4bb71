#include "session/checking/noisy_copy.h"

#include <string>

#include "gradgraph/op.h"
#include "gradgraph/ops.h"
#include "graph/slot.h"

namespace gradgraph {
namespace {

/// Whether the node computes numbers: not what is there already, nor a variable's new value,
/// which is the variable.
bool rounds(const Node& node) {
  const Traits& traits = node.op().traits;
  return !traits.no_kernel && !traits.updates_variable && !traits.alias;
}

/// A few units in the last place of 1.
double noise_of(DType dtype) {
  switch (dtype) {
    case float64: return 0x1p-50;
    case float16: return 0x1p-9;
    case bfloat16: return 0x1p-6;
    default: return 0x1p-21;
  }
}

Output add_noise(const Output& value) {
  const double off = noise_of(value.dtype());
  return value * random_uniform(value.graph(), shape_of(value), value.dtype(), 1 - off, 1 + off);
}

}  // namespace

NoisyCopy::NoisyCopy(const Graph& original, int number) {
  const ContextGuard noise = scope(graph, "noise" + std::to_string(number));
  for (const Node& node : original.nodes()) copy(node);
}

void NoisyCopy::copy(const Node& node) {
  std::vector<Output> inputs;
  for (const Output& input : node.inputs()) inputs.push_back(result_of(input));
  std::vector<Node*> control_inputs;
  for (const Node* before : node.control_inputs())
    control_inputs.push_back(copies_[slot(*before)]);
  Node& copied = graph.add_copy(node, inputs, control_inputs);
  copies_.push_back(&copied);
  if (!rounds(node)) return;
  for (int i = 0; i < node.num_outputs(); ++i)
    if (is_floating(node.dtype(i))) {
      std::vector<Output>& outputs = noisy_[&node];
      outputs.resize(static_cast<std::size_t>(node.num_outputs()));
      outputs[static_cast<std::size_t>(i)] = add_noise(copied.output(i));
    }
}

Output NoisyCopy::result_of(const Output& value) const {
  const auto noisy = noisy_.find(&value.node());
  if (noisy != noisy_.end())
    if (const Output& result = noisy->second[static_cast<std::size_t>(value.index())])
      return result;
  return {*copies_[slot(value)], value.index()};
}

std::vector<Output> NoisyCopy::copies_of(const std::vector<Output>& values) const {
  std::vector<Output> copies;
  for (const Output& value : values) copies.emplace_back(*copies_[slot(value)], value.index());
  return copies;
}

std::vector<Output> NoisyCopy::results_of(const std::vector<Output>& values) const {
  std::vector<Output> results;
  for (const Output& value : values) results.push_back(result_of(value));
  return results;
}

}  // namespace gradgraph
