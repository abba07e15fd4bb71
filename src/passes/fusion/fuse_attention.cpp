#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"
#include "passes/attempt.h"
#include "passes/rewriting/known_op.h"
#include "passes/rewriting/patterns.h"
#include "passes/whole_graph_pass.h"

/// Makes one node of attention, and one of its gradients, so that scores need not lie in memory:
///
///     q, k ── matmul ── mul ── where ── softmax ─┬─ matmul ── y
///                    scale     mask           v ─┘
/// =>
///     q, k, v, mask ── fused_attention ── y
///
/// The gradients, of which some may be missing, begin with the products dw = dy v' and w' dy of
/// the weights w = softmax; then come ds = w * (dw - sum(w * dw)), the same for `where` and `mul`
/// as forward, and the products ds k and ds' q.
namespace gradgraph {
namespace {

constexpr std::string_view kAttention = "fused_attention",
                           kAttentionGrad = "fused_attention_grad";
/// Scores of a head up to which it costs less to keep the weights for the gradient than to make
/// them anew.
constexpr std::int64_t kMostKeptScores = 1 << 16;
constexpr double kLowest = -std::numeric_limits<double>::infinity();

/// What stands between the products of queries and keys, and the softmax.
struct ScoreStep {
  enum class Kind : std::uint8_t { multiply, divide, hide, add } kind;
  Output by;  ///< the other operand: a number, what `where` selects by, or what is added

  bool is_scale() const { return kind == Kind::multiply || kind == Kind::divide; }
};

struct AttentionNodes {
  Node* softmax = nullptr;
  Node* scores = nullptr;        ///< the product of queries and keys
  std::vector<ScoreStep> steps;  ///< from the softmax back
  double scale = 1, hidden = kLowest;
  Output values;
  Node* result = nullptr;  ///< null where the weights are made for the gradient alone
  Output grad;             ///< of the result; empty where there is no gradient
  Node *q_grad = nullptr, *k_grad = nullptr, *v_grad = nullptr;
  bool k_grad_is_columns = false;

  Output queries() const { return scores->input(0); }
  Output keys() const { return scores->input(1); }
  /// The keys are the product's columns.
  bool keys_are_columns() const { return !scores->attributes().get<bool>("transpose_b"); }
};

/// What attention reads, and what becomes of it. Where rows stand in front of heads, and are
/// brought to the other order only for this: what stands in front of these transposes, and behind
/// them. What it lacks is empty.
struct Ends {
  Output queries, keys, values, grad;
  Node *result, *q_grad, *k_grad, *v_grad;
  bool heads_inside;
};

std::int64_t from_last(const Shape& shape, int axis) { return shape[shape.rank() - 1 - axis]; }

class AttentionFusion : public WholeGraphPass {
 public:
  using WholeGraphPass::WholeGraphPass;

  void run() {
    place_.resize(graph_.nodes().size());
    for (std::size_t i = 0; i < topology_.order().size(); ++i)
      place_[slot(*topology_.order()[i])] = i;
    for (Node* node : topology_.order()) {
      if (!softmax_.matches(*node) || log_.is_spent()) continue;
      AttentionNodes found{.softmax = node};
      if (match(found)) rewrite(found, find_ends(found));
    }
    update_made();
  }

 private:
  bool match(AttentionNodes& found) {
    Node& softmax = *found.softmax;
    const Output scores = softmax.input(0);
    return softmax.dtype() == float32 &&
           softmax.attributes().get<std::int64_t>("axis") == softmax.shape().rank() - 1 &&
           is_part(softmax, softmax) && match_scores(found, scores) && match_readers(found) &&
           fits(found);
  }

  /// The node is where the softmax is, and no update comes before it.
  bool is_part(const Node& node, const Node& softmax) const {
    return !is_late(node) && node.device() == softmax.device();
  }
  /// Only `reader` sees the value, of the softmax's shape.
  bool is_step(const Output& value, const Node& reader, const AttentionNodes& found) const {
    return value.shape() == found.softmax->shape() &&
           topology_.only_reader(value.node()) == &reader &&
           is_part(value.node(), *found.softmax);
  }

  /// From the softmax back to the product: masks, then a scale.
  bool match_scores(AttentionNodes& found, Output value) {
    const Node* reader = found.softmax;
    for (;;) {
      Node& node = value.node();
      if (!is_step(value, *reader, found)) return false;
      if (matmul_.matches(node)) {
        found.scores = &node;
        return !node.attributes().get<bool>("transpose_a");
      }
      const std::optional<std::pair<ScoreStep, Output>> step = match_step(found, node);
      if (!step) return false;
      found.steps.push_back(step->first);
      value = step->second;
      reader = &node;
    }
  }

