#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/text.h"
#include "ops/builders.h"
#include "passes/attempt.h"
#include "passes/rewriting/known_op.h"
#include "passes/rewriting/patterns.h"
#include "passes/whole_graph_pass.h"

/// One softmax for a cross entropy and its gradient, where there were two and several sweeps:
///
///     logits ─┬─ cross_entropy ─────────── loss        logits ─┐
///             └─ softmax ─ sub ─ mul ─── gradient  =>  labels ─┤ cross_entropy_grad ─┬─ gradient
///     labels ──── one_hot ──┘     │                      grad ─┘                     └─ loss
///                                grad
///
/// Where the labels are checked on their way to one_hot, the fused node checks them.
namespace gradgraph {
namespace {

/// A gradient that was found: of which loss, and by which gradient it is multiplied.
struct Found {
  const char* op = nullptr;
  Output logits, labels;
  Output grad;           ///< empty for 1
  bool negates = false;  ///< the gradient is that of the negative loss
  /// It is that of sum(labels * log_softmax(logits)), the loss' negative, where a label of 0
  /// makes an infinite logit NaN.
  bool is_written_out = false;
  bool checks_labels = false;
  Output loss;                       ///< where the loss is computed, else empty
  const Node* difference = nullptr;  ///< of softmax and labels, where that is a node of its own
};

/// A softmax over the classes, the last axis.
bool is_last_axis(const Node& softmax) {
  return softmax.attributes().get<std::int64_t>("axis") == softmax.input(0).rank() - 1;
}

/// A sum over the classes.
bool sums_classes(const Node& sum, bool keeps_dims) {
  const auto& axes = sum.attributes().get<std::vector<std::int64_t>>("axes");
  return axes.size() == 1 && axes[0] == sum.input(0).rank() - 1 &&
         sum.attributes().get<bool>("keep_dims") == keeps_dims;
}

class CrossEntropyFusion : public WholeGraphPass {
 public:
  using WholeGraphPass::WholeGraphPass;

  void run() {
    for (Node* node : topology_.order()) {
      if (mul_.matches(*node))
        rewrite_if(*node, match_scaled(*node));
      else if (sub_.matches(*node))
        rewrite_if(*node, match_written_out(*node));
    }
    for (Node* node : topology_.order())
      if (sub_.matches(*node) && !absorbed_.contains(node))
        rewrite_if(*node, match_difference(*node));
  }

 private:
  /// A gradient that depends on an update stays: the loss would depend on it as well.
  void rewrite_if(Node& node, const std::optional<Found>& found) {
    if (found && found->logits.rank() > 0 && !is_late(node) && fits(node, *found))
      rewrite(node, *found);
  }

  /// softmax(logits) - one_hot(labels), the same as what is beside the label less its sum at the
  /// label, or softmax(logits) * sum(labels) - labels
  std::optional<Found> match_difference(const Node& node) {
    Output probability = node.input(0), labels = node.input(1);
    if (const auto match = matcher_.match(sparse_pattern_, node);
        match && is_row_sum(match->value('s'), probability)) {
      probability = match->value('p');
      labels = match->value('h');
    }
    const KnownOp* loss = &dense_loss_;
    Found found;
    if (ends_in_classes(probability) && one_hot_.matches(labels.node())) {
      found.op = "sparse_softmax_cross_entropy_grad";
      loss = &sparse_loss_;
      if (labels.shape() != probability.shape()) return std::nullopt;
      labels = labels.node().input(0);
      if (labels.dtype() == uint8) return std::nullopt;
      const Node& check = labels.node();
      const std::int64_t classes = probability.shape()[probability.rank() - 1];
      found.checks_labels =
          check_.matches(check) && check.attributes().get<std::int64_t>("size") == classes;
      if (found.checks_labels) labels = check.input(0);
    } else if (const auto match = matcher_.match(dense_pattern_, node);
               match && ends_in_classes(match->value('p')) &&
               is_row_sum(match->value('s'), labels)) {
      found.op = "softmax_cross_entropy_grad";
      probability = match->value('p');
      if (labels.shape() != probability.shape()) return std::nullopt;
    } else {
      return std::nullopt;
    }
    found.logits = probability.node().input(0);
    found.labels = labels;
    found.loss = find_loss(*loss, found.logits, labels, node.device());
    return found;
  }

