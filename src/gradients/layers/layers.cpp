#include <algorithm>

#include "core/checked.h"
#include "core/index.h"
#include "core/text.h"
#include "gradients/layers/layer_builder.h"
#include "ops/nn/window.h"

namespace gradgraph::nn {
namespace {

Output pool2d(std::string_view kind,
              Output (*pool)(Output, gradgraph::Pool2dOptions, SourceLocation), Output x,
              const Pool2dOptions& options, std::string_view name, SourceLocation where) {
  LayerBuilder layer(kind, name, x, where);
  layer.require_border(options.padding, options.border);
  return layer.finish(pool(x,
                           {.window = options.window,
                            .strides = options.strides.value_or(options.window),
                            .padding = options.padding,
                            .border = options.border,
                            .layout = options.layout},
                           where));
}

/// A sequence is an image of one row.
Conv2dOptions images_of(const Conv1dOptions& options, std::int64_t before) {
  return {.filters = options.filters,
          .kernel = {1, options.kernel},
          .strides = {1, options.stride},
          .padding = options.causal ? Padding::explicit_ : options.padding,
          .border = {.left = before, .right = options.after},
          .dilations = {1, options.dilation},
          .groups = options.groups};
}

/// Checks what convolutions have in common; returns the number of x's channels.
template <class Options>
std::int64_t require_image(const LayerBuilder& layer, const Output& x, const Options& options) {
  layer.require(options.filters > 0,
                fmt::format("filters must be positive, not {}", options.filters));
  layer.require(options.groups > 0,
                fmt::format("groups must be positive, not {}", options.groups));
  layer.require(
      options.kernel.height > 0 && options.kernel.width > 0,
      fmt::format("the kernel cannot be {}x{}", options.kernel.height, options.kernel.width));
  layer.require_border(options.padding, options.border);
  layer.require_floating(x);
  layer.require(x.rank() == 4, fmt::format("x must be a batch of images, not {}", x.shape()));
  const std::int64_t channels = layer.size(x, axes_of(options.layout).channels);
  layer.require(channels % options.groups == 0 && options.filters % options.groups == 0,
                fmt::format("{} groups do not divide {} channels and {} filters", options.groups,
                            channels, options.filters));
  return channels;
}

/// How a convolution's windows lie, as ops take it.
template <class Options>
gradgraph::Conv2dOptions windows_of(const Options& options) {
  return {.strides = options.strides,
          .padding = options.padding,
          .border = options.border,
          .dilations = options.dilations,
          .groups = options.groups,
          .layout = options.layout};
}

/// y plus the layer's bias, of so many channels, where it has one, and activated.
template <class Options>
Output finish(LayerBuilder& layer, const Output& y, std::int64_t channels, Layout layout,
              const Options& options, SourceLocation where) {
  if (!options.use_bias) return layer.finish(y, options.activation);
  const Output bias = layer.trainable("bias", {channels}, y.dtype(), options.bias_initializer);
  return layer.finish(bias_add(y, bias, layout, where), options.activation);
}

/// `size()` of an image, refused in the layer's name where it is more than numbers hold.
template <class Size>
std::int64_t checked_size(const LayerBuilder& layer, const Size& size) {
  try {
    return size();
  } catch (const BuildError& error) {
    layer.require(false, error.what());
    throw;
  }
}

/// x with `times` as many elements along an axis, `count` in all: each from between two of x's.
Output interpolate(const Output& x, int axis, std::int64_t times, const Output& count,
                   SourceLocation where) {
  const double step = 1 / static_cast<double>(times);
  const Output place =
      maximum(range(x.graph(), count, float64, (step - 1) / 2, step, where), 0, where);
  const Output below = floor(place, where), low = cast(below, int64, where);
  const Output last = sub(slice(shape_of(x, where), {axis}, {1}, where), 1, where);
  const Output high = minimum(add(low, 1, where), last, where);
  std::vector<std::int64_t> along(at(x.rank()), 1);
  along[at(axis)] = -1;
  const Output share = reshape(cast(sub(place, below, where), x.dtype(), where), along, where);
  return lerp(gather(x, low, axis, where), gather(x, high, axis, where), share, where);
}

/// One axis of a transposed convolution.
struct TransposedAxis {
  std::int64_t size, kernel, stride, dilation, before, after, more;