  /// The step that `node` is, and what goes into it.
  std::optional<std::pair<ScoreStep, Output>> match_step(AttentionNodes& found, Node& node) {
    using Kind = ScoreStep::Kind;
    const ScoreStep* behind = found.steps.empty() ? nullptr : &found.steps.back();
    if (behind && behind->is_scale()) return std::nullopt;
    if (where_.matches(node)) {
      const auto hidden = matcher_.uniform_value(node.input(2));
      if (!hidden || (behind && (behind->kind != Kind::hide || found.hidden != *hidden)))
        return std::nullopt;
      found.hidden = *hidden;
      return std::pair(ScoreStep{Kind::hide, node.input(0)}, node.input(1));
    }
    if (add_.matches(node) && !behind) {
      // What is added may be anything; the other operand goes back to the product.
      const int i = leads_to_product(node.input(0)) ? 0 : 1;
      return std::pair(ScoreStep{Kind::add, node.input(1 - i)}, node.input(i));
    }
    const bool divides = div_.matches(node);
    if (!divides && !mul_.matches(node)) return std::nullopt;
    for (const int i : {0, 1}) {
      const auto factor = matcher_.uniform_value(node.input(1 - i));
      if (!factor || (divides && i == 1)) continue;
      found.scale = divides ? 1 / *factor : *factor;
      if (!std::isfinite(found.scale)) return std::nullopt;
      return std::pair(ScoreStep{divides ? Kind::divide : Kind::multiply, node.input(1 - i)},
                       node.input(i));
    }
    return std::nullopt;
  }
  bool leads_to_product(const Output& value) const {
    const Node& node = value.node();
    return matmul_.matches(node) ||
           ((mul_.matches(node) || div_.matches(node)) &&
            (matmul_.matches(node.input(0).node()) || matmul_.matches(node.input(1).node())));
  }

  /// Everybody who reads the weights takes part in the picture.
  bool match_readers(AttentionNodes& found) {
    Node& softmax = *found.softmax;
    Node *weighted = nullptr, *by_scores = nullptr;
    for (const auto& [node, index] : topology_.readers(softmax)) {
      if (index < 0 || !is_part(*node, softmax)) return false;
      const bool is_product = matmul_.matches(*node) && index == 0;
      Node** place = is_product && has_flags(*node, false, false)  ? &found.result
                     : is_product && has_flags(*node, true, false) ? &found.v_grad
                     : mul_.matches(*node) && sums_rows(*node)     ? &weighted
                     : mul_.matches(*node)                         ? &by_scores
                                                                   : nullptr;
      if (!place || *place) return false;
      *place = node;
    }
    if (found.result) found.values = found.result->input(1);
    if (found.v_grad) found.grad = found.v_grad->input(1);
    if (!weighted && !by_scores) return found.result && !found.v_grad;
    return weighted && by_scores && match_gradient(found, *weighted, *by_scores);
  }

  /// ds = w * (dw - sum(w * dw)), and what it becomes.
  bool match_gradient(AttentionNodes& found, Node& weighted, Node& by_scores) {
    const Output weights = found.softmax->output();
    const Output by_weights = other_input(weighted, weights);
    const Output difference = other_input(by_scores, weights);
    Node& sum = *topology_.only_reader(weighted);
    if (!by_weights || !difference || !sub_.matches(difference.node()) ||
        !is_step(difference, by_scores, found) || difference.node().input(0) != by_weights ||
        difference.node().input(1) != sum.output() ||
        topology_.only_reader(sum) != &difference.node() || !is_part(sum, *found.softmax))
      return false;
    const Node& product = by_weights.node();
    if (!matmul_.matches(product) || !has_flags(product, false, true) ||
        by_weights.shape() != weights.shape() || topology_.readers(product).size() != 2 ||
        !is_part(product, *found.softmax))
      return false;
    if ((found.grad && found.grad != product.input(0)) ||
        (found.values && found.values != product.input(1)))
      return false;
    found.grad = product.input(0);
    found.values = product.input(1);
    return !is_made_of(found.values, found.v_grad) && match_steps_back(found, by_scores);
  }

  /// Whether the values may depend on their own gradient, which is part of the node that reads
  /// them. All else that the node reads all of its results depend on.
  bool is_made_of(const Output& values, const Node* v_grad) const {
    return v_grad && place_[slot(values.node())] >= place_[slot(*v_grad)];
  }

