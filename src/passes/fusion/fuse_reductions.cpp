#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/text.h"
#include "graph/program.h"
#include "passes/attempt.h"
#include "passes/pass_list.h"
#include "passes/rewriting/known_op.h"
#include "passes/topology.h"

/// A sum or mean over neighbouring axes is taken while an elementwise node computes what goes
/// into it:
///
///     x ── fused ─┬─ ...              x ── fused_sums ─┬─ ...
///                 └─ sum      =>                       └─ sum
namespace gradgraph {
namespace {

/// Rows of column sums are kept in the cache.
constexpr std::int64_t kMaxColumns = 8192;
/// Elements that go into the sums of a sample, which the program starts anew for.
constexpr std::int64_t kLeastSample = 1024;

/// Which axes of a shape a reduction is over.
struct Split {
  bool leading = false;  ///< over those from `first` to `axis`, else over those from `axis` on
  std::int64_t first = 0, axis = 0;
};

std::optional<Split> find_split(const Shape& shape, const std::vector<std::int64_t>& axes) {
  const auto count = static_cast<std::int64_t>(axes.size());
  if (count == 0) return std::nullopt;
  if (axes[0] == shape.rank() - count) return Split{false, 0, axes[0]};  // sorted
  const std::int64_t behind = axes.back() + 1;
  if (axes[0] != behind - count) return std::nullopt;
  std::int64_t columns = 1;
  for (int axis = static_cast<int>(behind); axis < shape.rank(); ++axis) columns *= shape[axis];
  if (columns > kMaxColumns) return std::nullopt;
  std::int64_t rows = 1;
  for (const std::int64_t axis : axes) rows *= shape[static_cast<int>(axis)];
  if (axes[0] > 0 && rows * columns < kLeastSample) return std::nullopt;
  return Split{true, axes[0], behind};
}

class ReductionFusion {
 public:
  ReductionFusion(Graph& graph, const PassContext& context, RewriteLog& log)
      : graph_(graph), context_(context), log_(log), topology_(graph, context.fetches) {}

  void run() {
    for (Node* node : topology_.order())
      if (is_candidate(*node)) fuse(*node);
  }

 private:
  bool is_candidate(const Node& node) const {
    const Traits& traits = node.op().traits;
    return traits.elementwise && node.num_outputs() == 1 && is_floating(node.dtype()) &&
           !is_half(node.dtype()) && (fused_.matches(node) || context_.fuses(node)) &&
           context_.has_kernel(node, fused_sums_->name);
  }

  /// The first reduction that reads the node, and can go with it.
  Node* find_reduction(const Node& node, Split& split) const {
    for (const auto& reader : topology_.readers(node)) {
      if (reader.index < 0) return nullptr;
      Node& reduction = *reader.node;
      if ((!sum_.matches(reduction) && !mean_.matches(reduction)) ||
          reduction.device() != node.device() || topology_.is_awaited(reduction))
        continue;
      const auto found =
          find_split(node.shape(), reduction.attributes().get<std::vector<std::int64_t>>("axes"));
      if (!found) continue;
      split = *found;
      return &reduction;
    }
    return nullptr;
  }

  void fuse(Node& node) {
    Split split;
    Node* reduction = find_reduction(node, split);
    if (!reduction || log_.is_spent()) return;
    const bool keeps_elements = topology_.readers(node).size() > 1;
    const auto describe = [&] {
      return fmt::format("'{}' = {} of '{}'{}", reduction->name(), reduction->op().name,
                         node.name(), keeps_elements ? ", which stays" : "");
    };
    Attempt attempt(graph_, context_);
    Node& fused = graph_.add_in_place_of(
        node, *fused_sums_, {std::vector<Output>(node.inputs().begin(), node.inputs().end())},
        {{"program", std::make_shared<const ElementwiseProgram>(make_program(node))},
         {"leading", split.leading},
         {"first", split.first},
         {"split", split.axis},
         {"mean", mean_.matches(*reduction)},
         {"keeps_elements", keeps_elements},
         {"shape", reduction->shape()}});
    if (!attempt.succeeds(log_, describe)) return;
    replace_readers(graph_, topology_, *reduction, fused.output(keeps_elements ? 1 : 0));
    if (keeps_elements) replace_readers(graph_, topology_, node, fused.output(0));
  }

  Graph& graph_;
  const PassContext& context_;
  RewriteLog& log_;
  Topology topology_;
  const KnownOp sum_{"sum", {"axes", "keep_dims"}}, mean_{"mean", {"axes", "keep_dims"}};
  const KnownOp fused_{"fused", {"program"}};
  const OpDef* fused_sums_ = &op_registry().at("fused_sums");
};

}  // namespace

void fuse_reductions(Graph& graph, const PassContext& context, RewriteLog& log) {
  if (context.exact || !has_any(graph, {"sum", "mean"})) return;
  ReductionFusion(graph, context, log).run();
}

}  // namespace gradgraph
