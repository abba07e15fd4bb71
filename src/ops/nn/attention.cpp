#include "ops/nn/attention.h"

#include "ops/builders.h"

/// What fuse_attention makes of softmax(scale * q k', masked) v, and of its gradients. Never in a
/// user's graph. There is a score for each query and key: much more than what they are made of
/// and become. Of many of them none lies in memory.
namespace gradgraph {
namespace {

const char* kAttention = "fused_attention";
const char* kAttentionGrad = "fused_attention_grad";

Shape leading(const Shape& shape) { return Shape(shape.dims().first(shape.dims().size() - 2)); }
std::int64_t from_last(const Shape& shape, int axis) { return shape[shape.rank() - 1 - axis]; }

/// The input, or what is shaped as inputs are, with heads in front of rows.
Shape with_heads_first(const InferContext& context, const Shape& shape) {
  return context.attribute<bool>("heads_inside") ? with_heads_swapped(shape) : shape;
}

/// Of inputs q, k and v, and of a mask, if there is one, as input `mask`: with heads in front.
Shape infer_result(InferContext& context, int mask) {
  context.require_floating(0);
  context.require_same_dtype(0, 1);
  context.require_same_dtype(0, 2);
  const int least = context.attribute<bool>("heads_inside") ? 3 : 2;
  for (int i = 0; i < 3; ++i)
    context.require(context.shape(i).rank() >= least, "an input has too few axes");
  const Shape q = with_heads_first(context, context.shape(0)),
              k = with_heads_first(context, context.shape(1)),
              v = with_heads_first(context, context.shape(2));
  context.require(k.rank() == q.rank() && v.rank() == q.rank() && leading(q) == leading(k) &&
                      leading(q) == leading(v),
                  "queries, keys and values differ in their leading axes");
  context.require(from_last(q, 0) == from_last(k, 0), "queries and keys differ in depth");
  context.require(from_last(k, 1) == from_last(v, 1), "there is no value for each key");
  Shape result = leading(q);
  result.append(from_last(q, 1));
  if (mask < context.num_inputs() - (mask == 4 && context.attribute<bool>("keeps_weights"))) {
    Shape scores = result, masked;
    scores.append(from_last(k, 1));
    const Shape& seen = context.shape(mask);
    context.require(seen.rank() > 0 && from_last(seen, 0) == from_last(k, 1) &&
                        broadcast_shapes(seen, scores, masked) && masked == scores,
                    "the mask is not one of the scores");
    if (context.dtype(mask) != boolean) context.require_same_dtype(0, mask);
  }
  result.append(from_last(v, 0));
  return result;
}

Shape weights_of(const InferContext& context, Shape result) {
  const Shape k = with_heads_first(context, context.shape(1));
  result.set(result.rank() - 1, row_of_scores(from_last(k, 1)));
  return result;
}

void infer_attention(InferContext& context) {
  const Shape result = infer_result(context, 3);
  context.output(context.dtype(0), with_heads_first(context, result));
  if (context.attribute<bool>("keeps_weights"))
    context.output(context.dtype(0), weights_of(context, result));
}

void infer_attention_grad(InferContext& context) {
  context.require_same_dtype(0, 3);
  const Shape result = infer_result(context, 4);
  context.require(context.shape(3) == with_heads_first(context, result),
                  "the gradient has another shape");
  const int last = context.num_inputs() - 1;
  if (context.attribute<bool>("keeps_weights"))
    context.require(last >= 4 && context.shape(last) == weights_of(context, result) &&
                        context.dtype(last) == context.dtype(0),
                    "the last input is not the weights");
  for (int i = 0; i < 3; ++i) context.output(context.dtype(i), context.shape(i));
}

bool has_heads_inside(const Node& node) { return node.attributes().get<bool>("heads_inside"); }
Shape heads_first(const Node& node, int input) {
  const Shape& shape = node.input(input).shape();
  return has_heads_inside(node) ? with_heads_swapped(shape) : shape;
}

/// `products` of two matrices for each score.
double flops_of(const Node& node, double products) {
  const Shape &q = node.input(0).shape(), &k = node.input(1).shape();
  const std::int64_t keys = from_last(k, has_heads_inside(node) ? 2 : 1);
  return products * static_cast<double>(q.num_elements()) * static_cast<double>(keys);
}
double attention_flops(const Node& node) { return flops_of(node, 4); }
double attention_grad_flops(const Node& node) {
  return flops_of(node, node.attributes().get<bool>("keeps_weights") ? 8 : 10);
}

OpDef& with_attributes(OpDef& op) {
  return op.required_attribute<double>("scale", "by which the products are multiplied")
      .required_attribute<double>("hidden", "the score of what a boolean mask hides")
      .required_attribute<bool>("keeps_weights",
                                "whether the gradient reads the softmax, an output and an input")
      .attribute("heads_inside", false, "whether rows stand in front of heads");
}

}  // namespace

Attention::Attention(const Node& node)
    : Attention(node, heads_first(node, 0), heads_first(node, 1), heads_first(node, 2)) {}

Attention::Attention(const Node& node, const Shape& q, const Shape& k, const Shape& v)
    : queries(from_last(q, 1)),
      keys(from_last(k, 1)),
      depth(from_last(q, 0)),
      value_depth(from_last(v, 0)),
      scale(node.attributes().get<double>("scale")),
      hidden(node.attributes().get<double>("hidden")),
      keeps_weights(node.attributes().get<bool>("keeps_weights")),
      mask_input(node.op().name == kAttentionGrad ? 4 : 3),
      leading_(leading(q)) {
  if (has_heads_inside(node)) inner_heads = from_last(q, 2);
  for (const std::int64_t dim : leading_) heads *= dim;
  const bool has_weights = keeps_weights && node.op().name == kAttentionGrad;
  if (mask_input >= node.num_inputs() - (has_weights ? 1 : 0)) {
    mask_input = -1;
    return;
  }
  mask_shape = node.input(mask_input).shape();
  for (int axis = 0; axis + 2 < mask_shape.rank(); ++axis) mask_heads *= mask_shape[axis];
  mask_stride = mask_shape.rank() > 1 && from_last(mask_shape, 1) != 1 ? keys : 0;
  mask_size = mask_stride == 0 ? keys : queries * keys;
}

std::int64_t Attention::mask_of(std::int64_t head) const {
  std::int64_t index = 0, stride = 1;
  for (int axis = leading_.rank() - 1, own = mask_shape.rank() - 3; own >= 0; --axis, --own) {
    if (mask_shape[own] != 1) index += head % leading_[axis] * stride;
    stride *= mask_shape[own];
    head /= leading_[axis];
  }
  return index;
}

Shape with_heads_swapped(Shape shape) {
  const int heads = shape.rank() - 2, rows = shape.rank() - 3;
  const std::int64_t count = shape[heads];
  shape.set(heads, shape[rows]);
  shape.set(rows, count);
  return shape;
}

std::int64_t row_of_scores(std::int64_t keys) {
  constexpr std::int64_t kStep = 16, kPage = 1024;
  const std::int64_t row = (keys + kStep - 1) / kStep * kStep;
  return row % kPage == 0 ? row + kStep : row;
}

void register_attention_ops(OpRegistry& registry) {
  with_attributes(registry
                      .add({.name = kAttention,
                            .traits = {.internal = true, .fused = true},
                            .infer = infer_attention,
                            .flops = attention_flops})
                      .describe("softmax(scale * q k', masked) v", {"q", "k", "v", "mask?"}));
  with_attributes(registry
                      .add({.name = kAttentionGrad,
                            .traits = {.internal = true, .fused = true},
                            .infer = infer_attention_grad,
                            .flops = attention_grad_flops})
                      .describe("its gradients by q, k and v",
                                {"q", "k", "v", "grad", "mask_and_weights..."}));
}

}  // namespace gradgraph
