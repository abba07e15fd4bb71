#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"
#include "gradgraph/op.h"
#include "passes/lower_precision.h"
#include "passes/whole_graph_pass.h"

/// Products, and what only follows them, in 16 bits (SessionOptions::precision):
///
///     x ─┐                                     x ── cast ─┐
///     w ─┴ matmul ── relu ── sum   becomes     w ── cast ─┴ matmul ── relu ── cast ── sum
namespace gradgraph {
namespace {

/// Ops by their definition.
std::set<const OpDef*> defined(std::span<const std::string_view> names) {
  std::set<const OpDef*> ops;
  for (const std::string_view name : names) ops.insert(&op_registry().at(name));
  return ops;
}

class PrecisionLowering : public WholeGraphPass {
 public:
  PrecisionLowering(Graph& graph, const PassContext& context, RewriteLog& log)
      : WholeGraphPass(graph, context, log),
        dtype_(context.precision == Precision::fp16 ? float16 : bfloat16) {}

  void run() {
    for (Node* node : topology_.order())
      if (!(is_lowered(*node) && lower(*node))) widen_inputs(*node);
  }

 private:
  using Key = std::pair<const Node*, int>;

  /// Its place in the order is fixed, which that of a cast of what it reads is not.
  bool is_bound(const Node& node) const {
    return is_late(node) || !node.control_inputs().empty() || topology_.is_awaited(node);
  }

  bool is_lowered(const Node& node) const {
    if (is_bound(node) || node.phase() == Phase::update || node.num_outputs() == 0 ||
        node.dtype() != float32)
      return false;
    if (products_.contains(&node.op())) return true;
    if (!followers_.contains(&node.op())) return false;
    bool follows = false;
    for (const Output& input : node.inputs()) {
      if (input.dtype() != float32 || is_given(input, node)) continue;
      if (!lowered_.contains(&input.node())) return false;
      follows = true;
    }
    return follows;
  }
  /// Nobody minds that it is converted. What else is calculated from a variable may be an update
  /// of it.
  bool is_given(const Output& value, const Node& reader) const {
    return &value.node().op() == &constant_ ||
           (&value.node().op() == &variable_ && &reader.op() == &bias_add_);
  }

  bool lower(Node& node) {
    std::vector<Output> inputs(node.inputs().begin(), node.inputs().end());
    for (Output& input : inputs)
      if (input.dtype() == float32) input = half(input);
    BuildTransaction transaction(graph_);
    Node& made = graph_.add_in_place_of(node, node.op(), std::move(inputs), node.attributes());
    const auto line = [&] { return fmt::format("'{}' in {}", node.name(), dtype_); };
    if (!context_.takes(made) || !log_.admit(line)) return false;
    transaction.commit();
    for (int i = 0; i < node.num_outputs(); ++i) half_[{&node, i}] = made.output(i);
    lowered_.insert(&node);
    return true;
  }

  Output half(const Output& value) {
    Output& known = half_[key(value)];
    if (!known) known = convert(value.node(), value, dtype_);
    return known;
  }

  void widen_inputs(Node& node) {
    for (int i = 0; i < node.num_inputs(); ++i) {
      const Output value = node.input(i);
      if (!lowered_.contains(&value.node())) continue;
      Output& wide = wide_[key(value)];
      if (!wide) wide = convert(value.node(), half_.at(key(value)), float32);
      graph_.set_input(node, i, wide);
    }
  }

  Output convert(const Node& source, const Output& value, DType dtype) {
    Node& cast = graph_.add_in_place_of(source, cast_, {value}, {{"dtype", dtype}});
    if (&value.node().op() != &constant_) return cast.output();
    const auto folded = context_.evaluate(cast);
    if (!folded) return cast.output();
    return graph_.add_in_place_of(source, constant_, {}, {{"value", folded->front()}}).output();
  }

  static Key key(const Output& value) { return {&value.node(), value.index()}; }

  const DType dtype_;
  const std::set<const OpDef*> products_ = defined(kLoweredProducts),
                               followers_ = defined(kLoweredFollowers);
  const OpDef& cast_ = op_registry().at("cast");
  const OpDef& constant_ = op_registry().at("constant");
  const OpDef& bias_add_ = op_registry().at("bias_add");
  const OpDef& variable_ = op_registry().at("variable");
  std::map<Key, Output> half_;  ///< what a value is in 16 bits
  std::map<Key, Output> wide_;  ///< what is of 16 bits, as float32 again
  std::set<const Node*> lowered_;
};

}  // namespace

void lower_precision(Graph& graph, const PassContext& context, RewriteLog& log) {
  if (context.precision == Precision::bf16 || context.precision == Precision::fp16)
    PrecisionLowering(graph, context, log).run();
}

}  // namespace gradgraph