  /// grad * difference
  std::optional<Found> match_scaled(const Node& node) {
    for (const int i : {0, 1}) {
      const Node& difference = node.input(i).node();
      if (!sub_.matches(difference)) continue;
      auto found = match_difference(difference);
      if (!found) continue;
      found->grad = node.input(1 - i);
      found->difference = &difference;
      return found;
    }
    return std::nullopt;
  }

  /// Of sum(labels * log_softmax(logits)): with w = grad * labels,
  /// w - exp(log_softmax(logits)) * sum(w)
  std::optional<Found> match_written_out(const Node& node) {
    const auto match = matcher_.match(written_pattern_, node);
    if (!match) return std::nullopt;
    const Output log_probability = match->value('p'), weight = match->value('w');
    if (!log_softmax_.matches(log_probability.node()) || !is_last_axis(log_probability.node()) ||
        !weight.node().control_inputs().empty() || !is_row_sum(match->value('s'), weight))
      return std::nullopt;
    Found found{.op = "softmax_cross_entropy_grad",
                .logits = log_probability.node().input(0),
                .is_written_out = true};
    // As the gradient may be a number, either factor of w may be the labels.
    const bool is_product = mul_.matches(weight.node()),
               is_negative = neg_.matches(weight.node());
    for (int i = 0; i < (is_product ? 2 : 1); ++i) {
      found.labels = is_product || is_negative ? weight.node().input(i) : weight;
      found.grad = is_product ? weight.node().input(1 - i) : Output();
      found.negates = is_negative;
      found.loss = find_weighted_sum(log_probability, found.labels, node.device());
      if (found.loss && found.labels.shape() == found.logits.shape()) return found;
    }
    return std::nullopt;
  }

  bool ends_in_classes(const Output& probability) const {
    const Node& node = probability.node();
    return softmax_.matches(node) && is_last_axis(node);
  }

  /// sum(value, -1, keep_dims)
  bool is_row_sum(const Output& sum, const Output& value) const {
    const Node& node = sum.node();
    return sum_.matches(node) && node.input(0) == value && sums_classes(node, true);
  }

  Output find_loss(const KnownOp& op, const Output& logits, const Output& labels,
                   std::string_view device) const {
    for (const auto& reader : topology_.readers(logits.node()))
      if (reader.index == 0 && op.matches(*reader.node) && reader.node->input(0) == logits &&
          reader.node->input(1) == labels && reader.node->device() == device)
        return reader.node->output();
    return {};
  }

  /// sum(labels * log_probability, -1)
  Output find_weighted_sum(const Output& log_probability, const Output& labels,
                           std::string_view device) const {
    for (const auto& reader : topology_.readers(log_probability.node())) {
      Node& product = *reader.node;
      const bool is_product =
          reader.index >= 0 && mul_.matches(product) && product.input(1 - reader.index) == labels;
      if (!is_product) continue;
      for (const auto& summed : topology_.readers(product))
        if (summed.index == 0 && sum_.matches(*summed.node) &&
            sums_classes(*summed.node, false) && summed.node->device() == device)
          return summed.node->output();
    }
    return {};
  }

  /// True when the gradient is a number, or one for each row.
  static bool fits(const Node& node, const Found& found) {
    const Shape& classes = found.logits.shape();
    if (node.shape() != classes) return false;
    if (!found.grad || found.grad.shape().num_elements() == 1) return true;
    Shape one_each = rows_of(classes);
    one_each.append(1);
    return found.grad.shape() == one_each;
  }

  static Shape rows_of(const Shape& classes) {
    return Shape(classes.dims().first(classes.dims().size() - 1));
  }

  /// True when `value` needs `node`; true as well when that takes long to find out.
  static bool depends_on(const Output& value, const Node& node) {
    constexpr std::size_t kEnough = 1000;
    std::vector<const Node*> seen = {&value.node()};
    for (std::size_t next = 0; next < seen.size(); ++next) {
      if (seen[next] == &node || seen.size() > kEnough) return true;
      const auto visit = [&](const Node& before) {
        if (std::ranges::find(seen, &before) == seen.end()) seen.push_back(&before);
      };
      for (const Output& input : seen[next]->inputs()) visit(input.node());
      for (const Node* before : seen[next]->control_inputs()) visit(*before);
    }
    return false;
  }

