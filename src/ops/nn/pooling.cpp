#include <algorithm>

#include "core/text.h"
#include "ops/builders.h"
#include "ops/nn/window.h"

/// Pooling of images. max_pool2d_grad and max_pool2d_pick scatter and gather at the places of the
/// maxima, so each is the other's gradient; avg_pool2d and avg_pool2d_grad are linear.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;

Attributes to_attributes(std::string_view op, const Pool2dOptions& options, Where where) {
  require_border(op, options.padding, options.border, where);
  return {{"window", to_attribute(options.window)},
          {"strides", to_attribute(options.strides)},
          {"padding", to_attribute(options.padding)},
          {"border", to_attribute(options.border)},
          {"layout", to_attribute(options.layout)}};
}

Pool2dOptions pool_options(const GradientContext& context) {
  const Attributes& attributes = context.node().attributes();
  return {.window = pair_attribute(attributes, "window"),
          .strides = pair_attribute(attributes, "strides"),
          .padding = padding_attribute(attributes),
          .border = border_if_read(attributes),
          .layout = layout_attribute(attributes)};
}

/// The shape that pooling gives an image of shape `x`.
Shape pool_shapes(const InferContext& context, const Shape& x) {
  context.require(x.rank() == 4, "an image must have 4 axes");
  const Layout layout = layout_attribute(context.attributes());
  const Pair window = pair_attribute(context.attributes(), "window");
  // A filter's extents may be unknown, which is -1, but not these.
  context.require(std::min(window.height, window.width) >= 1,
                  "a window must be at least 1 high and wide");
  const Windows windows = checked_windows(context, x, window, 1);
  const Border border = border_attribute(context.attributes());
  const bool in_padding = std::max(border.top, border.bottom) >= window.height ||
                          std::max(border.left, border.right) >= window.width ||
                          x[axes_of(layout).height] == 0 || x[axes_of(layout).width] == 0;
  if (padding_attribute(context.attributes()) == Padding::explicit_)
    context.require(!in_padding, "a window would see nothing but padding");
  return image_shape(layout, x[0], windows, x[axes_of(layout).channels]);
}

void infer_pool(InferContext& context) {
  context.require_floating(0);
  context.output(context.dtype(0), pool_shapes(context, context.shape(0)));
}

void require_pooled_shape(const InferContext& context, const Shape& expected) {
  if (!context.shape(1).compatible_with(expected))
    context.fail(fmt::format("the gradient's shape must be {}", expected));
}

void infer_max_pool_grad(InferContext& context) {
  context.require_floating(0);
  context.require_same_dtype(0, 1);
  require_pooled_shape(context, pool_shapes(context, context.shape(0)));
  context.output(context.dtype(0), context.shape(0));
}

void infer_max_pool_pick(InferContext& context) {
  context.require_floating(0);
  context.require_same_dtype(0, 1);
  context.require(context.shape(0).compatible_with(context.shape(1)),
                  "the values' shape is not the image's");
  context.output(context.dtype(0), pool_shapes(context, context.shape(0)));
}

void infer_avg_pool_grad(InferContext& context) {
  context.require_floating(1);
  Shape x = context.vector_value(0);
  require_pooled_shape(context, pool_shapes(context, x));
  const int channels = axes_of(layout_attribute(context.attributes())).channels;
  for (const int axis : {0, channels})
    if (x[axis] == any) x.set(axis, context.shape(1)[axis]);
  context.output(context.dtype(1), x);
}

Grads grad_max_pool(const GradientContext& c) {
  return {max_pool2d_grad(c.input(0), c.grad(), pool_options(c))};
}
Grads grad_max_pool_grad(const GradientContext& c) {
  return {Output(), max_pool2d_pick(c.input(0), c.grad(), pool_options(c))};
}
Grads grad_max_pool_pick(const GradientContext& c) {
  return {Output(), max_pool2d_grad(c.input(0), c.grad(), pool_options(c))};
}
Grads grad_avg_pool(const GradientContext& c) {
  return {avg_pool2d_grad(shape_of(c.input(0)), c.grad(), pool_options(c))};
}
Grads grad_avg_pool_grad(const GradientContext& c) {
  return {Output(), avg_pool2d(c.grad(), pool_options(c))};
}

}  // namespace

Output max_pool2d(Output x, Pool2dOptions options, Where where) {
  return make("max_pool2d", {x}, where, to_attributes("max_pool2d", options, where));
}

Output max_pool2d_grad(Output x, Output grad, Pool2dOptions options, Where where) {
  return make("max_pool2d_grad", {x, grad}, where,
              to_attributes("max_pool2d_grad", options, where));
}

Output max_pool2d_pick(Output x, Output values, Pool2dOptions options, Where where) {
  return make("max_pool2d_pick", {x, values}, where,
              to_attributes("max_pool2d_pick", options, where));
}

Output avg_pool2d(Output x, Pool2dOptions options, Where where) {
  return make("avg_pool2d", {x}, where, to_attributes("avg_pool2d", options, where));
}

Output avg_pool2d_grad(IntVector input_shape, Output grad, Pool2dOptions options, Where where) {
  Graph& graph = graph_of("avg_pool2d_grad", {grad}, where);
  return make_with_vectors("avg_pool2d_grad", graph, {input_shape, grad}, where,
                           to_attributes("avg_pool2d_grad", options, where));
}

void register_pooling_ops(OpRegistry& registry) {
  with_pool_attributes(
      registry.add({.name = "max_pool2d", .infer = infer_pool, .gradient = grad_max_pool})
          .describe("the maximum of each window", {"x"}));
  with_pool_attributes(
      registry
          .add({.name = "max_pool2d_grad",
                .infer = infer_max_pool_grad,
                .gradient = grad_max_pool_grad})
          .describe("what each window gives to its first maximum", {"x", "grad"}));
  with_pool_attributes(
      registry
          .add({.name = "max_pool2d_pick",
                .infer = infer_max_pool_pick,
                .gradient = grad_max_pool_pick})
          .describe("what stands in y where the maximum of x's window is", {"x", "y"}));
  with_pool_attributes(
      registry.add({.name = "avg_pool2d", .infer = infer_pool, .gradient = grad_avg_pool})
          .describe("the mean of each window", {"x"}));
  with_pool_attributes(registry
                           .add({.name = "avg_pool2d_grad",
                                 .traits = {.static_inputs = 1u << 0},
                                 .infer = infer_avg_pool_grad,
                                 .gradient = grad_avg_pool_grad})
                           .describe("the gradient of avg_pool2d by x", {"x_shape", "grad"}));
}

}  // namespace gradgraph
