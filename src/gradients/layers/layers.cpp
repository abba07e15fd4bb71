#include "core/text.h"
#include "gradients/layers/layer_builder.h"

namespace gradgraph::nn {
namespace {

Output pool2d(std::string_view kind,
              Output (*pool)(Output, gradgraph::Pool2dOptions, SourceLocation), Output x,
              const Pool2dOptions& options, std::string_view name, SourceLocation where) {
  LayerBuilder layer(kind, name, x, where);
  return layer.finish(pool(x,
                           {.window = options.window,
                            .strides = options.strides.value_or(options.window),
                            .padding = options.padding,
                            .border = options.border,
                            .layout = options.layout},
                           where));
}

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
  Output y = matmul(x, kernel, {}, where);
  if (options.use_bias)
    y = bias_add(y, layer.trainable("bias", {options.units}, x.dtype(), options.bias_initializer),
                 Layout::nhwc, where);
  return layer.finish(y, options.activation);
}

Output dense(Output x, DenseOptions options, std::string_view name, SourceLocation where) {
  return Dense(std::move(options), name)(x, where);
}

Conv2d::Conv2d(Conv2dOptions options, std::string_view name)
    : Module(name), options_(std::move(options)) {}

Output Conv2d::operator()(Output x, SourceLocation where) const {
  LayerBuilder layer("conv2d", *this, x, where);
  const Conv2dOptions& options = options_;
  layer.require(options.filters > 0,
                fmt::format("filters must be positive, not {}", options.filters));
  layer.require(options.groups > 0,
                fmt::format("groups must be positive, not {}", options.groups));
  layer.require(
      options.kernel.height > 0 && options.kernel.width > 0,
      fmt::format("the kernel cannot be {}x{}", options.kernel.height, options.kernel.width));
  layer.require_floating(x);
  layer.require(x.rank() == 4, fmt::format("x must be a batch of images, not {}", x.shape()));
  const std::int64_t channels = layer.size(x, options.layout == Layout::nhwc ? 3 : 1);
  layer.require(channels % options.groups == 0 && options.filters % options.groups == 0,
                fmt::format("{} groups do not divide {} channels and {} filters", options.groups,
                            channels, options.filters));
  const Output kernel = layer.trainable(
      "kernel",
      {options.kernel.height, options.kernel.width, channels / options.groups, options.filters},
      x.dtype(), options.kernel_initializer);
  Output y = gradgraph::conv2d(x, kernel,
                               {.strides = options.strides,
                                .padding = options.padding,
                                .border = options.border,
                                .dilations = options.dilations,
                                .groups = options.groups,
                                .layout = options.layout},
                               where);
  if (options.use_bias)
    y = bias_add(y,
                 layer.trainable("bias", {options.filters}, x.dtype(), options.bias_initializer),
                 options.layout, where);
  return layer.finish(y, options.activation);
}

Output conv2d(Output x, Conv2dOptions options, std::string_view name, SourceLocation where) {
  return Conv2d(std::move(options), name)(x, where);
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
