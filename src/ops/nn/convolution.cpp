#include "core/checked.h"
#include "core/text.h"
#include "ops/builders.h"
#include "ops/nn/window.h"

/// Convolution of images and its two gradients. The three are linear in either operand, and each
/// is differentiated by the other two.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;

Attributes to_attributes(std::string_view op, const Conv2dOptions& options, Where where) {
  require_border(op, options.padding, options.border, where);
  return {{"strides", to_attribute(options.strides)},
          {"padding", to_attribute(options.padding)},
          {"border", to_attribute(options.border)},
          {"dilations", to_attribute(options.dilations)},
          {"groups", options.groups},
          {"layout", to_attribute(options.layout)}};
}

Conv2dOptions options_of(const GradientContext& context) {
  const Attributes& attributes = context.node().attributes();
  return {.strides = pair_attribute(attributes, "strides"),
          .padding = padding_attribute(attributes),
          .border = border_if_read(attributes),
          .dilations = pair_attribute(attributes, "dilations"),
          .groups = attributes.get<std::int64_t>("groups"),
          .layout = layout_attribute(attributes)};
}

/// The shape that conv2d gives an image of shape `x`.
Shape convolve_shapes(const InferContext& context, const Shape& x, const Shape& filter) {
  context.require(x.rank() == 4, "an image must have 4 axes");
  context.require(filter.rank() == 4, "a filter must have 4 axes: height, width, in, out");
  const Layout layout = layout_attribute(context.attributes());
  const std::int64_t groups = context.attribute<std::int64_t>("groups");
  const std::int64_t channels = x[axes_of(layout).channels], filters = filter[3];
  context.require(groups >= 1, "groups must be at least 1");
  if (channels != any && channels % groups != 0)
    context.fail(fmt::format("{} channels do not divide into {} groups", channels, groups));
  if (filters != any && filters % groups != 0)
    context.fail(fmt::format("{} filters do not divide into {} groups", filters, groups));
  if (channels != any && filter[2] != any && checked_mul(filter[2], groups) != channels)
    context.fail(
        fmt::format("{} channels in {} groups need a filter with {} input channels, not {}",
                    channels, groups, channels / groups, filter[2]));
  const Windows windows = checked_windows(context, x, {filter[0], filter[1]},
                                          pair_attribute(context.attributes(), "dilations"));
  return image_shape(layout, x[0], windows, filters);
}

void infer_operands(InferContext& context, int count, int first, int second) {
  context.require_inputs(count);
  context.require_same_dtype(first, second);
  context.require_floating(first);
}

void infer_conv2d(InferContext& context) {
  infer_operands(context, 2, 0, 1);
  context.output(context.dtype(0), convolve_shapes(context, context.shape(0), context.shape(1)));
}

void require_grad_shape(const InferContext& context, const Shape& expected) {
  if (!context.shape(2).compatible_with(expected))
    context.fail(fmt::format("the gradient's shape must be {}", expected));
}

void infer_input_grad(InferContext& context) {
  infer_operands(context, 3, 1, 2);
  Shape x = context.vector_value(0);
  const Shape &filter = context.shape(1), &grad = context.shape(2);
  require_grad_shape(context, convolve_shapes(context, x, filter));
  const int channels = axes_of(layout_attribute(context.attributes())).channels;
  if (x[0] == any) x.set(0, grad[0]);
  if (x[channels] == any && filter[2] != any)
    x.set(channels, checked_mul(filter[2], context.attribute<std::int64_t>("groups")));
  context.output(context.dtype(1), x);
}

void infer_filter_grad(InferContext& context) {
  infer_operands(context, 3, 0, 2);
  Shape filter = context.vector_value(1);
  const Shape &x = context.shape(0), &grad = context.shape(2);
  require_grad_shape(context, convolve_shapes(context, x, filter));
  const int channels = axes_of(layout_attribute(context.attributes())).channels;
  if (filter[2] == any && x[channels] != any)
    filter.set(2, x[channels] / context.attribute<std::int64_t>("groups"));
  if (filter[3] == any) filter.set(3, grad[channels]);
  context.output(context.dtype(0), filter);
}

Grads grad_conv2d(const GradientContext& c) {
  const Output x = c.input(0), filter = c.input(1);
  return {conv2d_input_grad(shape_of(x), filter, c.grad(), options_of(c)),
          conv2d_filter_grad(x, shape_of(filter), c.grad(), options_of(c))};
}

Grads grad_input_grad(const GradientContext& c) {
  const Output filter = c.input(1), grad = c.input(2);
  return {Output(), conv2d_filter_grad(c.grad(), shape_of(filter), grad, options_of(c)),
          conv2d(c.grad(), filter, options_of(c))};
}

Grads grad_filter_grad(const GradientContext& c) {
  const Output x = c.input(0), grad = c.input(2);
  return {conv2d_input_grad(shape_of(x), c.grad(), grad, options_of(c)), Output(),
          conv2d(x, c.grad(), options_of(c))};
}

/// Each element of the result, or of its gradient, takes one filter's products and sums.
double convolution_flops(const Shape& result, const Shape& filter) {
  return 2.0 * static_cast<double>(result.num_elements()) *
         static_cast<double>(filter[0] * filter[1] * filter[2]);
}
double conv2d_flops(const Node& node) {
  return convolution_flops(node.shape(), node.input(1).shape());
}
double input_grad_flops(const Node& node) {
  return convolution_flops(node.input(2).shape(), node.input(1).shape());
}
double filter_grad_flops(const Node& node) {
  return convolution_flops(node.input(2).shape(), node.shape());
}

}  // namespace

Output conv2d(Output x, Output filter, Conv2dOptions options, Where where) {
  return make("conv2d", {x, filter}, where, to_attributes("conv2d", options, where));
}

Output conv2d_input_grad(IntVector input_shape, Output filter, Output grad, Conv2dOptions options,
                         Where where) {
  Graph& graph = graph_of("conv2d_input_grad", {filter, grad}, where);
  return make_with_vectors("conv2d_input_grad", graph, {input_shape, filter, grad}, where,
                           to_attributes("conv2d_input_grad", options, where));
}

Output conv2d_filter_grad(Output x, IntVector filter_shape, Output grad, Conv2dOptions options,
                          Where where) {
  Graph& graph = graph_of("conv2d_filter_grad", {x, grad}, where);
  return make_with_vectors("conv2d_filter_grad", graph, {x, filter_shape, grad}, where,
                           to_attributes("conv2d_filter_grad", options, where));
}

void register_convolution_ops(OpRegistry& registry) {
  with_convolution_attributes(
      registry
          .add({.name = "conv2d",
                .infer = infer_conv2d,
                .gradient = grad_conv2d,
                .flops = conv2d_flops})
          .describe("the convolution (cross-correlation) of images with filters",
                    {"x", "filter"}));
  with_convolution_attributes(registry
                                  .add({.name = "conv2d_input_grad",
                                        .traits = {.static_inputs = 1u << 0},
                                        .infer = infer_input_grad,
                                        .gradient = grad_input_grad,
                                        .flops = input_grad_flops})
                                  .describe("the gradient of a convolution by its images",
                                            {"x_shape", "filter", "grad"}));
  with_convolution_attributes(registry
                                  .add({.name = "conv2d_filter_grad",
                                        .traits = {.static_inputs = 1u << 1},
                                        .infer = infer_filter_grad,
                                        .gradient = grad_filter_grad,
                                        .flops = filter_grad_flops})
                                  .describe("the gradient of a convolution by its filters",
                                            {"x", "filter_shape", "grad"}));
}

}  // namespace gradgraph
