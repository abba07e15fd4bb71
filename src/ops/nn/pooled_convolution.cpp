#include "ops/nn/pooled_convolution.h"

#include "ops/builders.h"

/// What fuse_pooling makes of a convolution, its bias, relu and max_pool2d, and of their
/// gradients. Never in a user's graph. NHWC alone, in one group and without dilation.
///
/// conv2d_relu_pool(x, filter, bias) = (pooled, choice): `choice` says which tap of a window has
/// the maximum. The gradient of the convolution's output has one element per window and filter
/// that is not zero, so the pooled gradient and the choice stand for it.
namespace gradgraph {

PooledConvolution::PooledConvolution(const Attributes& attributes, const Shape& image,
                                     const Shape& filter)
    : windows(windows_of(attributes, image, {filter[0], filter[1]}, 1)),
      pool(pair_attribute(attributes, "window")),
      batch(image[0]),
      channels(image[3]),
      filters(filter[3]),
      height(windows.height.output / pool.height),
      width(windows.width.output / pool.width) {}

namespace {

void require_float_image(const InferContext& context, int image, int filter) {
  context.require_dtype(image, {float32, float16, bfloat16});
  context.require_same_dtype(image, filter);
}

void require_pooled(const InferContext& context, const Shape& image, const Shape& filter) {
  const PooledConvolution conv(context.attributes(), image, filter);
  context.require(context.shape(2) == conv.pooled_shape(), "the gradient has another shape");
  context.require(context.shape(3) == conv.pooled_shape() && context.dtype(3) == uint8,
                  "the choice is not the pool's");
}

void infer_forward(InferContext& context) {
  require_float_image(context, 0, 1);
  context.require_same_dtype(0, 2);
  const PooledConvolution conv(context.attributes(), context.shape(0), context.shape(1));
  context.require(context.shape(2) == Shape{conv.filters}, "there is no bias for each filter");
  context.output(context.dtype(0), conv.pooled_shape());
  context.output(uint8, conv.pooled_shape());
}

void infer_pooled_input_grad(InferContext& context) {
  require_float_image(context, 1, 2);
  const Shape image = context.vector_value(0);
  require_pooled(context, image, context.shape(1));
  context.output(context.dtype(1), image);
}

void infer_pooled_filter_grad(InferContext& context) {
  require_float_image(context, 0, 2);
  const Shape filter = context.vector_value(1);
  require_pooled(context, context.shape(0), filter);
  context.output(context.dtype(0), filter);
  context.output(float32, {filter[3]});  // a sum
}

/// The forward product sees every pixel; its gradients see one of each window of the pool.
double forward_flops(const Node& node) {
  const Shape& filter = node.input(1).shape();
  const auto window = pair_attribute(node.attributes(), "window");
  return 2.0 * static_cast<double>(node.shape().num_elements() / filter[3]) *
         static_cast<double>(filter.num_elements()) * static_cast<double>(window.height) *
         static_cast<double>(window.width);
}
double grad_flops(const Node& node, const Shape& filter) {
  return 2.0 * static_cast<double>(node.input(2).shape().num_elements() / filter[3]) *
         static_cast<double>(filter.num_elements());
}
double pooled_input_grad_flops(const Node& node) {
  return grad_flops(node, node.input(1).shape());
}
double pooled_filter_grad_flops(const Node& node) { return grad_flops(node, node.shape()); }

}  // namespace

void register_pooled_convolution_ops(OpRegistry& registry) {
  with_convolution_attributes(
      registry
          .add({.name = "conv2d_relu_pool",
                .traits = {.internal = true, .fused = true},
                .infer = infer_forward,
                .flops = forward_flops})
          .describe("max_pool2d(relu(conv2d + bias)), and which tap each maximum is",
                    {"x", "filter", "bias"}))
      .required_attribute<std::vector<std::int64_t>>("window",
                                                     "height and width of the pool's windows");
  with_convolution_attributes(
      registry
          .add({.name = "conv2d_relu_pool_input_grad",
                .traits = {.internal = true, .fused = true, .static_inputs = 1u << 0},
                .infer = infer_pooled_input_grad,
                .flops = pooled_input_grad_flops})
          .describe("its gradient by x", {"x_shape", "filter", "grad", "choice"}))
      .required_attribute<std::vector<std::int64_t>>("window",
                                                     "height and width of the pool's windows");
  with_convolution_attributes(
      registry
          .add({.name = "conv2d_relu_pool_filter_grad",
                .traits = {.internal = true, .fused = true, .static_inputs = 1u << 1},
                .infer = infer_pooled_filter_grad,
                .flops = pooled_filter_grad_flops})
          .describe("its gradients by filter and bias", {"x", "filter_shape", "grad", "choice"}))
      .required_attribute<std::vector<std::int64_t>>("window",
                                                     "height and width of the pool's windows");
}

}  // namespace gradgraph
