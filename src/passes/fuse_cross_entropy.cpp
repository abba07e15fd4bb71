#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/text.h"
#include "ops/builders.h"
#include "passes/pass_list.h"
#include "passes/patterns.h"
#include "passes/topology.h"

/// One softmax for a cross entropy and its gradient, where there were two and several sweeps:
///
///     logits ─┬─ cross_entropy ─────────── loss        logits ─┐
///             └─ softmax ─ sub ─ mul ─── gradient  =>  labels ─┤ cross_entropy_grad ─┬─ gradient
///     labels ──── one_hot ──┘     │                      grad ─┘                     └─ loss
///                                grad
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
  Output loss;                       ///< where the loss is computed, else empty
  const Node* difference = nullptr;  ///< of softmax and labels, where that is a node of its own
};

bool is_last_axis(const Node& node) {
  const auto* axis = node.attributes().find("axis");
  const int rank = node.input(0).rank();
  if (axis) {
    const std::int64_t along = std::get<std::int64_t>(*axis);
    return (along < 0 ? along + rank : along) == rank - 1;
  }
  const auto& axes = node.attributes().get<std::vector<std::int64_t>>("axes");
  return axes.size() == 1 && axes[0] == rank - 1;
}

class CrossEntropyFusion {
 public:
  CrossEntropyFusion(Graph& graph, const PassContext& context, RewriteLog& log)
      : graph_(graph), log_(log), topology_(graph, context.fetches) {}

  void run() {
    for (Node* node : topology_.order()) {
      if (&node->op() == mul_)
        rewrite_if(*node, match_scaled(*node));
      else if (&node->op() == sub_)
        rewrite_if(*node, match_written_out(*node));
    }
    for (Node* node : topology_.order())
      if (&node->op() == sub_ && !absorbed_.contains(node))
        rewrite_if(*node, match_difference(*node));
  }

 private:
  void rewrite_if(Node& node, const std::optional<Found>& found) {
    if (found && found->logits.rank() > 0 && fits(node, *found)) rewrite(node, *found);
  }

