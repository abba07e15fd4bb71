#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/text.h"
#include "gradgraph/op.h"
#include "passes/attempt.h"
#include "passes/rewriting/known_op.h"
#include "passes/whole_graph_pass.h"

/// Lets convolutions and pools of NCHW images work on NHWC ones, for which the fast kernels are
/// made, with transposes only where others read or write the images:
///
///     x ── conv2d ── bias_add ── relu ── max_pool2d ── y                     (all NCHW)
/// =>
///     x ── transpose ── conv2d ── bias_add ── relu ── max_pool2d ── transpose ── y
namespace gradgraph {
namespace {

using Numbers = std::vector<std::int64_t>;

const Numbers kToNhwc = {0, 2, 3, 1}, kToNchw = {0, 3, 1, 2};

/// Which operands of an op are images (bit i = input i), and whether its result is one.
struct ImageOp {
  KnownOp op;
  unsigned images;
  bool gives_image;
  int shape = -1;  ///< the input that is the shape of an image
};

const std::vector<ImageOp>& image_ops() {
  static const std::vector<ImageOp> ops = {
      {known_convolution("conv2d"), 0b001, true},
      {known_convolution("conv2d_input_grad"), 0b100, true, 0},
      {known_convolution("conv2d_filter_grad"), 0b101, false},
      {known_pool("max_pool2d"), 0b01, true},
      {known_pool("max_pool2d_grad"), 0b11, true},
      {known_pool("max_pool2d_pick"), 0b11, true},
      {known_pool("avg_pool2d"), 0b01, true},
      {known_pool("avg_pool2d_grad"), 0b10, true, 0},
  };
  return ops;
}

/// An NCHW node that is better off as NHWC where it runs; null for any other.
const ImageOp* find_image_op(const Node& node, const PassContext& context) {
  const auto op = std::ranges::find_if(
      image_ops(), [&](const ImageOp& image_op) { return image_op.op.matches(node); });
  if (op == image_ops().end() || node.attributes().get<std::string>("layout") != "nchw" ||
      node.dtype() != float32)
    return nullptr;
  const auto is_plain = [&] {
    return node.attributes().get<std::int64_t>("groups") == 1 &&
           node.attributes().get<Numbers>("dilations") == Numbers{1, 1};
  };
  if (node.attributes().find("groups") && !is_plain()) return nullptr;
  return context.prefers_nhwc(node) && context.has_kernel(node, "transpose") ? &*op : nullptr;
}

class LayoutAssignment : public WholeGraphPass {
 public:
  using WholeGraphPass::WholeGraphPass;

  void run() {
    for (Node* node : topology_.order()) {
      const bool stays = is_bound(*node) || log_.is_spent();
      const ImageOp* op = stays ? nullptr : find_image_op(*node, context_);
      if (stays || !(op ? convert_image_op(*node, *op) : convert_follower(*node)))
        restore_inputs(*node);
    }
  }

 private:
  using Key = std::pair<const Node*, int>;

  /// Its place in the order is fixed: by control inputs, or since it depends on an update, and
  /// a transpose of a variable that it reads would not.
  bool is_bound(const Node& node) const {
    return is_late(node) || !node.control_inputs().empty() || topology_.is_awaited(node);
  }

  Output transpose(const Output& value, const Numbers& permutation) {
    return graph_
        .add_in_place_of(value.node(), op_registry().at("transpose"), {value},
                         {{"permutation", permutation}})
        .output();
  }

  /// The image in NHWC.
  Output nhwc(const Output& image) {
    const Key key{&image.node(), image.index()};
    Output& known = nhwc_[key];
    if (known) return known;
    just_moved_.push_back(key);
    return known = transpose(image, kToNhwc);
  }
  Output find_nhwc(const Output& image) const {
    const auto found = nhwc_.find({&image.node(), image.index()});
    return found == nhwc_.end() ? Output() : found->second;
  }

  /// A node that was not converted reads NCHW as before.
  void restore_inputs(Node& node) {
    for (int i = 0; i < node.num_inputs(); ++i) {
      const Output image = node.input(i);
      if (!converted_.contains(&image.node())) continue;
      Output& restored = nchw_[&image.node()];
      if (!restored) restored = transpose(find_nhwc(image), kToNchw);
      graph_.set_input(node, i, restored);
    }
  }

