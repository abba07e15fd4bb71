#include "gradgraph/graph.h"

#include <algorithm>

#include "core/text.h"
#include "gradgraph/op.h"

namespace gradgraph {

Graph& Output::graph() const { return node_->graph(); }

namespace {
void require_value(const Output& output) {
  if (!output) throw BuildError("an Output is empty");
  const Node& node = output.node();
  if (output.index() >= node.num_outputs())
    throw BuildError(node_message(node.op().name, node.name(), "has no value"), node.where());
}
}  // namespace

DType Output::dtype() const {
  require_value(*this);
  return node_->dtype(index_);
}
const Shape& Output::shape() const {
  require_value(*this);
  return node_->shape(index_);
}
std::string Output::name() const {
  return index_ == 0 ? node_->name() : fmt::format("{}:{}", node_->name(), index_);
}

const Attribute* Attributes::find(std::string_view name) const {
  const auto entry =
      std::find_if(entries_.begin(), entries_.end(), [&](auto& e) { return e.first == name; });
  return entry == entries_.end() ? nullptr : &entry->second;
}

void Attributes::set(std::string_view name, Attribute value) {
  for (auto& entry : entries_)
    if (entry.first == name) {
      entry.second = std::move(value);
      return;
    }
  entries_.emplace_back(name, std::move(value));
}

void Attributes::fail(std::string_view name) {
  throw BuildError(fmt::format("attribute '{}' is missing or of another type", name));
}

void Node::add_control_input(Node& before) {
  if (&before.graph() != graph_)
    throw BuildError(node_message(op_->name, name_, "a control input is of another graph"),
                     where_);
  if (before.id() >= id_)
    throw BuildError(
        node_message(op_->name, name_,
                     fmt::format("control input '{}' was made later", before.name())),
        where_);
  if (std::find(control_inputs_.begin(), control_inputs_.end(), &before) == control_inputs_.end())
    control_inputs_.push_back(&before);
}

Graph::Graph() = default;
Graph::~Graph() = default;

Node& Graph::add(const OpDef& op, std::vector<Output> inputs, Attributes attributes,
                 SourceLocation where, std::string_view name) {
  if (context_.where.known()) where = context_.where;
  std::string base = !context_.fixed_name.empty()
                         ? context_.fixed_name
                         : context_.scope + std::string(name.empty() ? op.name : name);

  InferContext infer(op, base, inputs, attributes, where);
  for (const Output& input : inputs) {
    if (!input) infer.fail("an input is empty");
    if (&input.graph() != this)
      infer.fail(fmt::format("input '{}' is of another graph", input.name()));
  }
  op.infer(infer);

  Node& node = nodes_.emplace_back();
  node.graph_ = this;
  node.op_ = &op;
  node.id_ = static_cast<std::int32_t>(nodes_.size() - 1);
  node.name_ = unique_name(std::move(base));
  node.inputs_ = std::move(inputs);
  node.control_inputs_ = context_.control_inputs;
  node.outputs_ = std::move(infer.outputs());
  node.attributes_ = std::move(attributes);
  node.device_ = context_.device;
  node.where_ = where;
  node.differentiates_ = context_.differentiates;
  node.origin_ = context_.origin;
  node.phase_ = context_.phase;
  by_name_.emplace(node.name_, &node);
  return node;
}

std::string Graph::unique_name(std::string base) {
  if (!by_name_.contains(base) && !next_suffix_.contains(base)) return base;
  int& suffix = next_suffix_[base];
  std::string name;
  do name = fmt::format("{}_{}", base, ++suffix);
  while (by_name_.contains(name));
  return name;
}

std::string Graph::unique_scope(std::string_view name) {
  // A scope's name is taken from the same pool as nodes' names: "fc1" and "fc1/" never mix.
  std::string scope = unique_name(context_.scope + std::string(name));
  next_suffix_.try_emplace(scope, 0);
  return scope;
}

Node* Graph::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

void Graph::rename(Node& node, std::string_view name) {
  by_name_.erase(node.name_);
  node.name_ = unique_name(context_.scope + std::string(name));
  by_name_.emplace(node.name_, &node);
}

void Graph::set_gradient(Node& node, Gradient gradient) {
  gradients_[&node] = std::move(gradient);
}

const Graph::Gradient* Graph::gradient_of(const Node& node) const {
  const auto found = gradients_.find(&node);
  return found == gradients_.end() ? nullptr : &found->second;
}

void Graph::set_initial_value(Node& variable, Output value) {
  initial_values_[&variable] = value;
}

Output Graph::initial_value(const Node& variable) const {
  const auto found = initial_values_.find(&variable);
  return found == initial_values_.end() ? Output() : found->second;
}

Node& Graph::add_copy(const Node& original, std::vector<Output> inputs) {
  return add_in_place_of(original, original.op(), std::move(inputs), original.attributes_);
}

Node& Graph::add_in_place_of(const Node& original, const OpDef& op, std::vector<Output> inputs,
                             Attributes attributes) {
  Node& node = add(op, std::move(inputs), std::move(attributes), original.where_, original.name_);
  node.origin_ = original.origin_ ? original.origin_ : &original;
  node.phase_ = original.phase_;
  node.device_ = original.device_;
  return node;
}

void Graph::replace_control_input(Node& node, const Node& before, Node& replacement) {
  auto& inputs = node.control_inputs_;
  std::erase(inputs, &before);
  if (std::find(inputs.begin(), inputs.end(), &replacement) == inputs.end())
    inputs.push_back(&replacement);
}

void Graph::set_input(Node& node, int index, Output value) {
  Output& input = node.inputs_[static_cast<std::size_t>(index)];
  if (&value.graph() != this || value.dtype() != input.dtype())
    throw BuildError(node_message(node.op().name, node.name(),
                                  fmt::format("input {} cannot become '{}', {} {}", index,
                                              value.name(), value.dtype(), value.shape())),
                     node.where());
  input = value;
}

ContextGuard scope(Graph& graph, std::string_view name, SourceLocation where) {
  const bool valid = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '-' || c == '.';
  });
  if (!valid)
    throw BuildError(fmt::format("'{}' is no scope name: letters, digits, '_', '-', '.'", name),
                     where);
  ContextGuard guard(graph);
  graph.context().scope = graph.unique_scope(name) + "/";
  return guard;
}

ContextGuard device_scope(Graph& graph, std::string device) {
  ContextGuard guard(graph);
  graph.context().device = std::move(device);
  return guard;
}

ContextGuard control_dependencies(Graph& graph, std::vector<Output> before,
                                  SourceLocation where) {
  ContextGuard guard(graph);
  for (const Output& output : before) {
    if (!output || &output.graph() != &graph)
      throw BuildError("a control input is empty or of another graph", where);
    graph.context().control_inputs.push_back(&output.node());
  }
  return guard;
}

Output named(Output output, std::string_view name, SourceLocation where) {
  if (!output) throw BuildError(fmt::format("an empty Output cannot be named '{}'", name), where);
  output.graph().rename(output.node(), name);
  return output;
}

}  // namespace gradgraph