  /// softmax(logits) - one_hot(labels), the same as what is beside the label less its sum at the
  /// label, or softmax(logits) * sum(labels) - labels
  std::optional<Found> match_difference(const Node& node) {
    if (!node.control_inputs().empty()) return std::nullopt;
    Output probability = node.input(0), labels = node.input(1);
    if (const auto match = matcher_.match(sparse_pattern_, node);
        match && is_row_sum(match->value('s'), probability)) {
      probability = match->value('p');
      labels = match->value('h');
    }
    std::string_view loss = "softmax_cross_entropy";
    Found found;
    if (ends_in_classes(probability) && &labels.node().op() == one_hot_ &&
        labels.node().control_inputs().empty()) {
      found.op = "sparse_softmax_cross_entropy_grad";
      loss = "sparse_softmax_cross_entropy";
      if (labels.shape() != probability.shape()) return std::nullopt;
      labels = labels.node().input(0);
      if (labels.dtype() == uint8) return std::nullopt;
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
    found.loss = find_loss(loss, found.logits, labels, node.device());
    return found;
  }

  /// grad * difference
  std::optional<Found> match_scaled(const Node& node) {
    if (!node.control_inputs().empty()) return std::nullopt;
    for (const int i : {0, 1}) {
      const Node& difference = node.input(i).node();
      if (&difference.op() != sub_) continue;
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
    if (!match || !node.control_inputs().empty()) return std::nullopt;
    const Output log_probability = match->value('p'), weight = match->value('w');
    if (&log_probability.node().op() != log_softmax_ || !is_last_axis(log_probability.node()) ||
        !log_probability.node().control_inputs().empty() ||
        !weight.node().control_inputs().empty() || !is_row_sum(match->value('s'), weight))
      return std::nullopt;
    Found found{.op = "softmax_cross_entropy_grad",
                .logits = log_probability.node().input(0),
                .is_written_out = true};
    // As the gradient may be a number, either factor of w may be the labels.
    const bool is_product = &weight.node().op() == mul_,
               is_negative = &weight.node().op() == neg_;
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
    return &node.op() == softmax_ && node.control_inputs().empty() && is_last_axis(node);
  }

  /// sum(value, -1, keep_dims)
  bool is_row_sum(const Output& sum, const Output& value) const {
    const Node& node = sum.node();
    return &node.op() == sum_ && node.control_inputs().empty() && node.input(0) == value &&
           is_last_axis(node) && node.attributes().get<bool>("keep_dims");
  }

  Output find_loss(std::string_view op, const Output& logits, const Output& labels,
                   std::string_view device) const {
    for (const auto& reader : topology_.readers(logits.node()))
      if (reader.index == 0 && reader.node->op().name == op && reader.node->input(0) == logits &&
          reader.node->input(1) == labels && reader.node->control_inputs().empty() &&
          reader.node->device() == device)
        return reader.node->output();
    return {};
  }

  /// sum(labels * log_probability, -1)
  Output find_weighted_sum(const Output& log_probability, const Output& labels,
                           std::string_view device) const {
    for (const auto& reader : topology_.readers(log_probability.node())) {
      Node& product = *reader.node;
      const bool is_product = reader.index >= 0 && &product.op() == mul_ &&
                              product.control_inputs().empty() &&
                              product.input(1 - reader.index) == labels;
      if (!is_product) continue;
      for (const auto& summed : topology_.readers(product))
        if (summed.index == 0 && &summed.node->op() == sum_ && is_last_axis(*summed.node) &&
            !summed.node->attributes().get<bool>("keep_dims") &&
            summed.node->control_inputs().empty() && summed.node->device() == device)
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
    if (found.is_written_out && !loss) return;
    const auto describe = [&] {
      return fmt::format("'{}'{} = {}('{}')", node.name(),
                         loss ? " and '" + loss.name() + "'" : "", found.op, found.logits.name());
    };
    if (!log_.admit(describe)) return;
    if (found.difference) absorbed_.insert(found.difference);
    Attributes attributes{{"with_loss", static_cast<bool>(loss)}};
    if (found.op == std::string_view("softmax_cross_entropy_grad"))
      attributes.set("skips_zeros", !found.is_written_out);
    Node& fused = add(node, found.op, {found.logits, found.labels, scale(node, found)},
                      std::move(attributes))
                      .node();
    replace_readers(graph_, topology_, node, fused.output(0));
    if (!loss) return;
    absorbed_.insert(&loss.node());
    const Output value = fused.output(1);
    replace_readers(graph_, topology_, loss.node(),
                    found.is_written_out ? add(loss.node(), "neg", {value}) : value);
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

  static const OpDef* op(std::string_view name) { return &op_registry().at(name); }

  Graph& graph_;
  RewriteLog& log_;
  Topology topology_;
  Matcher matcher_;
  std::unordered_set<const Node*> absorbed_;  ///< what other nodes stand for by now
  const OpDef *mul_ = op("mul"), *sub_ = op("sub"), *sum_ = op("sum"), *softmax_ = op("softmax");
  const OpDef *log_softmax_ = op("log_softmax"), *one_hot_ = op("one_hot"), *neg_ = op("neg");
  const Expression sparse_pattern_ = parse_expression("sub(mul(p, sub(1, h)), mul(h, s))");
  const Expression dense_pattern_ = parse_expression("sub(mul(p, s), t)");
  const Expression written_pattern_ = parse_expression("sub(w, mul(exp(p), s))");
};

}  // namespace

void fuse_cross_entropy(Graph& graph, const PassContext& context, RewriteLog& log) {
  if (!has_any(graph, {"softmax", "log_softmax"})) return;
  CrossEntropyFusion(graph, context, log).run();
}

}  // namespace gradgraph
