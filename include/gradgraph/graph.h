#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <memory_resource>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "gradgraph/dtype.h"
#include "gradgraph/error.h"
#include "gradgraph/shape.h"
#include "gradgraph/source_location.h"
#include "gradgraph/tensor.h"

namespace gradgraph GRADGRAPH_API {

class Graph;
class Node;
struct OpDef;
struct Schema;
class GradientContext;
class NameTable;

/// One result of a node: the symbolic handle that a user holds. Cheap to copy; valid as long as
/// its Graph. A default Output is empty and stands for "no gradient".
/// `==` compares handles; element-wise comparison is `gg::equal`.
class Output {
 public:
  Output() = default;
  Output(Node& node, int index);

  explicit operator bool() const { return node_ != nullptr; }
  Node& node() const { return *node_; }
  /// node().id(), without looking at the node; -1 when empty.
  int node_id() const { return node_id_; }
  int index() const { return index_; }
  Graph& graph() const;
  DType dtype() const;
  const Shape& shape() const;
  int rank() const { return shape().rank(); }
  /// "fc1/matmul", or "split:1" for any output but the first.
  std::string name() const;

  friend bool operator==(const Output&, const Output&) = default;

 private:
  Node* node_ = nullptr;
  std::int32_t index_ = 0;
  std::int32_t node_id_ = -1;
};

/// "fc1/matmul float32[?,128]", or "(empty)".
std::ostream& operator<<(std::ostream& stream, const Output& output);

/// Outputs as a function takes them: a list in braces, a vector or a span. Not to be kept.
class OutputList : public std::span<const Output> {
 public:
  OutputList() = default;
  OutputList(std::initializer_list<Output> list) : span(list.begin(), list.size()) {}
  OutputList(const std::vector<Output>& list) : span(list) {}
  OutputList(std::span<const Output> list) : span(list) {}
};

/// Several elementwise ops as one, made by the fusion pass.
struct ElementwiseProgram;

/// A piece of a program that a node runs by itself: an attribute of that node, whose last inputs
/// are what the parameters stand for. In a user's graph it is a region of that graph; in a
/// session's copy it is a graph of its own.
struct Subgraph {
  std::vector<Output> parameters;  ///< values from outside; empty where it does without one
  std::vector<Output> results;
  std::shared_ptr<const Graph> own;  ///< the graph that all of them are of, or null
};

using Attribute =
    std::variant<bool, std::int64_t, double, std::string, DType, Shape, std::vector<std::int64_t>,
                 Tensor, std::shared_ptr<const ElementwiseProgram>, std::vector<double>,
                 std::vector<std::string>, std::shared_ptr<const Subgraph>>;

/// The attributes of a node by name: a handful, so a flat list. Copies share it.
class Attributes {
 public:
  using Entry = std::pair<std::string_view, Attribute>;

  Attributes() = default;
  /// Names must live until a node has the attributes, whose names are its op's own; where the op
  /// has no schema, until the graph is gone.
  Attributes(std::initializer_list<Entry> entries);

  const Attribute* find(std::string_view name) const;
  void set(std::string_view name, Attribute value);
  /// Throws BuildError when the attribute is missing or of another type.
  template <class T>
  const T& get(std::string_view name) const {
    const Attribute* attribute = find(name);
    const T* value = attribute ? std::get_if<T>(attribute) : nullptr;
    if (!value) fail(name);
    return *value;
  }

  /// Becomes what `schema` has: in its order and with its names, those left out by their
  /// defaults. Throws BuildError for an attribute that is not there, of another type, or missing.
  void complete(const Schema& schema);

  const Entry* begin() const { return entries_.get(); }
  const Entry* end() const { return entries_ ? entries_.get() + size_ : nullptr; }