  Output add(const Node& original, std::string_view op, OutputList inputs,
             Attributes attributes = {}) {
    return graph_.add_in_place_of(original, op_registry().at(op), inputs, std::move(attributes))
        .output();
  }

  Output reshaped(const Node& original, const Output& value, const Shape& shape) {
    if (value.shape() == shape) return value;
    const Output dims = add(original, "constant", {},
                            {{"value", Tensor::from(shape.dims(), Shape{shape.rank()})}});
    return add(original, "reshape", {value, dims});
  }

  void rewrite(Node& node, const Found& found) {
    Output loss = found.loss;
    if (loss && (absorbed_.contains(&loss.node()) || topology_.is_awaited(loss.node()) ||
                 (found.grad && depends_on(found.grad, loss.node()))))
      loss = {};
    if ((found.is_written_out && !loss) || log_.is_spent()) return;
    const auto describe = [&] {
      return fmt::format("'{}'{} = {}('{}')", node.name(),
                         loss ? " and '" + loss.name() + "'" : "", found.op, found.logits.name());
    };
    Attributes attributes{{"with_loss", static_cast<bool>(loss)}};
    if (found.op == std::string_view("softmax_cross_entropy_grad"))
      attributes.set("skips_zeros", !found.is_written_out);
    else
      attributes.set("checks_labels", found.checks_labels || loss);
    Attempt attempt(graph_, context_);
    Node& fused = add(node, found.op, {found.logits, found.labels, scale(node, found)},
                      std::move(attributes))
                      .node();
    Output new_loss = loss ? fused.output(1) : Output();
    if (found.is_written_out) new_loss = add(loss.node(), "neg", {new_loss});
    if (!attempt.succeeds(log_, describe)) return;
    if (found.difference) absorbed_.insert(found.difference);
    replace_readers(graph_, topology_, node, fused.output(0));
    if (!loss) return;
    absorbed_.insert(&loss.node());
    replace_readers(graph_, topology_, loss.node(), new_loss);
  }

  /// What the op multiplies its gradient by.
  Output scale(const Node& node, const Found& found) {
    const bool changes_sign = found.negates != found.is_written_out;
    if (!found.grad) {
      Tensor one = Tensor::full(found.logits.dtype(), {}, changes_sign ? -1 : 1);
      return add(node, "constant", {}, {{"value", std::move(one)}});
    }
    const bool is_number = found.grad.shape().num_elements() == 1;
    const Output grad =
        reshaped(node, found.grad, is_number ? Shape() : rows_of(found.logits.shape()));
    return changes_sign ? add(node, "neg", {grad}) : grad;
  }

  Matcher matcher_;
  std::unordered_set<const Node*> absorbed_;  ///< what other nodes stand for by now
  const KnownOp mul_{"mul"}, sub_{"sub"}, neg_{"neg"}, sum_{"sum", {"axes", "keep_dims"}};
  const KnownOp softmax_{"softmax", {"axis"}}, log_softmax_{"log_softmax", {"axis"}};
  const KnownOp one_hot_{"one_hot", {"depth", "dtype"}};
  const KnownOp dense_loss_{"softmax_cross_entropy"},
      sparse_loss_{"sparse_softmax_cross_entropy"};
  const KnownOp check_{"check_indices", {"size"}};
  const Expression sparse_pattern_ = parse_expression("sub(mul(p, sub(1, h)), mul(h, s))");
  const Expression dense_pattern_ = parse_expression("sub(mul(p, s), t)");
  const Expression written_pattern_ = parse_expression("sub(w, mul(exp(p), s))");
};

}  // namespace

void fuse_cross_entropy(Graph& graph, const PassContext& context, RewriteLog& log) {
  if (context.exact || !has_any(graph, {"softmax", "log_softmax"})) return;
  CrossEntropyFusion(graph, context, log).run();
}

}  // namespace gradgraph
