#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/text.h"
#include "gradgraph/op.h"
#include "passes/attempt.h"
#include "passes/rewriting/known_op.h"
#include "passes/whole_graph_pass.h"

/// Makes one node of a convolution that goes through bias and relu into a max_pool2d, and lets
/// the gradients start from the pool's:
///
///     x ── conv2d ── bias_add ── relu ─┬─ max_pool2d ── y
///            w           b             ├───────────────┐
///                        dy ── max_pool2d_grad ── relu_grad ─┬─ conv2d_input_grad
///                                                            ├─ conv2d_filter_grad
///                                                            └─ sum
/// =>
///     x, w, b ── conv2d_relu_pool ─┬─ y
///                           choice ├─ conv2d_relu_pool_input_grad
///                       dy ────────┴─ conv2d_relu_pool_filter_grad (and the bias')
///
/// What lies between the convolution and the pool is several times as large as all else, and
/// its gradient has one element for each window and filter that is not zero.
namespace gradgraph {
namespace {

constexpr std::string_view kForward = "conv2d_relu_pool",
                           kInputGrad = "conv2d_relu_pool_input_grad",
                           kFilterGrad = "conv2d_relu_pool_filter_grad";
const std::vector<std::int64_t> kOnes = {1, 1}, kNoBorder = {0, 0, 0, 0};

bool is_nhwc(const Node& node) { return node.attributes().get<std::string>("layout") == "nhwc"; }
const std::vector<std::int64_t>& numbers(const Node& node, std::string_view name) {
  return node.attributes().get<std::vector<std::int64_t>>(name);
}

/// The windows neither overlap nor reach beyond the image, and a byte can name their taps.
bool tiles_image(const Node& pool) {
  const auto& window = numbers(pool, "window");
  const std::string& padding = pool.attributes().get<std::string>("padding");
  const Shape& image = pool.input(0).shape();
  const bool fits = image[1] % window[0] == 0 && image[2] % window[1] == 0;
  return is_nhwc(pool) && window == numbers(pool, "strides") &&
         std::max(window[0], window[1]) < 255 && window[0] * window[1] < 255 &&
         (padding == "valid" || (padding == "same" && fits) ||
          (padding == "explicit" && numbers(pool, "border") == kNoBorder));
}

/// The nodes of one picture above.
struct Match {
  Node *conv = nullptr, *bias_add = nullptr, *relu = nullptr, *pool = nullptr;
  /// Of the gradient, what is there.
  Node *pool_grad = nullptr, *relu_grad = nullptr;
  std::vector<Node*> input_grads, filter_grads, bias_grads;

  Output image() const { return conv->input(0); }
  Output filter() const { return conv->input(1); }
};

class PoolFusion : public WholeGraphPass {
 public:
  using WholeGraphPass::WholeGraphPass;

  void run() {
    for (Node* node : topology_.order()) {
      Match match{.pool = node};
      if (max_pool_.matches(*node) && !is_late(*node) && match_forward(match) &&
          match_gradient(match) && !log_.is_spent())
        rewrite(match);
    }
    update_made();
  }

 private:
  bool match_forward(Match& m) const {
    if ((m.pool->dtype() != float32 && !is_half(m.pool->dtype())) || !tiles_image(*m.pool))
      return false;
    m.relu = &m.pool->input(0).node();
    if (!relu_.matches(*m.relu)) return false;
    m.bias_add = &m.relu->input(0).node();
    if (!bias_add_.matches(*m.bias_add) || !is_nhwc(*m.bias_add)) return false;
    m.conv = &m.bias_add->input(0).node();
    return conv2d_.matches(*m.conv) && is_nhwc(*m.conv) &&
           m.conv->attributes().get<std::int64_t>("groups") == 1 &&
           numbers(*m.conv, "dilations") == kOnes && m.image().shape().num_elements() > 0 &&
           has_kernels(*m.conv) && topology_.only_reader(*m.conv) == m.bias_add &&
           topology_.only_reader(*m.bias_add) == m.relu &&
           share_device({m.conv, m.bias_add, m.relu, m.pool});
  }

  bool has_kernels(const Node& conv) const {
    return std::ranges::all_of(
        std::array{kForward, kInputGrad, kFilterGrad},
        [&](std::string_view op) { return context_.has_kernel(conv, op); });
  }

  static bool share_device(std::initializer_list<const Node*> nodes) {
    return std::ranges::all_of(
        nodes, [&](const Node* node) { return node->device() == (*nodes.begin())->device(); });
  }