 private:
  [[noreturn]] static void fail(std::string_view name);
  std::shared_ptr<Entry[]> entries_;
  std::size_t size_ = 0;
};

/// What a node is there for; a picture of the graph tells them apart.
enum class Phase : std::uint8_t { forward, gradient, update, recompute };

struct OutputType {
  DType dtype = DType::float32;
  Shape shape;
};

/// One instance of an op. Made by the front functions in ops.h; owned by its Graph.
class Node {
 public:
  int id() const { return id_; }
  const OpDef& op() const { return *op_; }
  Graph& graph() const { return *graph_; }
  /// Unique in a user's graph, with its scopes: "fc1/matmul". A copy has its original's name.
  const std::string& name() const { return *name_; }
  SourceLocation where() const { return where_; }

  std::span<const Output> inputs() const { return inputs_; }
  const Output& input(int i) const { return inputs_[static_cast<std::size_t>(i)]; }
  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  /// Nodes that must have run before this one although it uses none of their values.
  std::span<Node* const> control_inputs() const { return control_inputs_; }
  int num_outputs() const { return static_cast<int>(outputs_.size()); }
  DType dtype(int i = 0) const { return outputs_[static_cast<std::size_t>(i)].dtype; }
  const Shape& shape(int i = 0) const { return outputs_[static_cast<std::size_t>(i)].shape; }
  Output output(int i = 0) { return Output(*this, i); }
  const Attributes& attributes() const { return attributes_; }

  Phase phase() const { return phase_; }
  /// For a gradient node the node that it differentiates, else null.
  Node* differentiates() const { return phase_ == Phase::gradient ? forward_ : nullptr; }
  /// For a node that computes a forward node's value again, since gradients need it, that node;
  /// else null.
  Node* recomputes() const { return phase_ == Phase::recompute ? forward_ : nullptr; }
  /// The scope of gg::recompute that a forward node was made in, or 0.
  int recompute_scope() const { return recompute_scope_; }
  /// The region that it belongs to (Graph::add_region), or 0 for no subgraph.
  int region() const { return region_; }
  /// For a node of a session's own copy the user's node that it came from, else null.
  const Node* origin() const { return origin_; }
  /// The device that was asked for ("cpu", "cuda:0"), or empty.
  const std::string& device() const { return *device_; }
  void set_device(std::string_view device);

  void add_control_input(Node& before);

 private:
  friend class Graph;

  Graph* graph_ = nullptr;
  const OpDef* op_ = nullptr;
  const std::string* name_ = nullptr;
  std::span<Output> inputs_;  // these lists are in the graph's memory
  std::span<Node*> control_inputs_;
  std::span<const OutputType> outputs_;
  Attributes attributes_;
  const std::string* device_ = nullptr;  // in the graph's memory, too
  SourceLocation where_;
  Node* forward_ = nullptr;  // that this one differentiates or computes again
  const Node* origin_ = nullptr;
  std::int32_t id_ = 0;
  std::int32_t recompute_scope_ = 0;
  std::int32_t region_ = 0;
  Phase phase_ = Phase::forward;
};

inline Output::Output(Node& node, int index) : node_(&node), index_(index), node_id_(node.id()) {}

/// What every node that is added now inherits. Scopes below change it for a while.
struct BuildContext {
  std::string scope;       ///< "fc1/" or empty
  std::string fixed_name;  ///< replaces scope and op name: "gradients/fc1/matmul"
  std::string device;      ///< the device asked for, or empty
  std::vector<Node*> control_inputs;
  SourceLocation where;     ///< when known, goes before the caller's own line
  Node* forward = nullptr;  ///< that the nodes differentiate or compute again, by `phase`
  int recompute_scope = 0;
  int region = 0;
  const Node* origin = nullptr;  ///< in a session's own copy: the user's node that asks for it
  Phase phase = Phase::forward;
};

/// What one layer function made under one scope; `summary` prints a row for each.
struct Layer {
  std::string name;  ///< its scope: "fc1"
  std::string kind;  ///< "dense"
  Output output;
  std::vector<Output> trainable;  ///< variables that gradients move
  std::vector<Output> tracked;    ///< variables that the layer moves itself
  /// The ops that move them: `minimize` runs them with each step of a loss that depends on the
  /// layer.
  std::vector<Output> updates;
};

/// A symbolic program: nodes and nothing else. Holds no values (each Session has its own), never
/// moves, and outlives every Output, Session and Callable made from it.
/// Building is single-threaded; sessions may read one graph from several threads.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Adds a node after inferring its shapes and dtypes. `name` defaults to the op's name; scope
  /// and a number make it unique. Throws BuildError, leaving the graph as it was.
  Node& add(const OpDef& op, OutputList inputs, Attributes attributes, SourceLocation where,
            std::string_view name = {});

