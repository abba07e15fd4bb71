#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "graph/slot.h"
#include "passes/pass_list.h"

namespace gradgraph {

class NodeSweep;

/// What stands for a node's output from now on, and why; an empty value changes nothing.
struct NodeRewrite {
  Output value;
  std::string_view rule = {};
};

/// A pass that looks at one node at a time: at a node without control inputs and with one output,
/// whose inputs are in their final form.
class NodePass {
 public:
  virtual ~NodePass() = default;
  /// New nodes come from `sweep`, which visits them in turn. `node` itself stays as it is.
  virtual NodeRewrite rewrite(Node& node, NodeSweep& sweep) = 0;
};

/// Visits every node that the fetches need once, inputs first, and every new node too. So all
/// passes together reach a state in which none of them finds anything to do, in linear time.
///
/// A node that depends on an update sees variables as they are then, and what it reads through
/// another node as they were before. So such nodes are not rewritten, and where one reads what
/// could be replaced by a variable itself, that stays.
class NodeSweep {
 public:
  NodeSweep(Graph& graph, const PassContext& context, RewriteLog& log);

  void add(std::string_view name, std::unique_ptr<NodePass> pass);
  void run();

  // For passes:

  const PassContext& context() const { return context_; }
  /// Whether a rewrite may do without `value`: nothing that it needs may fail in a run.
  bool can_drop(const Output& value) const { return !may_fail_[slot(value)]; }
  /// A node that stands for `original`, on the same device, with the same line and origin.
  Output make(const Node& original, const OpDef& op, OutputList inputs,
              Attributes attributes = {});
  Output make(const Node& original, std::string_view op, OutputList inputs,
              Attributes attributes = {});
  Output constant(const Node& original, Tensor value);
  /// `value` under another shape of as many elements; itself where it has that shape.
  Output reshaped(const Node& original, Output value, const Shape& shape);
  /// `value` repeated to `shape`; itself where it has that shape.
  Output broadcast(const Node& original, Output value, const Shape& shape);

 private:
  struct NamedPass {
    std::string_view name;
    std::unique_ptr<NodePass> pass;
  };

  void visit(Node& node);
  /// Whether the node depends on an update, when that is known of all that it needs.
  bool find_late(const Node& node) const;
  /// Makes the node read what stands for its inputs now.
  void update_inputs(Node& node, bool is_late);
  bool needs_what_may_fail(const Node& node) const;
  NodeRewrite find_rewrite(Node& node);
  Output current(const Output& value) const;

  Graph& graph_;
  const PassContext& context_;
  RewriteLog& log_;
  std::vector<NamedPass> passes_;
  std::vector<Output> replacement_;  ///< by node id; empty for nodes that are still there
  std::vector<bool> may_fail_;       ///< by node id: the node, or one that it needs
  std::vector<Node*> fresh_;         ///< made by the rewrite in progress
  bool has_updates_ = false;
  std::vector<bool> is_late_;  ///< by node id: depends on an update
};

/// True when patterns may look behind the node: it waits for nothing but its inputs.
inline bool is_transparent(const Node& node) { return node.control_inputs().empty(); }

}  // namespace gradgraph
