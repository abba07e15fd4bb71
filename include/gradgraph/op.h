#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gradgraph/graph.h"

/// How an op is defined. An op lives in one place, its OpDef: name, traits, inference, gradient.
/// docs/adding_an_op.md walks through adding one.
namespace gradgraph GRADGRAPH_API {

/// What passes, placement and plan may know about an op without knowing the op.
struct Traits {
  /// Output i depends on input element i alone (after broadcasting), by a scalar functor.
  bool elementwise = false;
  bool commutative = false;
  /// Reads or writes a variable: never merged, folded or dropped when fetched.
  bool stateful = false;
  /// Draws from the counter-based generator: never merged or folded.
  bool random = false;
  /// Output i is the new value of the variable that is input i, written in place.
  bool updates_variable = false;
  /// An update that does not read the old value.
  bool overwrites_variable = false;
  /// The elementwise op that makes an update's new value of the old one and input 1, or null
  /// where input 1 is the new value.
  const char* update_op = nullptr;
  /// Output 0 may use input 0's buffer when nobody else reads it.
  bool in_place = false;
  /// Output 0 is input 0's bytes under another shape: never computed, only renamed.
  bool alias = false;
  /// A kernel may refuse values that it meets (an index out of range); no pass may drop it.
  bool may_fail = false;
  /// Never runs: a value that is there already (a variable), or an order (group).
  bool no_kernel = false;
  /// Only made by the library itself, in a session's own copy.
  bool internal = false;
  /// Moves a value, which sessions do without a kernel (copy, fetch).
  bool moves_value = false;
  /// Made of several ops by a pass, in a session's own copy.
  bool fused = false;
  /// Has subgraphs among its attributes, which its kernel runs: on the host.
  bool runs_subgraphs = false;
  /// On the published list of ops without a gradient (docs/ops.md); others must have one.
  bool non_differentiable = false;
  /// Uses its inputs' shapes only, never their values.
  bool shape_only = false;
  /// Reads no more of input 0 than it writes.
  bool reads_part = false;
  /// Inputs (bit i = input i) whose values the plan must know: shapes, paddings, multiples.
  std::uint32_t static_inputs = 0;
  /// The input whose dtype chooses the kernel; kDefault is the first that is not static, or
  /// output 0 where there is none.
  int kernel_input = kDefault;
  static constexpr int kDefault = -1, kOutput = -2;
};

/// What `infer` sees, and how it answers: checks with `require`, then `output` once per result.
class InferContext {
 public:
  /// `op` and `node_name` go into messages; the answers go to `outputs`. All must outlive the
  /// context.
  InferContext(const OpDef& op, std::string_view node_name, std::span<const Output> inputs,
               const Attributes& attributes, SourceLocation where,
               std::vector<OutputType>& outputs)
      : op_(op),
        node_name_(node_name),
        inputs_(inputs),
        attributes_(attributes),
        where_(where),
        outputs_(outputs) {
    outputs_.clear();
  }

  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  const Output& input(int i) const { return inputs_[static_cast<std::size_t>(i)]; }
  DType dtype(int i) const { return input(i).dtype(); }
  const Shape& shape(int i) const { return input(i).shape(); }
  int rank(int i) const { return shape(i).rank(); }
  const Attributes& attributes() const { return attributes_; }
  template <class T>
  const T& attribute(std::string_view name) const {
    return attributes_.get<T>(name);
  }

  /// The value of int64 vector input i as far as it is known while building: `any` where it is
  /// not. Throws when the input is not an int64 vector of known length.
  Shape vector_value(int i) const;
  /// `axis` in [-rank, rank) as one in [0, rank); throws otherwise.
  int normalize_axis(std::int64_t axis, int rank) const;

  void require_inputs(int count) const;
  void require_dtype(int i, std::initializer_list<DType> allowed) const;
  void require_floating(int i) const;
  /// Of a floating or an integer dtype.
  void require_number(int i) const;
  void require_same_dtype(int i, int j) const;
  void require_rank(int i, int rank) const;
  /// Throws BuildError "[op] 'node': <message>: <dtypes and shapes>  (file:line)".
  [[noreturn]] void fail(const std::string& message) const;
  void require(bool condition, const char* message) const {
    if (!condition) fail(message);
  }

  void output(DType dtype, const Shape& shape) { outputs_.push_back({dtype, shape}); }
  std::vector<OutputType>& outputs() { return outputs_; }

 private:
  const OpDef& op_;
  std::string_view node_name_;
  std::span<const Output> inputs_;
  const Attributes& attributes_;
  SourceLocation where_;
  std::vector<OutputType>& outputs_;
};

/// What a gradient function sees. It returns one Output per input of the node, empty for "none".
class GradientContext {
 public:
  /// `wanted` says it for each input; empty: all are.
  GradientContext(Node& node, std::span<const Output> inputs, std::span<const Output> outputs,
                  std::span<const Output> grads, std::span<const char> wanted = {})
      : node_(node), inputs_(inputs), outputs_(outputs), grads_(grads), wanted_(wanted) {}