  Output permuted_shape(const Output& shape) {
    const Tensor& nchw = shape.node().attributes().get<Tensor>("value");
    Tensor dims(int64, {4});
    for (std::size_t i = 0; i < 4; ++i)
      dims.data<std::int64_t>()[i] = nchw.data<std::int64_t>()[kToNhwc[i]];
    return graph_
        .add_in_place_of(shape.node(), op_registry().at("constant"), {}, {{"value", dims}})
        .output();
  }

  bool convert_image_op(Node& node, const ImageOp& op) {
    Attempt attempt(graph_, context_);
    just_moved_.clear();
    std::vector<Output> inputs(node.inputs().begin(), node.inputs().end());
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (static_cast<int>(i) == op.shape)
        inputs[i] = permuted_shape(inputs[i]);
      else if (op.images >> i & 1u)
        inputs[i] = nhwc(inputs[i]);
    Attributes attributes = node.attributes();
    attributes.set("layout", std::string("nhwc"));
    if (finish(attempt, node, std::move(inputs), std::move(attributes), op.gives_image))
      return true;
    for (const Key& key : just_moved_) nhwc_.erase(key);
    return false;
  }

  /// What only follows such nodes: elementwise ops, biases, and sums for each channel.
  bool convert_follower(Node& node) {
    const bool is_bias = bias_add_.matches(node), is_sum = sum_.matches(node);
    if (!node.op().traits.elementwise && !is_bias && !is_sum) return false;
    std::vector<Output> inputs(node.inputs().begin(), node.inputs().end());
    bool follows = false;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Output image = find_nhwc(inputs[i]);
      if (converted_.contains(&inputs[i].node())) follows = true;
      if (image)
        inputs[i] = image;
      else if (inputs[i].shape().num_elements() != 1 && !(is_bias && i == 1))
        return false;
    }
    if (!follows) return false;
    Attempt attempt(graph_, context_);
    Attributes attributes = node.attributes();
    if (is_bias) {
      if (attributes.get<std::string>("layout") != "nchw") return false;
      attributes.set("layout", std::string("nhwc"));
    } else if (is_sum) {
      if (attributes.get<Numbers>("axes") != Numbers{0, 2, 3} ||
          attributes.get<bool>("keep_dims"))
        return false;
      attributes.set("axes", Numbers{0, 1, 2});
    } else if (node.shape().rank() != 4 || node.num_outputs() != 1) {
      return false;
    }
    return finish(attempt, node, std::move(inputs), std::move(attributes), !is_sum);
  }

  bool finish(Attempt& attempt, Node& node, std::vector<Output> inputs, Attributes attributes,
              bool gives_image) {
    Node& made = graph_.add_in_place_of(node, node.op(), inputs, std::move(attributes));
    if (!attempt.succeeds(log_, [&] { return fmt::format("'{}' in NHWC", node.name()); }))
      return false;
    if (gives_image) {
      nhwc_[{&node, 0}] = made.output();
      converted_.insert(&node);
      return true;
    }
    for (const auto& [reader, index] : topology_.readers(node))
      graph_.set_input(*reader, index, made.output());
    return true;
  }

  const KnownOp bias_add_{"bias_add", {"layout"}}, sum_{"sum", {"axes", "keep_dims"}};
  std::map<Key, Output> nhwc_;          ///< by NCHW image
  std::vector<Key> just_moved_;         ///< what the attempt in progress added to it
  std::map<const Node*, Output> nchw_;  ///< transposed back
  std::set<const Node*> converted_;     ///< nodes that exist in NHWC
};

}  // namespace

void assign_layout(Graph& graph, const PassContext& context, RewriteLog& log) {
  const auto is_one = [&](const Node& node) { return find_image_op(node, context) != nullptr; };
  if (context.exact || std::ranges::none_of(graph.nodes(), is_one)) return;
  LayoutAssignment(graph, context, log).run();
}

}  // namespace gradgraph