  /// All that reads the relu's output must be part of the picture; so must all that the
  /// gradient at the convolution's output flows to.
  bool match_gradient(Match& m) const {
    for (const auto& [node, index] : topology_.readers(*m.relu)) {
      if (node == m.pool) continue;
      Node** place = max_pool_grad_.matches(*node) ? &m.pool_grad
                     : relu_grad_.matches(*node)   ? &m.relu_grad
                                                   : nullptr;
      if (index != 0 || !place || *place) return false;
      *place = node;
    }
    if (!m.pool_grad && !m.relu_grad) return true;
    return m.pool_grad && m.relu_grad && !context_.exact &&
           same_attributes(m.pool_grad->attributes(), m.pool->attributes()) &&
           m.pool_grad->shape() == m.relu->shape() && m.relu_grad->shape() == m.relu->shape() &&
           topology_.only_reader(*m.pool_grad) == m.relu_grad && match_gradients(m);
  }

  bool match_gradients(Match& m) const {
    for (const auto& [node, index] : topology_.readers(*m.relu_grad)) {
      if (node->device() != m.conv->device()) return false;
      if (Node* sum = find_bias_grad(*node, index)) {
        m.bias_grads.push_back(sum);
        continue;
      }
      const bool is_convolutions =
          index == 2 && same_attributes(node->attributes(), m.conv->attributes());
      if (is_convolutions && input_grad_.matches(*node) && node->input(1) == m.filter())
        m.input_grads.push_back(node);
      else if (is_convolutions && filter_grad_.matches(*node) && node->input(0) == m.image())
        m.filter_grads.push_back(node);
      else
        return false;
    }
    return m.input_grads.size() <= 1 && m.filter_grads.size() <= 1 && m.bias_grads.size() <= 1 &&
           m.bias_grads.size() <= m.filter_grads.size();
  }

  /// The sum for each filter that `node` is, or is converted for; null where it is none.
  Node* find_bias_grad(Node& node, int index) const {
    const auto readers = topology_.readers(node);
    const bool is_wide = cast_.matches(node) && is_half(node.input(0).dtype()) &&
                         node.dtype() == float32 && readers.size() == 1 &&
                         readers.front().index == 0;
    Node& sum = is_wide ? *readers.front().node : node;
    const bool is_sum = index == 0 && sum_.matches(sum) && sum.dtype() == float32 &&
                        sum.device() == node.device() &&
                        numbers(sum, "axes") == std::vector<std::int64_t>{0, 1, 2} &&
                        !sum.attributes().get<bool>("keep_dims");
    return is_sum ? &sum : nullptr;
  }

  static std::string describe(const Match& m) {
    return fmt::format("'{}' = conv2d, bias_add, relu, max_pool2d{}", m.pool->name(),
                       m.relu_grad ? " and their gradients" : "");
  }

  void rewrite(const Match& m) {
    Attributes attributes = m.conv->attributes();
    attributes.set("window", numbers(*m.pool, "window"));
    Attempt attempt(graph_, context_);
    std::vector<std::pair<Node*, Output>> replacements;
    const auto make = [&](Node& original, std::string_view op,
                          std::vector<Output> inputs) -> Node& {
      Node& made =
          graph_.add_in_place_of(original, op_registry().at(op), std::move(inputs), attributes);
      replacements.emplace_back(&original, made.output(0));
      return made;
    };
    Node& fused = make(*m.pool, kForward, {m.image(), m.filter(), m.bias_add->input(1)});
    const auto grad_inputs = [&](Output first, Output second) {
      return std::vector<Output>{first, second, m.pool_grad->input(1), fused.output(1)};
    };
    for (Node* grad : m.input_grads)
      make(*grad, kInputGrad, grad_inputs(grad->input(0), grad->input(1)));
    for (Node* grad : m.filter_grads) {
      Node& both = make(*grad, kFilterGrad, grad_inputs(grad->input(0), grad->input(1)));
      for (Node* bias : m.bias_grads) replacements.emplace_back(bias, both.output(1));
    }
    if (!attempt.succeeds(log_, [&] { return describe(m); })) return;
    for (const auto& [node, value] : replacements) replace(*node, value);
  }

  const KnownOp conv2d_ = known_convolution("conv2d"),
                input_grad_ = known_convolution("conv2d_input_grad"),
                filter_grad_ = known_convolution("conv2d_filter_grad");
  const KnownOp max_pool_ = known_pool("max_pool2d"),
                max_pool_grad_ = known_pool("max_pool2d_grad");
  const KnownOp relu_{"relu"}, relu_grad_{"relu_grad"}, bias_add_{"bias_add", {"layout"}},
      sum_{"sum", {"axes", "keep_dims"}}, cast_{"cast", {"dtype"}};
};

}  // namespace

void fuse_pooling(Graph& graph, const PassContext& context, RewriteLog& log) {
  if (!has_any(graph, {"max_pool2d"})) return;
  PoolFusion(graph, context, log).run();
}

}  // namespace gradgraph