  /// For attributes and messages. Values come from below: they may be computed again.
  Node& node() const { return node_; }
  Output input(int i) const { return inputs_[static_cast<std::size_t>(i)]; }
  Output output(int i = 0) const { return outputs_[static_cast<std::size_t>(i)]; }
  int num_inputs() const { return node_.num_inputs(); }
  /// The gradient of the loss by output i; empty when nothing flows back through it.
  Output grad(int i = 0) const { return grads_[static_cast<std::size_t>(i)]; }
  /// Whether the gradient by input i is used; one that is not may be left empty.
  bool is_wanted(int i) const {
    return wanted_.empty() || wanted_[static_cast<std::size_t>(i)] != 0;
  }
  template <class T>
  const T& attribute(std::string_view name) const {
    return node_.attributes().get<T>(name);
  }

 private:
  Node& node_;
  std::span<const Output> inputs_, outputs_, grads_;
  std::span<const char> wanted_;
};

/// One input of an op. An optional one may be left out, by a shorter list of inputs; a list is
/// any number of inputs, the last ones.
struct InputDef {
  enum class Kind : std::uint8_t { single, optional, list };
  std::string name;
  Kind kind = Kind::single;
};

struct AttributeDef {
  std::string name;
  Attribute value;  ///< what it is where nobody says; where it is required, a value of its type
  bool required = false;
  std::string doc;  ///< one line
};

/// What a node of an op consists of, from which checks, messages and docs/ops.md come.
struct Schema {
  std::string doc;  ///< one line; empty: nothing is known of the op, and nothing checked
  std::vector<InputDef> inputs;
  std::vector<AttributeDef> attributes;
  int version = 1;  ///< grows when nodes of the op come to mean something else
};

/// Where the outputs of a node lie in input 0, or its inputs in output 0, each in one piece.
struct Parts {
  bool of_output = false;             ///< else of input 0
  std::vector<std::int64_t> offsets;  ///< in elements, of every output, or of every input
};

struct OpDef {
  std::string name;
  Traits traits;
  void (*infer)(InferContext&) = nullptr;
  /// Calls public ops only, so that it can be differentiated, rewritten and placed in turn.
  /// Null: no gradient flows through this op, and asking for one is an error unless the op's
  /// output is an integer or a bool.
  std::vector<Output> (*gradient)(const GradientContext&) = nullptr;
  /// For ops that make int64 vectors out of shapes: the value of output 0 as far as it is known
  /// while building (`any` where not). Null: nothing is known.
  std::optional<Shape> (*vector_value)(const Node&) = nullptr;
  /// Floating-point operations of a node whose shapes are known, for the profiler: 2 for a
  /// product and its sum. Null where they are not worth counting, and for elementwise ops, which
  /// count one per element.
  double (*flops)(const Node&) = nullptr;
  /// For ops that only take a value apart or put one together; the shapes are known. nullopt
  /// where a part is not in one piece. A plan need not copy such parts.
  std::optional<Parts> (*parts)(const Node&) = nullptr;
  Schema schema = {};

  /// `doc` is one line. Inputs by name: "x", optional ones as "bias?", lists as "values...".
  OpDef& describe(std::string doc, std::initializer_list<std::string_view> inputs);
  /// An attribute that has a default.
  OpDef& attribute(std::string attribute, Attribute value, std::string doc);
  /// One of type T that each node must have.
  template <class T>
  OpDef& required_attribute(std::string attribute, std::string doc) {
    schema.attributes.push_back({std::move(attribute), T(), true, std::move(doc)});
    return *this;
  }
  /// "leaky_relu(x, slope: double = 0.01)".
  std::string signature() const;
};

/// All ops by name. The library's own are there from the start; programs may add theirs.
class OpRegistry {
 public:
  /// Throws BuildError when the name is taken or there is no `infer`. What comes back is for
  /// OpDef::describe and the like; it lives as long as the registry.
  OpDef& add(OpDef op);
  const OpDef* find(std::string_view name) const;
  /// Throws BuildError for a name that is not registered.
  const OpDef& at(std::string_view name) const;
  /// Sorted by name.
  std::vector<const OpDef*> all() const;

 private:
  std::unordered_map<std::string_view, std::unique_ptr<OpDef>> ops_;
};

/// The ops of this process.
OpRegistry& op_registry();

/// The int64 vector that `value` is known to be while building; nullopt when nothing is known.
std::optional<Shape> known_vector(const Output& value);

}  // namespace gradgraph