  /// Nodes in the order they were made, which is a topological order.
  std::pmr::deque<Node>& nodes() { return nodes_; }
  const std::pmr::deque<Node>& nodes() const { return nodes_; }
  int num_nodes() const { return static_cast<int>(nodes_.size()); }
  /// Null where there is none; copies of another graph's nodes are not found.
  Node* find(std::string_view name) const;
  /// Gives `node` another (unique) name, under the current scope.
  void rename(Node& node, std::string_view name);
  /// "dense", then "dense_1", ...: a scope that no node or scope has yet, without a slash.
  std::string unique_scope(std::string_view name);
  int next_recompute_scope() { return ++recompute_scopes_; }
  /// A part of the graph that becomes a node's subgraph, inside the region of the context. Nodes
  /// made while it is the context's belong to it, but for placeholders, variables and constants.
  /// Nobody outside reads them, and they update no variable.
  int add_region();
  /// Whether nodes of `region` may read the node.
  bool is_visible(const Node& node, int region) const;

  /// A gradient that replaces the op's own for this one node.
  using Gradient = std::function<std::vector<Output>(const GradientContext&)>;
  void set_gradient(Node& node, Gradient gradient);
  const Gradient* gradient_of(const Node& node) const;

  /// What sessions give `variable` before its first use, or empty. BuildError if it does not fit.
  void set_initial_value(Node& variable, Output value);
  Output initial_value(const Node& variable) const;

  /// Refuses every further node, with an error that names the line it comes from: a loop that
  /// builds new nodes in each round is found, instead of growing the graph step by step.
  void finalize() { finalized_ = true; }
  bool is_finalized() const { return finalized_; }

  void add_layer(Layer layer) { layers_.push_back(std::move(layer)); }
  /// Calls `undo` where what is being built now, by one function or more around it, is taken
  /// back: for what is kept outside of the graph.
  void when_taken_back(std::function<void()> undo);
  const std::vector<Layer>& layers() const { return layers_; }

  /// Adds a copy of `original`, a node of another graph, with these inputs: same op, attributes,
  /// name, line, phase and requested device; shapes are inferred anew.
  Node& add_copy(const Node& original, OutputList inputs,
                 std::span<Node* const> control_inputs = {});
  /// The same for a node of a graph that is not needed any more, without inference: inputs must
  /// be of the types that the original's are.
  Node& move_here(Node& original, OutputList inputs, std::span<Node* const> control_inputs);
  /// Adds a node of another op that stands for `original` and takes over all but its inputs.
  Node& add_in_place_of(const Node& original, const OpDef& op, OutputList inputs,
                        Attributes attributes);
  /// Makes `node` read `value` instead; dtypes must agree. For passes on a session's own copy.
  void set_input(Node& node, int index, Output value);
  /// Makes `node` run after `replacement` instead of after `before`.
  void replace_control_input(Node& node, const Node& before, Node& replacement);

  BuildContext& context() { return context_; }

 private:
  friend class Node;
  friend class BuildTransaction;

  void check_schema(const OpDef& op, OutputList inputs, Attributes& attributes,
                    SourceLocation where);
  /// A node without a name.
  Node& append(const OpDef& op, std::string_view name, OutputList inputs, Attributes attributes,
               std::span<Node* const> control_inputs, SourceLocation where);
  /// A node whose types are in the buffer.
  Node& put(const OpDef& op, OutputList inputs, Attributes attributes,
            std::span<Node* const> control_inputs, SourceLocation where);
  /// Gives a new node what it has in common with the one that it was made for.
  void stand_for(Node& node, const Node& original);
  std::span<const OutputType> keep_types(OutputList inputs);
  const std::string* keep_device(std::string_view device);
  template <class T>
  std::span<T> keep(std::span<const T> list);
  /// Takes back all nodes, names, layers and more after the first so many.
  void take_back(std::size_t nodes, std::size_t layers, std::size_t scopes, std::size_t undos);

