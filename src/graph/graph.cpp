#include "gradgraph/graph.h"

#include <algorithm>
#include <limits>
#include <new>
#include <ostream>

#include "core/checked.h"
#include "core/text.h"
#include "gradgraph/op.h"
#include "graph/name_table.h"
#include "graph/schema.h"
#include "graph/slot.h"

namespace gradgraph {

Graph& Output::graph() const { return node_->graph(); }

namespace {
void require_value(const Output& output) {
  if (!output)
    throw BuildError("an Output is empty: only what an op gave has a dtype and a shape");
  const Node& node = output.node();
  if (node.num_outputs() == 0)
    throw BuildError(node_message(node.op().name, node.name(), "has no value"), node.where());
  if (output.index() < 0 || output.index() >= node.num_outputs())
    throw BuildError(
        node_message(node.op().name, node.name(),
                     fmt::format("has no output {}, only {}", output.index(),
                                 node.num_outputs() == 1
                                     ? "output 0"
                                     : fmt::format("0 to {}", node.num_outputs() - 1))),
        node.where());
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

std::ostream& operator<<(std::ostream& stream, const Output& output) {
  if (!output) return stream << "(empty)";
  stream << output.name();
  if (output.index() < output.node().num_outputs())
    stream << ' ' << name(output.dtype()) << output.shape();
  return stream;
}

Attributes::Attributes(std::initializer_list<Entry> entries)
    : entries_(std::make_shared<Entry[]>(entries.size())), size_(entries.size()) {
  std::copy(entries.begin(), entries.end(), entries_.get());
}

const Attribute* Attributes::find(std::string_view name) const {
  const auto* entry = std::find_if(begin(), end(), [&](auto& e) { return e.first == name; });
  return entry == end() ? nullptr : &entry->second;
}

void Attributes::set(std::string_view name, Attribute value) {
  const auto* known = std::find_if(begin(), end(), [&](auto& e) { return e.first == name; });
  const auto index = static_cast<std::size_t>(known - begin());
  const std::size_t size = static_cast<std::size_t>(end() - begin()) + (known == end() ? 1 : 0);
  auto entries = std::make_shared<Entry[]>(size);
  std::copy(begin(), end(), entries.get());
  entries.get()[index] = {name, std::move(value)};
  entries_ = std::move(entries);
  size_ = size;
}

void Attributes::fail(std::string_view name) {
  throw BuildError(fmt::format("attribute '{}' is missing or of another type", name));
}

void Node::add_control_input(Node& before) {
  if (&before.graph() != graph_)
    throw BuildError(
        node_message(op_->name, name(),
                     fmt::format("control input '{}' is of another graph", before.name())),
        where_);
  if (before.id() >= id_)
    throw BuildError(
        node_message(op_->name, name(),
                     fmt::format("control input '{}' was made later", before.name())),
        where_);
  if (before.region_ != region_)
    throw BuildError(
        node_message(op_->name, name(),
                     fmt::format("control input '{}' is not of the same branch", before.name())),
        where_);
  if (std::find(control_inputs_.begin(), control_inputs_.end(), &before) != control_inputs_.end())
    return;
  std::vector<Node*> inputs(control_inputs_.begin(), control_inputs_.end());
  inputs.push_back(&before);
  control_inputs_ = graph_->keep(std::span<Node* const>(inputs));
}

void Node::set_device(std::string_view device) { device_ = graph_->keep_device(device); }

Graph::Graph() : names_(std::make_unique<NameTable>()) {}
Graph::~Graph() = default;

/// A node that there is no memory for is not left in the graph by half.
template <class Nodes, class Complete>
static void complete_or_drop(Nodes& nodes, const Complete& complete) {
  try {
    complete();
  } catch (...) {
    nodes.pop_back();
    throw;
  }
}

template <class T>
std::span<T> Graph::keep(std::span<const T> list) {
  if (list.empty()) return {};
  T* kept = static_cast<T*>(memory_.allocate(list.size_bytes(), alignof(T)));
  std::uninitialized_copy(list.begin(), list.end(), kept);
  return {kept, list.size()};
}

/// What inference gave. Most nodes have one output of the type of an input: then they share it.
std::span<const OutputType> Graph::keep_types(OutputList inputs) {
  if (type_buffer_.size() == 1)
    for (const Output& input : inputs) {
      const OutputType& type = input.node().outputs_[static_cast<std::size_t>(input.index())];
      if (type.dtype == type_buffer_[0].dtype && type.shape == type_buffer_[0].shape)
        return {&type, 1};
    }
  return keep(std::span<const OutputType>(type_buffer_));
}

const std::string* Graph::keep_device(std::string_view device) {
  static const std::string none;
  if (device.empty()) return &none;
  const auto known = devices_.find(device);
  return known != devices_.end() ? &*known : &*devices_.emplace(device).first;
}

Node& Graph::append(const OpDef& op, std::string_view name, OutputList inputs,
                    Attributes attributes, std::span<Node* const> control_inputs,
                    SourceLocation where) {
  if (context_.where.known()) where = context_.where;
  InferContext infer(op, name, inputs, attributes, where, type_buffer_);
  if (finalized_)
    infer.fail("the graph is finalized: build what runs need once, before Graph::finalize");
  for (const Output& input : inputs) {
    if (!input) infer.fail(fmt::format("input {} is empty", &input - inputs.data()));
    if (&input.graph() != this)
      infer.fail(fmt::format("input '{}' is of another graph", input.name()));
    const int outputs = input.node().num_outputs();
    if (outputs > 0 && (input.index() < 0 || input.index() >= outputs))
      throw BuildError(
          node_message(
              op.name, name,
              fmt::format("input '{}' is not there: [{}] '{}' has {} outputs", input.name(),
                          input.node().op().name, input.node().name(), outputs)),
          where);
    if (!is_visible(input.node(), context_.region))
      infer.fail(
          fmt::format("input '{}' belongs to a branch, which nothing outside may read: "
                      "let the branch return it",
                      input.name()));
  }
  for (const Node* before : control_inputs)
    if (!is_visible(*before, context_.region))
      infer.fail(fmt::format("waits for '{}', which belongs to a branch", before->name()));
  if (op.traits.updates_variable && context_.region != 0)
    infer.fail(
        "updates a variable in a branch, which may not run: update it outside, by a value "
        "that the branches give");
  try {
    op.infer(infer);
    for (const OutputType& type : type_buffer_) spanned_bytes(type.dtype, type.shape);
  } catch (const BuildError& error) {
    // What was thrown far from the node (a Shape, a size) is told op, inputs and line here.
    if (std::string_view(error.what()).starts_with(node_message(op.name, name, ""))) throw;
    infer.fail(without_line(error));
  } catch (const std::bad_alloc&) {
    infer.fail("there is no memory to infer its shapes");
  }
  return put(op, inputs, std::move(attributes), control_inputs, where);
}

Node& Graph::put(const OpDef& op, OutputList inputs, Attributes attributes,
                 std::span<Node* const> control_inputs, SourceLocation where) {
  if (nodes_.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    throw BuildError(node_message(op.name, op.name, "a graph has at most 2^31 nodes"), where);
  Node& node = nodes_.emplace_back();
  complete_or_drop(nodes_, [&] {
    node.graph_ = this;
    node.op_ = &op;
    node.id_ = static_cast<std::int32_t>(nodes_.size() - 1);
    node.inputs_ = keep(static_cast<std::span<const Output>>(inputs));
    node.control_inputs_ = keep(control_inputs);
    node.outputs_ = keep_types(inputs);
    node.attributes_ = std::move(attributes);
    node.where_ = where;
  });
  return node;
}

/// Completes the attributes, too.
void Graph::check_schema(const OpDef& op, OutputList inputs, Attributes& attributes,
                         SourceLocation where) {
  if (context_.where.known()) where = context_.where;
  const InferContext context(op, name_buffer_, inputs, attributes, where, type_buffer_);
  check_inputs(op, context);
  if (op.schema.attributes.empty() && attributes.begin() == attributes.end()) return;
  try {
    attributes.complete(op.schema);
  } catch (const BuildError& error) {
    context.fail(error.what());
  }
}

Node& Graph::add(const OpDef& op, OutputList inputs, Attributes attributes, SourceLocation where,
                 std::string_view name) {
  if (!context_.fixed_name.empty())
    name_buffer_ = context_.fixed_name;
  else
    name_buffer_.assign(context_.scope).append(name.empty() ? op.name : name);
  if (!op.schema.doc.empty()) check_schema(op, inputs, attributes, where);
  // What is there before a run belongs to all, and need not wait for what a region does.
  const bool leaves_region = context_.region != 0 && op.traits.no_kernel && inputs.empty();
  Node& node = append(op, name_buffer_, inputs, std::move(attributes),
                      leaves_region ? std::span<Node* const>() : context_.control_inputs, where);
  if (!leaves_region) node.region_ = context_.region;
  complete_or_drop(nodes_, [&] {
    node.device_ = keep_device(context_.device);
    NameTable::Entry& entry = names_->claim(name_buffer_);
    entry.node = node.id();
    node.name_ = entry.name;
  });
  node.forward_ = context_.forward;
  node.origin_ = context_.origin;
  node.phase_ = context_.phase;
  if (node.phase_ == Phase::forward) node.recompute_scope_ = context_.recompute_scope;
  return node;
}

std::string Graph::unique_scope(std::string_view name) {
  // A scope's name is taken from the same pool as nodes' names: "fc1" and "fc1/" never mix.
  std::string scope = context_.scope + std::string(name);
  names_->claim(scope).is_scope = true;
  if (transactions_ > 0) new_scopes_.push_back(scope);
  return scope;
}

int Graph::add_region() {
  outer_regions_.push_back(context_.region);
  return static_cast<int>(outer_regions_.size());
}

bool Graph::is_visible(const Node& node, int region) const {
  while (region != node.region() && region != 0)
    region = outer_regions_[static_cast<std::size_t>(region - 1)];
  return region == node.region();
}

Node* Graph::find(std::string_view name) const {
  const NameTable::Entry* entry = names_->find(name);
  if (!entry || entry->node == NameTable::kNone) return nullptr;
  return const_cast<Node*>(&nodes_[static_cast<std::size_t>(entry->node)]);
}

void Graph::rename(Node& node, std::string_view name) {
  NameTable::Entry* old = names_->find(node.name());
  if (old && old->node == node.id()) old->node = NameTable::kNone;
  std::string unique = context_.scope + std::string(name);
  NameTable::Entry& entry = names_->claim(unique);
  entry.node = node.id();
  node.name_ = entry.name;
}

void Graph::set_gradient(Node& node, Gradient gradient) {
  gradients_[&node] = std::move(gradient);
}

const Graph::Gradient* Graph::gradient_of(const Node& node) const {
  const auto found = gradients_.find(&node);
  return found == gradients_.end() ? nullptr : &found->second;
}

void Graph::set_initial_value(Node& variable, Output value) {
  if (value && (&value.graph() != this || value.dtype() != variable.dtype() ||
                !value.shape().compatible_with(variable.shape())))
    throw BuildError(node_message(variable.op().name, variable.name(),
                                  fmt::format("the initial value '{}' is {}{}{}, not {}{}",
                                              value.name(), value.dtype(), value.shape(),
                                              &value.graph() == this ? "" : " of another graph",
                                              variable.dtype(), variable.shape())),
                     variable.where());
  initial_values_[&variable] = value;
}

Output Graph::initial_value(const Node& variable) const {
  const auto found = initial_values_.find(&variable);
  return found == initial_values_.end() ? Output() : found->second;
}

Node& Graph::add_copy(const Node& original, OutputList inputs,
                      std::span<Node* const> control_inputs) {
  Node& node = add_in_place_of(original, original.op(), inputs, original.attributes_);
  if (!control_inputs.empty()) node.control_inputs_ = keep(control_inputs);
  return node;
}

Node& Graph::move_here(Node& original, OutputList inputs, std::span<Node* const> control_inputs) {
  type_buffer_.assign(original.outputs_.begin(), original.outputs_.end());
  Node& node = put(original.op(), inputs, std::move(original.attributes_), control_inputs,
                   original.where_);
  complete_or_drop(nodes_, [&] { stand_for(node, original); });
  return node;
}

Node& Graph::add_in_place_of(const Node& original, const OpDef& op, OutputList inputs,
                             Attributes attributes) {
  Node& node = append(op, original.name(), inputs, std::move(attributes), context_.control_inputs,
                      original.where_);
  complete_or_drop(nodes_, [&] { stand_for(node, original); });
  return node;
}

void Graph::stand_for(Node& node, const Node& original) {
  node.origin_ = original.origin_ ? original.origin_ : &original;
  // The user's graph outlives its copies; what other copies named does not.
  const bool is_users_name = original.name_ == node.origin_->name_;
  node.name_ = is_users_name ? original.name_ : &names_->keep(original.name());
  node.device_ = keep_device(original.device());
  node.phase_ = original.phase_;
}

void Graph::replace_control_input(Node& node, const Node& before, Node& replacement) {
  const std::span<Node*> inputs = node.control_inputs_;
  auto end = std::remove(inputs.begin(), inputs.end(), &before);
  if (end == inputs.end()) return;
  if (std::find(inputs.begin(), end, &replacement) == end) *end++ = &replacement;
  node.control_inputs_ = inputs.first(static_cast<std::size_t>(end - inputs.begin()));
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

void Graph::when_taken_back(std::function<void()> undo) {
  if (transactions_ > 0) undos_.push_back(std::move(undo));
}

void Graph::take_back(std::size_t nodes, std::size_t layers, std::size_t scopes,
                      std::size_t undos) {
  for (; undos_.size() > undos; undos_.pop_back()) undos_.back()();
  const auto is_new = [&](const auto& entry) { return slot(*entry.first) >= nodes; };
  std::erase_if(gradients_, is_new);
  std::erase_if(initial_values_, is_new);
  layers_.erase(layers_.begin() + static_cast<std::ptrdiff_t>(layers), layers_.end());
  for (; nodes_.size() > nodes; nodes_.pop_back())
    // A copy's name may be another graph's.
    if (const NameTable::Entry* entry = names_->find(nodes_.back().name());
        entry && entry->node == nodes_.back().id())
      names_->release(nodes_.back().name());
  for (; new_scopes_.size() > scopes; new_scopes_.pop_back()) names_->release(new_scopes_.back());
}

BuildTransaction::BuildTransaction(Graph& graph)
    : graph_(graph),
      nodes_(graph.nodes_.size()),
      layers_(graph.layers_.size()),
      scopes_(graph.new_scopes_.size()),
      undos_(graph.undos_.size()) {
  ++graph_.transactions_;
}

BuildTransaction::~BuildTransaction() {
  if (!committed_) graph_.take_back(nodes_, layers_, scopes_, undos_);
  if (--graph_.transactions_ > 0) return;
  graph_.new_scopes_.clear();
  graph_.undos_.clear();
}

ContextGuard scope(Graph& graph, std::string_view name, SourceLocation where) {
  const bool valid = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '-' || c == '.';
  });
  if (!valid)
    throw BuildError(fmt::format("'{}' is no scope name: letters, digits, '_', '-', '.'{}", name,
                                 name.find('/') == std::string_view::npos
                                     ? ""
                                     : "; gg::scope opens one inside another"),
                     where);
  ContextGuard guard(graph);
  graph.context().scope = graph.unique_scope(name) + "/";
  return guard;
}

ContextGuard recompute(Graph& graph, std::string_view name, SourceLocation where) {
  ContextGuard guard = scope(graph, name, where);
  int& current = graph.context().recompute_scope;
  if (current == 0) current = graph.next_recompute_scope();
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
    if (!output)
      throw BuildError(fmt::format("control_dependencies: number {} of {} is empty",
                                   &output - before.data(), before.size()),
                       where);
    if (&output.graph() != &graph)
      throw BuildError(
          fmt::format("control_dependencies: '{}' is of another graph", output.name()), where);
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
