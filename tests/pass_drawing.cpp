#include "pass_drawing.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <unordered_map>

#include "core/text.h"
#include "graph/program.h"
#include "ops/builders.h"
#include "session/compiled_plan.h"

namespace gradgraph::tests {
namespace {

std::string draw_number(const Tensor& tensor) {
  return fmt::format("{:.4g}", tensor.cast(float64).data<double>()[0]);
}

/// Nodes of a copy may share a name: all but the first get a prime.
using Names = std::unordered_map<const Node*, std::string>;

Names name_nodes(const Graph& graph) {
  Names names;
  std::set<std::string> taken;
  for (const Node& node : graph.nodes()) {
    if (node.op().name == "constant") continue;
    std::string name = node.name();
    while (!taken.insert(name).second) name += "'";
    names[&node] = name;
  }
  return names;
}

std::string draw_value(const Output& value, const Names& names) {
  const Tensor* tensor = constant_value(value);
  if (!tensor) {
    const std::string& name = names.at(&value.node());
    return value.index() == 0 ? name : fmt::format("{}:{}", name, value.index());
  }
  if (tensor->num_elements() == 0) return "nothing" + tensor->shape().to_string();
  if (const auto vector = known_vector(value)) return vector->to_string();
  const std::size_t size = size_of(tensor->dtype());
  const auto* bytes = static_cast<const char*>(tensor->raw());
  if (std::memcmp(bytes, bytes + size, tensor->bytes() - size) == 0)
    return tensor->shape().rank() == 0 ? draw_number(*tensor)
                                       : draw_number(*tensor) + tensor->shape().to_string();
  return "constant" + tensor->shape().to_string();
}

std::string draw_attribute(const Attribute& attribute) {
  if (const auto* flag = std::get_if<bool>(&attribute)) return *flag ? "true" : "";
  if (const auto* number = std::get_if<std::int64_t>(&attribute)) return std::to_string(*number);
  if (const auto* number = std::get_if<double>(&attribute)) return fmt::format("{:.4g}", *number);
  if (const auto* text = std::get_if<std::string>(&attribute)) return *text;
  if (const auto* dtype = std::get_if<DType>(&attribute)) return std::string(name(*dtype));
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&attribute))
    return fmt::format("({})", fmt::join(*list, ","));
  return "";
}

/// "0 mul 1, 2 relu": instructions with their operands.
std::string draw_program(const ElementwiseProgram& program) {
  std::string text;
  for (const auto& instruction : program.instructions) {
    text += fmt::format("{}{}(", text.empty() ? "" : "; ", instruction.op->name);
    for (std::int32_t i = 0; i < instruction.num_operands; ++i)
      text += fmt::format("{}{}", i == 0 ? "" : ", ",
                          instruction.operands[static_cast<std::size_t>(i)]);
    text += ")";
  }
  return text;
}

std::string draw_node(const Node& node, const Names& names) {
  std::string line;
  for (const Output& input : node.inputs())
    line += (line.empty() ? "" : ", ") + draw_value(input, names);
  line = fmt::format("{}({})", node.op().name, line);
  if (node.num_outputs() > 0) line = fmt::format("{} = {}", names.at(&node), line);
  for (const auto& [name, value] : node.attributes()) {
    const auto* program = std::get_if<std::shared_ptr<const ElementwiseProgram>>(&value);
    const std::string text = program ? draw_program(**program) : draw_attribute(value);
    if (!text.empty()) line += fmt::format(" {}={}", name, text);
  }
  for (const Node* before : node.control_inputs()) line += " after " + names.at(before);
  return line + "\n";
}

SpecializedGraph rewritten(Graph& graph, const std::vector<Output>& fetches,
                           const std::vector<std::string>& passes, RewriteLog& log) {
  std::vector<FedValue> feeds;
  for (Node& node : graph.nodes()) {
    if (node.op().name != "placeholder") continue;
    Shape shape = node.shape();
    for (int axis = 0; axis < shape.rank(); ++axis)
      if (shape[axis] == any) shape.set(axis, 4);
    feeds.push_back({node.output(), node.dtype(), shape, {}});
  }
  SessionOptions options{.device = "cpu"};
  options.disabled_passes = all_passes_but(passes);
  return rewritten_copy(graph, feeds, fetches, options, log);
}

}  // namespace

std::vector<std::string> all_passes_but(const std::vector<std::string>& passes) {
  std::vector<std::string> others;
  for (const Pass& pass : pass_list())
    if (std::ranges::find(passes, pass.name) == passes.end()) others.emplace_back(pass.name);
  return others;
}

std::string draw(Graph& graph, const std::vector<Output>& fetches,
                 const std::vector<std::string>& passes) {
  RewriteLog log;
  const SpecializedGraph copy = rewritten(graph, fetches, passes, log);
  const Names names = name_nodes(*copy.graph);
  std::string text;
  for (const Node& node : copy.graph->nodes()) {
    const std::string& op = node.op().name;
    if (op != "placeholder" && op != "variable" && op != "constant")
      text += draw_node(node, names);
  }
  return text;
}

std::string rewrites(Graph& graph, const std::vector<Output>& fetches,
                     const std::vector<std::string>& passes) {
  RewriteLog log(/*writes_lines=*/true);
  rewritten(graph, fetches, passes, log);
  return fmt::format("{}", fmt::join(log.lines(), "\n"));
}

}  // namespace gradgraph::tests