  std::int64_t result(Padding padding) const {
    if (padding == Padding::same) return checked_mul(size, stride);
    const std::int64_t windows = checked_mul(size - 1, stride);
    const std::int64_t window = checked_add(checked_mul(kernel - 1, dilation), std::int64_t{1});
    const std::int64_t all = checked_add(checked_add(windows, window), more);
    return padding == Padding::valid ? all : all - checked_add(before, after);
  }
};

}  // namespace

Dense::Dense(DenseOptions options, std::string_view name)
    : Module(name), options_(std::move(options)) {}

Output Dense::operator()(Output x, SourceLocation where) const {
  LayerBuilder layer("dense", *this, x, where);
  const DenseOptions& options = options_;
  layer.require(options.units > 0, fmt::format("units must be positive, not {}", options.units));
  layer.require_floating(x);
  layer.require(x.rank() >= 2, fmt::format("x must be [..., inputs], not {}", x.shape()));
  const std::int64_t inputs = layer.size(x, x.rank() - 1);
  const Output kernel =
      layer.trainable("kernel", {inputs, options.units}, x.dtype(), options.kernel_initializer);
  const Output y = matmul(x, kernel, {}, where);
  return finish(layer, y, options.units, Layout::nhwc, options, where);
}

Output dense(Output x, DenseOptions options, std::string_view name, SourceLocation where) {
  return Dense(std::move(options), name)(x, where);
}

Conv2d::Conv2d(Conv2dOptions options, std::string_view name)
    : Module(name), options_(std::move(options)) {}

Output Conv2d::operator()(Output x, SourceLocation where) const {
  LayerBuilder layer("conv2d", *this, x, where);
  const Conv2dOptions& options = options_;
  const std::int64_t channels = require_image(layer, x, options);
  const Output kernel = layer.trainable(
      "kernel",
      {options.kernel.height, options.kernel.width, channels / options.groups, options.filters},
      x.dtype(), options.kernel_initializer);
  const Output y = gradgraph::conv2d(x, kernel, windows_of(options), where);
  return finish(layer, y, options.filters, options.layout, options, where);
}

Output conv2d(Output x, Conv2dOptions options, std::string_view name, SourceLocation where) {
  return Conv2d(std::move(options), name)(x, where);
}

Conv1d::Conv1d(Conv1dOptions options, std::string_view name)
    : Module(name), options_(std::move(options)) {}

Output Conv1d::operator()(Output x, SourceLocation where) const {
  LayerBuilder layer("conv1d", *this, x, where);
  const Conv1dOptions& options = options_;
  layer.require(x.rank() == 3, fmt::format("x must be [N, steps, channels], not {}", x.shape()));
  layer.require(!options.causal || (options.padding == Padding::valid && options.before == 0 &&
                                    options.after == 0),
                "a causal convolution pads by itself");
  layer.require(options.dilation > 0,
                fmt::format("the dilation must be positive, not {}", options.dilation));
  layer.require(options.kernel > 0,
                fmt::format("the kernel must be positive, not {}", options.kernel));
  layer.size(x, 2);
  const std::int64_t reach =
      checked_size(layer, [&] { return checked_mul(options.kernel - 1, options.dilation); });
  const Output rows = expand_dims(x, 1, where);
  const Conv2dOptions as_images = images_of(options, options.causal ? reach : options.before);
  const std::int64_t channels = require_image(layer, rows, as_images);
  const Output kernel =
      layer.trainable("kernel", {options.kernel, channels / options.groups, options.filters},
                      x.dtype(), options.kernel_initializer);
  const Output y =
      gradgraph::conv2d(rows, expand_dims(kernel, 0, where), windows_of(as_images), where);
  return finish(layer, squeeze(y, {1}, where), options.filters, Layout::nhwc, options, where);
}

Output conv1d(Output x, Conv1dOptions options, std::string_view name, SourceLocation where) {
  return Conv1d(std::move(options), name)(x, where);
}

Conv2dTranspose::Conv2dTranspose(Conv2dTransposeOptions options, std::string_view name)
    : Module(name), options_(std::move(options)) {}

Output Conv2dTranspose::operator()(Output x, SourceLocation where) const {
  LayerBuilder layer("conv2d_transpose", *this, x, where);
  const Conv2dTransposeOptions& options = options_;
  const Pair strides = options.strides, dilations = options.dilations;
  const Pair more = options.output_padding;
  const Border& border = options.border;
  const std::int64_t channels = require_image(layer, x, options);
  layer.require(strides.height > 0 && strides.width > 0,
                fmt::format("strides cannot be {}x{}", strides.height, strides.width));
  layer.require(dilations.height > 0 && dilations.width > 0,
                fmt::format("dilations cannot be {}x{}", dilations.height, dilations.width));
  layer.require(std::min({border.top, border.bottom, border.left, border.right}) >= 0,
                "the border cannot be negative");
  layer.require(more.height >= 0 && more.height < strides.height && more.width >= 0 &&
                    more.width < strides.width,
                fmt::format("output_padding {}x{} is not less than the strides, {}x{}",
                            more.height, more.width, strides.height, strides.width));
  layer.require(options.padding != Padding::same || (more.height == 0 && more.width == 0),
                "Padding::same leaves no room for output_padding");

  const ImageAxes axes = axes_of(options.layout);
  const TransposedAxis down = {layer.size(x, axes.height),
                               options.kernel.height,
                               strides.height,
                               dilations.height,
                               border.top,
                               border.bottom,
                               more.height};
  const TransposedAxis right = {layer.size(x, axes.width),
                                options.kernel.width,
                                strides.width,
                                dilations.width,
                                border.left,
                                border.right,
                                more.width};
  const std::int64_t rows = checked_size(layer, [&] { return down.result(options.padding); });
  const std::int64_t columns = checked_size(layer, [&] { return right.result(options.padding); });
  layer.require(rows > 0 && columns > 0,
                fmt::format("nothing is left of the image: {}x{}", rows, columns));
  std::vector<std::int64_t> shape(4, x.shape()[0]);
  shape[at(axes.height)] = rows;
  shape[at(axes.width)] = columns;
  shape[at(axes.channels)] = options.filters;

  const Output kernel = layer.trainable(
      "kernel",
      {options.kernel.height, options.kernel.width, options.filters / options.groups, channels},
      x.dtype(), options.kernel_initializer);
  const Output y = conv2d_input_grad(shape, kernel, x, windows_of(options), where);
  return finish(layer, y, options.filters, options.layout, options, where);
}

Output conv2d_transpose(Output x, Conv2dTransposeOptions options, std::string_view name,
                        SourceLocation where) {
  return Conv2dTranspose(std::move(options), name)(x, where);
}

Output upsample2d(Output x, Upsample2dOptions options, std::string_view name,
                  SourceLocation where) {
  LayerBuilder layer("upsample2d", name, x, where);
  const Pair factor = options.factor;
  layer.require(factor.height > 0 && factor.width > 0,
                fmt::format("the factor cannot be {}x{}", factor.height, factor.width));
  layer.require(x.rank() == 4, fmt::format("x must be a batch of images, not {}", x.shape()));
  const ImageAxes axes = axes_of(options.layout);
  std::vector<Output> shape;
  for (int axis = 0; axis < 4; ++axis) {
    const std::int64_t times = axis == axes.height  ? factor.height
                               : axis == axes.width ? factor.width
                                                    : 1;
    if (const std::int64_t size = x.shape()[axis]; size != any)
      shape.push_back(constant(
          x.graph(), Tensor{checked_size(layer, [&] { return checked_mul(size, times); })}, {},
          where));
    else
      shape.push_back(mul(slice(shape_of(x, where), {axis}, {1}, where), times, where));
  }
  layer.size(x, axes.channels);

  if (options.interpolation == Interpolation::bilinear) {
    Output y = x;
    for (const auto& [axis, times] :
         {std::pair(axes.height, factor.height), std::pair(axes.width, factor.width)})
      if (times > 1) y = interpolate(y, axis, times, shape[at(axis)], where);
    return layer.finish(y);
  }
  // An axis behind each that grows, along which its elements repeat.
  std::vector<std::int64_t> multiples(6, 1);
  multiples[at(axes.height + 1)] = factor.height;
  multiples[at(axes.width + 2)] = factor.width;
  const Output apart = expand_dims(expand_dims(x, axes.height + 1, where), axes.width + 2, where);
  return layer.finish(reshape(tile(apart, multiples, where), concat(shape, 0, where), where));
}

Output max_pool2d(Output x, Pool2dOptions options, std::string_view name, SourceLocation where) {
  return pool2d("max_pool2d", gradgraph::max_pool2d, x, options, name, where);
}
Output max_pool2d(Output x, Pair window, std::string_view name, SourceLocation where) {
  return max_pool2d(x, {.window = window}, name, where);
}

Output avg_pool2d(Output x, Pool2dOptions options, std::string_view name, SourceLocation where) {
  return pool2d("avg_pool2d", gradgraph::avg_pool2d, x, options, name, where);
}
Output avg_pool2d(Output x, Pair window, std::string_view name, SourceLocation where) {
  return avg_pool2d(x, {.window = window}, name, where);
}

Output flatten(Output x, std::string_view name, SourceLocation where) {
  LayerBuilder layer("flatten", name, x, where);
  return layer.finish(gradgraph::flatten(x, where));
}

Output dropout(Output x, double rate, Output training, std::string_view name,
               SourceLocation where) {
  LayerBuilder layer("dropout", name, x, where);
  layer.require_floating(x);
  layer.require_rate(rate);
  layer.require_training(training);
  return layer.finish(gradgraph::dropout(x, rate, training, where));
}

Embedding::Embedding(std::int64_t vocabulary, std::int64_t dimension, DType dtype,
                     std::string_view name)
    : Module(name), vocabulary_(vocabulary), dimension_(dimension), dtype_(dtype) {}

Output Embedding::operator()(Output ids, SourceLocation where) const {
  LayerBuilder layer("embedding", *this, ids, where);
  layer.require(vocabulary_ > 0 && dimension_ > 0,
                fmt::format("a table of {} rows of {} cannot be made", vocabulary_, dimension_));
  layer.require(ids.dtype() == int32 || ids.dtype() == int64,
                fmt::format("ids must be int32 or int64, not {}", ids.dtype()));
  const Initializer small = [](Graph& graph, const Shape& shape, DType type,
                               SourceLocation line) {
    return random_uniform(graph, shape, type, -0.05, 0.05, line);
  };
  const Output table = layer.trainable("table", {vocabulary_, dimension_}, dtype_, small);
  return layer.finish(gather(table, ids, 0, where));
}

Output embedding(Output ids, std::int64_t vocabulary, std::int64_t dimension, DType dtype,
                 std::string_view name, SourceLocation where) {
  return Embedding(vocabulary, dimension, dtype, name)(ids, where);
}

}  // namespace gradgraph::nn
