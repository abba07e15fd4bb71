#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/precision.h"
#include "passes/specialize.h"

namespace gradgraph {

class NodePass;

/// What passes get to know beside the graph.
struct PassContext {
  /// What the run is for: rewrites keep these nodes and all that they need.
  std::vector<Node*> fetches;
  /// Leaves out what changes more than rounding (SessionOptions::exact_rewrites).
  bool exact = false;
  Precision precision = Precision::fp32;
  /// True where the device can run an elementwise node as part of a fused one.
  std::function<bool(const Node&)> can_fuse;
  /// True where the device that the node is meant for has a kernel of `op` for the node's dtype,
  /// which may still decline what a pass makes: whether it is worth trying.
  std::function<bool(const Node&, std::string_view op)> has_kernel;
  /// True where the device that the node is meant for takes it. Asked about each node that a pass
  /// makes, before anybody reads it (Attempt).
  std::function<bool(const Node&)> takes = [](const Node&) { return true; };
  /// True where the device that the node is meant for likes NHWC images better than NCHW ones.
  std::function<bool(const Node&)> prefers_nhwc = [](const Node&) { return true; };
  /// Queries of a head from which attention as one node pays, on the device that a node is for.
  std::function<std::int64_t(const Node&)> fewest_queries = [](const Node&) { return 1; };
  /// True where it may find heads inside of rows.
  std::function<bool(const Node&)> takes_heads_inside = [](const Node&) { return false; };
  /// Elements of the largest variables whose updates are quicker as one node there.
  std::function<std::int64_t(const Node&)> most_merged = [](const Node&) {
    return std::numeric_limits<std::int64_t>::max();
  };
  /// Computes nodes of constants.
  Evaluator evaluate;

  /// Whether an elementwise node can be part of a fused one.
  bool fuses(const Node& node) const;
};

/// What the passes did, rewrite by rewrite, and how many more they may do. Passes do the same
/// rewrites in the same order on the same graph, whatever the budget: so a fault can be traced
/// to the single rewrite that brings it in.
class RewriteLog {
 public:
  static constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

  /// With `writes_lines`, every rewrite leaves a line of text, which costs time.
  explicit RewriteLog(bool writes_lines = false, std::int64_t budget = kUnlimited)
      : writes_lines_(writes_lines), left_(budget) {}

  /// Asked by a pass before each rewrite: false when it must not be done. `line()` says what
  /// becomes of what, and is called only if somebody wants to read it.
  template <class Line>
  bool admit(const Line& line) {
    if (left_ == 0) return false;
    --left_;
    ++counts_[current_].second;
    if (writes_lines_) lines_.push_back(std::string(counts_[current_].first) + ": " + line());
    return true;
  }
  bool is_spent() const { return left_ == 0; }

  /// Whatever is admitted from now on belongs to this pass.
  void enter(std::string_view pass);

  std::int64_t count() const;
  /// How often a pass rewrote something.
  std::int64_t count(std::string_view pass) const;
  /// "pass: what became of what", in the order in which it was done.
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  bool writes_lines_;
  std::int64_t left_;
  std::vector<std::pair<std::string_view, std::int64_t>> counts_;  ///< by pass
  std::size_t current_ = 0;
  std::vector<std::string> lines_;
};

/// A rewrite of a session's own copy, all shapes known. Results stay the same up to rounding:
/// what is combined with what may change, but not what is computed. Linear in the graph's size.
struct Pass {
  std::string_view name;
  /// Rewrites the graph as a whole,
  void (*run)(Graph& graph, const PassContext& context, RewriteLog& log) = nullptr;
  /// or looks at one node after the other. Neighbours in the list of this kind share one sweep,
  /// in which each sees at once what the others make.
  std::unique_ptr<NodePass> (*make)() = nullptr;
  /// Of the latter kind: the only op that the pass rewrites, or empty.
  std::string_view only = {};
};

/// In the order in which they run. Programs and tests may add theirs.
std::vector<Pass>& pass_list();

void assign_layout(Graph& graph, const PassContext& context, RewriteLog& log);
void fuse_attention(Graph& graph, const PassContext& context, RewriteLog& log);
void fuse_cross_entropy(Graph& graph, const PassContext& context, RewriteLog& log);
void fuse_elementwise(Graph& graph, const PassContext& context, RewriteLog& log);
void fuse_epilogue(Graph& graph, const PassContext& context, RewriteLog& log);
void fuse_parts(Graph& graph, const PassContext& context, RewriteLog& log);
void fuse_pooling(Graph& graph, const PassContext& context, RewriteLog& log);
void fuse_reductions(Graph& graph, const PassContext& context, RewriteLog& log);
void lower_precision(Graph& graph, const PassContext& context, RewriteLog& log);
void merge_elementwise(Graph& graph, const PassContext& context, RewriteLog& log);
void merge_products(Graph& graph, const PassContext& context, RewriteLog& log);

/// Runs all passes but those named in `disabled`.
void run_passes(Graph& graph, const PassContext& context,
                const std::vector<std::string>& disabled, RewriteLog& log);

}  // namespace gradgraph