  /// The gradients of the steps, then the products by queries and keys.
  bool match_steps_back(AttentionNodes& found, Node& by_scores) {
    Node* node = &by_scores;
    for (const ScoreStep& step : found.steps) {
      if (step.kind == ScoreStep::Kind::add) continue;
      Node* reader = topology_.only_reader(*node);
      if (!reader || !is_step(node->output(), *reader, found) ||
          !undoes(*reader, step, node->output()))
        return false;
      node = reader;
    }
    const Output grad = node->output();
    if (grad.shape() != found.softmax->shape()) return false;
    for (const auto& [reader, index] : topology_.readers(*node)) {
      if (index < 0 || !matmul_.matches(*reader) || !is_part(*reader, *found.softmax))
        return false;
      const bool is_first = index == 0;
      const bool by_query = is_first && has_flags(*reader, false, found.keys_are_columns()) &&
                            reader->input(1) == found.keys();
      const bool by_key =
          has_flags(*reader, true, false) && reader->input(is_first ? 1 : 0) == found.queries();
      Node** place = by_query ? &found.q_grad : by_key ? &found.k_grad : nullptr;
      if (!place || *place) return false;
      *place = reader;
      if (by_key) found.k_grad_is_columns = !is_first;
    }
    return found.q_grad || found.k_grad;
  }

  /// Whether `node` takes the gradient behind a step to that before it.
  bool undoes(const Node& node, const ScoreStep& step, const Output& grad) {
    switch (step.kind) {
      case ScoreStep::Kind::multiply:
        return mul_.matches(node) && other_input(node, grad) == step.by;
      case ScoreStep::Kind::divide:
        return div_.matches(node) && node.input(0) == grad && node.input(1) == step.by;
      case ScoreStep::Kind::hide:
        return where_.matches(node) && node.input(0) == step.by && node.input(1) == grad &&
               matcher_.uniform_value(node.input(2)) == 0;
      case ScoreStep::Kind::add: break;
    }
    return false;
  }

  static bool has_flags(const Node& product, bool transpose_a, bool transpose_b) {
    return product.attributes().get<bool>("transpose_a") == transpose_a &&
           product.attributes().get<bool>("transpose_b") == transpose_b;
  }
  /// Read by a sum over the last axis alone, which stays as one of 1.
  bool sums_rows(const Node& node) const {
    const Node* sum = topology_.only_reader(node);
    return sum && sum_.matches(*sum) && sum->attributes().get<bool>("keep_dims") &&
           sum->attributes().get<std::vector<std::int64_t>>("axes") ==
               std::vector<std::int64_t>{node.shape().rank() - 1};
  }
  /// The other operand of two; empty where `one` is none of them, or both.
  static Output other_input(const Node& node, const Output& one) {
    const Output a = node.input(0), b = node.input(1);
    if (a == b) return {};
    return a == one ? b : b == one ? a : Output();
  }

  /// Axes in front are the same throughout, and the device has kernels.
  bool fits(const AttentionNodes& found) const {
    const Shape &q = found.queries().shape(), &k = found.keys().shape(),
                &v = found.values.shape(), &scores = found.softmax->shape();
    const auto leads = [&](const Shape& shape) {
      return shape.rank() == scores.rank() &&
             std::ranges::equal(shape.dims().first(shape.dims().size() - 2),
                                scores.dims().first(scores.dims().size() - 2));
    };
    const bool has_masks = std::ranges::all_of(found.steps, [&](const ScoreStep& step) {
      const Shape& mask = step.by.shape();
      return step.is_scale() || (mask.rank() > 0 && from_last(mask, 0) == from_last(scores, 0));
    });
    return leads(q) && leads(k) && leads(v) && has_masks && scores.num_elements() > 0 &&
           from_last(q, 1) >= context_.fewest_queries(*found.softmax) && from_last(q, 0) > 0 &&
           from_last(v, 0) > 0 &&
           (!found.grad ||
            (leads(found.grad.shape()) && from_last(found.grad.shape(), 0) == from_last(v, 0))) &&
           context_.has_kernel(*found.softmax, kAttention) &&
           context_.has_kernel(*found.softmax, kAttentionGrad);
  }

  /// Whether the node does no more than to swap heads and rows.
  bool swaps(const Node& node, const AttentionNodes& found) const {
    if (!transpose_.matches(node) || !is_part(node, *found.softmax)) return false;
    const auto& permutation = node.attributes().get<std::vector<std::int64_t>>("permutation");
    const std::size_t rank = permutation.size();
    if (rank < 3) return false;
    for (std::size_t i = 0; i < rank; ++i) {
      const std::size_t from = i == rank - 2 ? rank - 3 : i == rank - 3 ? rank - 2 : i;
      if (permutation[i] != static_cast<std::int64_t>(from)) return false;
    }
    return true;
  }
  Ends find_ends(const AttentionNodes& found) const {
    const Ends own = {found.queries(), found.keys(), found.values, found.grad, found.result,
                      found.q_grad,    found.k_grad, found.v_grad, false};
    if (found.keys_are_columns() || found.k_grad_is_columns ||
        !context_.takes_heads_inside(*found.softmax))
      return own;
    bool are_all = true;
    const auto before = [&](const Output& value) -> Output {
      if (!value) return {};
      are_all = are_all && swaps(value.node(), found);
      return are_all ? value.node().input(0) : Output();
    };
    const auto behind = [&](Node* node) -> Node* {
      if (!node) return nullptr;
      Node* reader = topology_.only_reader(*node);
      are_all = are_all && reader && swaps(*reader, found);
      return reader;
    };
    const Ends inside = {before(own.queries), before(own.keys),   before(own.values),
                         before(own.grad),    behind(own.result), behind(own.q_grad),
                         behind(own.k_grad),  behind(own.v_grad), true};
    return are_all ? inside : own;
  }

