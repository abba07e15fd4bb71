#include <algorithm>
#include <set>

#include "core/checked.h"
#include "core/text.h"
#include "gradgraph/nn.h"
#include "gradgraph/op.h"

namespace gradgraph {
namespace {

struct Row {
  std::string layer, shape, parameters;
};

/// 669706 as "669,706".
std::string grouped(std::int64_t number) {
  std::string text = std::to_string(number);
  for (auto at = static_cast<int>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<std::size_t>(at), 1, ',');
  return text;
}

std::int64_t count(const std::vector<Output>& variables) {
  std::int64_t total = 0;
  for (const Output& variable : variables)
    total = checked_add(total, variable.shape().num_elements());
  return total;
}

std::string table(const std::vector<Row>& rows) {
  std::size_t first = 0, second = 0, third = 0;
  for (const Row& row : rows) {
    first = std::max(first, row.layer.size());
    second = std::max(second, row.shape.size());
    third = std::max(third, row.parameters.size());
  }
  std::string text;
  const std::string line(first + second + third + 6, '-');
  for (const Row& row : rows) {
    text += fmt::format("{:<{}}   {:<{}}   {:>{}}\n", row.layer, first, row.shape, second,
                        row.parameters, third);
    if (&row == &rows.front()) text += line + "\n";
  }
  return text + line + "\n";
}

}  // namespace

std::string summary(const Graph& graph) {
  std::vector<Row> rows = {{"Layer (type)", "Output shape", "Parameters"}};
  std::int64_t trainable = 0, tracked = 0;
  std::set<const Node*> listed;
  for (const Layer& layer : graph.layers()) {
    const std::int64_t moved = count(layer.trainable), kept = count(layer.tracked);
    rows.push_back({fmt::format("{} ({})", layer.name, layer.kind),
                    layer.output.shape().to_string(), grouped(checked_add(moved, kept))});
    trainable = checked_add(trainable, moved);
    tracked = checked_add(tracked, kept);
    for (const auto* variables : {&layer.trainable, &layer.tracked})
      for (const Output& variable : *variables) listed.insert(&variable.node());
  }
  // Variables of no layer are rows of their own; optimisers' state is no part of the model.
  for (const Node& node : graph.nodes()) {
    if (node.op().name != "variable" || node.phase() != Phase::forward || listed.contains(&node))
      continue;
    const std::int64_t size = node.shape().num_elements();
    rows.push_back({node.name() + " (variable)", node.shape().to_string(), grouped(size)});
    trainable = checked_add(trainable, size);
  }
  return table(rows) + fmt::format("Total parameters: {}\nTrainable: {}\nNot trainable: {}\n",
                                   grouped(checked_add(trainable, tracked)), grouped(trainable),
                                   grouped(tracked));
}

}  // namespace gradgraph