  std::pmr::monotonic_buffer_resource memory_;  ///< of the nodes and their lists
  std::pmr::deque<Node> nodes_{&memory_};
  std::unique_ptr<NameTable> names_;
  std::set<std::string, std::less<>> devices_;
  std::string name_buffer_;  // the buffers are kept for their memory
  std::vector<OutputType> type_buffer_;
  std::unordered_map<const Node*, Gradient> gradients_;
  std::unordered_map<const Node*, Output> initial_values_;
  std::vector<Layer> layers_;
  // Since the outermost transaction began:
  std::vector<std::string> new_scopes_;
  std::vector<std::function<void()>> undos_;
  int transactions_ = 0;
  int recompute_scopes_ = 0;
  std::vector<int> outer_regions_;  ///< by region, from 1 on: the one that it is inside
  bool finalized_ = false;
  BuildContext context_;
};

/// Restores the graph's build context when it goes out of scope.
class [[nodiscard]] ContextGuard {
 public:
  explicit ContextGuard(Graph& graph) : graph_(&graph), saved_(graph.context()) {}
  ContextGuard(ContextGuard&& other) noexcept
      : graph_(std::exchange(other.graph_, nullptr)), saved_(std::move(other.saved_)) {}
  ContextGuard& operator=(ContextGuard&&) = delete;
  ~ContextGuard() {
    if (graph_) graph_->context() = std::move(saved_);
  }

 private:
  Graph* graph_;
  BuildContext saved_;
};

/// Takes back every node, name and layer that was added to the graph while it lived, unless
/// `commit` was called: what is built of several nodes and fails leaves the graph as it was.
/// Renames of older nodes stay.
class [[nodiscard]] BuildTransaction {
 public:
  explicit BuildTransaction(Graph& graph);
  BuildTransaction(const BuildTransaction&) = delete;
  BuildTransaction& operator=(const BuildTransaction&) = delete;
  ~BuildTransaction();
  void commit() { committed_ = true; }
  /// The same, for the value that was built: `return transaction.commit(add(x, y));`
  template <class T>
  T commit(T result) {
    committed_ = true;
    return result;
  }

 private:
  Graph& graph_;
  std::size_t nodes_, layers_, scopes_, undos_;
  bool committed_ = false;
};

/// Nodes made while the result lives are named "fc1/...": `auto s = gg::scope(graph, "fc1");`
/// A name in use gets a number. Throws BuildError for an empty name or a stray character.
ContextGuard scope(Graph& graph, std::string_view name,
                   SourceLocation where = SourceLocation::current());
/// A scope whose values are not kept for the gradients: these compute them again, from what came
/// into the scope and from its variables, to the same bit. What later nodes read is kept.
/// Less memory for at most one more forward pass, with a scope around every few layers of a deep
/// network. Scopes of this kind inside it are part of it.
/// Source: tf.recompute_grad, jax.checkpoint.
ContextGuard recompute(Graph& graph, std::string_view name,
                       SourceLocation where = SourceLocation::current());
/// Nodes made while the result lives ask for `device` ("cpu", "cuda:0").
ContextGuard device_scope(Graph& graph, std::string device);
/// Nodes made while the result lives run after `before`.
ContextGuard control_dependencies(Graph& graph, std::vector<Output> before,
                                  SourceLocation where = SourceLocation::current());
/// Renames the node behind `output` and returns it: `auto loss = gg::named(gg::mean(x), "loss")`.
Output named(Output output, std::string_view name,
             SourceLocation where = SourceLocation::current());

/// Checks what every stage must keep: inputs exist and come before their readers, no cycle, and
/// shapes and dtypes are what inference gives. Throws BuildError with the first fault.
void verify(const Graph& graph);

}  // namespace gradgraph