  void rewrite(const AttentionNodes& found, const Ends& ends) {
    Attempt attempt(graph_, context_);
    std::vector<Output> inputs = {ends.queries, ends.keys, ends.values};
    if (found.keys_are_columns()) inputs[1] = turned(found, inputs[1]);
    Output mask;
    for (const ScoreStep& step : found.steps)
      if (!step.is_scale()) mask = mask ? both(found, mask, step.by) : step.by;
    const Shape& q = found.queries().shape();
    const bool keeps = found.result && found.grad &&
                       from_last(found.softmax->shape(), 0) <= kMostKeptScores / from_last(q, 1);
    const Attributes attributes = {{"scale", found.scale},
                                   {"hidden", found.hidden},
                                   {"keeps_weights", keeps},
                                   {"heads_inside", ends.heads_inside}};
    const auto make = [&](const Node& original, std::string_view op, std::vector<Output> operands,
                          Output weights = {}) -> Node& {
      if (mask) operands.push_back(mask);
      if (weights) operands.push_back(weights);
      return graph_.add_in_place_of(original, op_registry().at(op), std::move(operands),
                                    attributes);
    };
    std::vector<std::pair<Node*, Output>> replacements;
    Output weights;
    if (found.result) {
      Node& result = make(*found.result, kAttention, inputs);
      replacements.emplace_back(ends.result, result.output(0));
      if (keeps) weights = result.output(1);
    }
    if (found.grad) {
      inputs.push_back(ends.grad);
      const Node& original = found.q_grad ? *found.q_grad : *found.k_grad;
      Node& grads = make(original, kAttentionGrad, inputs, weights);
      const auto add = [&](Node* node, const Output& value) {
        if (node) replacements.emplace_back(node, value);
      };
      add(ends.q_grad, grads.output(0));
      const Output k_grad = grads.output(1);
      add(ends.k_grad, found.k_grad_is_columns ? turned(found, k_grad) : k_grad);
      add(ends.v_grad, grads.output(2));
    }
    const auto describe = [&] {
      return fmt::format("'{}' is part of attention{}", found.softmax->name(),
                         !found.grad     ? ""
                         : !found.result ? "'s gradients"
                                         : " and its gradients");
    };
    if (!attempt.succeeds(log_, describe)) return;
    place_.resize(graph_.nodes().size());
    for (const auto& [node, value] : replacements) {
      std::size_t& place = place_[slot(value.node())];
      place = std::max(place, place_[slot(*node)]);
      replace(*node, value);
    }
  }

  Output both(const AttentionNodes& found, const Output& mask, const Output& other) {
    const OpDef& op = op_registry().at("logical_and");
    return graph_.add_in_place_of(*found.softmax, op, {mask, other}, {}).output();
  }
  /// With the last two axes in the other order.
  Output turned(const AttentionNodes& found, const Output& matrices) {
    std::vector<std::int64_t> permutation(matrices.shape().dims().size());
    std::iota(permutation.begin(), permutation.end(), 0);
    std::swap(permutation.end()[-1], permutation.end()[-2]);
    const OpDef& op = op_registry().at("transpose");
    return graph_.add_in_place_of(*found.scores, op, {matrices}, {{"permutation", permutation}})
        .output();
  }

  const KnownOp matmul_{"matmul", {"transpose_a", "transpose_b"}}, softmax_{"softmax", {"axis"}},
      sum_{"sum", {"axes", "keep_dims"}}, transpose_{"transpose", {"permutation"}};
  const KnownOp mul_{"mul"}, div_{"div"}, add_{"add"}, sub_{"sub"}, where_{"where"};
  Matcher matcher_;
  /// In the order, by node id; new nodes have those of what they stand for.
  std::vector<std::size_t> place_;
};

}  // namespace

void fuse_attention(Graph& graph, const PassContext& context, RewriteLog& log) {
  if (context.exact || !has_any(graph, {"softmax"}) || !has_any(graph, {"matmul"})) return;
  AttentionFusion(graph, context, log).run();
}

}  // namespace gradgraph
