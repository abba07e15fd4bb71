#include <cmath>

#include "core/text.h"
#include "gradgraph/nn.h"
#include "ops/builders.h"

namespace gradgraph::nn {
namespace {

/// One layer while it is being built: its scope, its variables, its line.
class LayerBuilder {
 public:
  LayerBuilder(std::string_view kind, std::string_view name, const Output& x,
               SourceLocation where)
      : graph_(graph_of(kind, {x}, where)),
        transaction_(graph_),
        guard_(scope(graph_, name, where)),
        where_(where) {
    BuildContext& context = graph_.context();
    if (!context.where.known()) context.where = where;
    layer_.name = context.scope.substr(0, context.scope.size() - 1);
    layer_.kind = kind;
  }

  void require(bool condition, const std::string& message) const {
    if (!condition) throw BuildError(node_message(layer_.kind, layer_.name, message), where_);
  }
  void require_floating(const Output& x) const {
    require(is_floating(x.dtype()),
            fmt::format("x must be of a floating dtype, not {}", x.dtype()));
  }
  void require_training(const Output& training) const {
    require(static_cast<bool>(training), "needs `training`, a boolean scalar");
    require(training.dtype() == boolean && training.rank() == 0,
            fmt::format("`training` must be a boolean scalar, not {}{}", training.dtype(),
                        training.shape()));
  }
  void require_epsilon(double epsilon) const {
    require(epsilon >= 0 && std::isfinite(epsilon),
            fmt::format("epsilon must be 0 or more, not {}", epsilon));
  }
  /// The known size of `axis`, which variables are made for.
  std::int64_t size(const Output& x, int axis) const {
    require(x.shape()[axis] != any,
            fmt::format("axis {} of x, {}, must be known", axis, x.shape()));
    return x.shape()[axis];
  }

  Output trainable(std::string_view name, const Shape& shape, DType dtype,
                   const Initializer& initializer) {
    return layer_.trainable.emplace_back(make_variable(name, shape, dtype, initializer));
  }
  Output tracked(std::string_view name, const Shape& shape, DType dtype,
                 const Initializer& initializer) {
    return layer_.tracked.emplace_back(make_variable(name, shape, dtype, initializer));
  }

  /// An op that moves what is tracked.
  void add_update(const Output& update) { layer_.updates.push_back(update); }

  Output finish(Output output, const Activation& activation = {}) {
    if (activation) {
      output = activation(output, where_);
      require(static_cast<bool>(output), "the activation gives an empty Output");
    }
    layer_.output = output;
    graph_.add_layer(layer_);
    transaction_.commit();
    return output;
  }

 private:
  Output make_variable(std::string_view name, const Shape& shape, DType dtype,
                       const Initializer& initializer) {
    require(static_cast<bool>(initializer), fmt::format("{} has no initializer", name));
    return variable(initial_value(name, shape, dtype, initializer), name, where_);
  }
  Output initial_value(std::string_view name, const Shape& shape, DType dtype,
                       const Initializer& initializer) {
    const ContextGuard guard(graph_);
    graph_.context().scope += std::string(name) + "/";
    const Output value = initializer(graph_, shape, dtype, where_);
    require(value && value.dtype() == dtype && value.shape() == shape,
            fmt::format("the initializer of {} must give {}{}", name, dtype, shape));
    return value;
  }

  Graph& graph_;
  BuildTransaction transaction_;
  ContextGuard guard_;
  SourceLocation where_;
  Layer layer_;
};

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

/// What the mean of x lacks, given the distances from it: it has been rounded, which counts where
/// x is far from 0 and its elements are close together. It is 0 but for that, and so is its
/// gradient.
Output rest_of_mean(Output distance, const Axes& axes) {
  return stop_gradient(mean(distance, axes));
}

}  // namespace

Output dense(Output x, DenseOptions options, std::string_view name, SourceLocation where) {
  LayerBuilder layer("dense", name, x, where);
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

Output conv2d(Output x, Conv2dOptions options, std::string_view name, SourceLocation where) {
  LayerBuilder layer("conv2d", name, x, where);
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
  layer.require(rate >= 0 && rate < 1, fmt::format("rate must be in [0, 1), not {}", rate));
  layer.require_training(training);
  return layer.finish(gradgraph::dropout(x, rate, training, where));
}

BatchNormResult batch_norm(Output x, BatchNormOptions options, std::string_view name,
                           SourceLocation where) {
  LayerBuilder layer("batch_norm", name, x, where);
  layer.require_floating(x);
  layer.require_training(options.training);
  layer.require(options.momentum >= 0 && options.momentum <= 1,
                fmt::format("momentum must be in [0, 1], not {}", options.momentum));
  layer.require_epsilon(options.epsilon);
  layer.require(options.axis >= -x.rank() && options.axis < x.rank(),
                fmt::format("axis {} is not one of x, {}", options.axis, x.shape()));
  const int axis = static_cast<int>(options.axis < 0 ? options.axis + x.rank() : options.axis);
  const Shape channels = {layer.size(x, axis)};
  const Output scale = layer.trainable("scale", channels, x.dtype(), ones());
  const Output offset = layer.trainable("offset", channels, x.dtype(), zeros());
  const Output running_mean = layer.tracked("running_mean", channels, x.dtype(), zeros());
  const Output running_variance = layer.tracked("running_variance", channels, x.dtype(), ones());

  std::vector<std::int64_t> others, lined_up(static_cast<std::size_t>(x.rank()), 1);
  for (int i = 0; i < x.rank(); ++i)
    if (i != axis) others.push_back(i);
  lined_up[static_cast<std::size_t>(axis)] = channels[0];
  const auto line_up = [&](Output vector) { return reshape(vector, lined_up); };

  const Output rounded_mean = mean(x, others);
  const Output distance = x - line_up(rounded_mean);
  const Output rest = rest_of_mean(distance, others);
  const Output batch_variance = mean(square(distance - line_up(rest)), others);
  const auto choose = [&](Output batch, Output running) {
    return gradgraph::where(options.training, batch, stop_gradient(running));
  };
  const Output used_mean = choose(rounded_mean, running_mean);
  const Output used_rest = gradgraph::where(options.training, rest, 0);
  const Output used_variance = choose(batch_variance, running_variance);
  const Output factor = scale * rsqrt(used_variance + options.epsilon);
  const Output y =
      (x - line_up(used_mean) - line_up(used_rest)) * line_up(factor) + line_up(offset);

  const auto move = [&](Output running, Output used) {
    return assign(running, running + (1 - options.momentum) * (used - running));
  };
  const Output update =
      group(x.graph(),
            {move(running_mean, used_mean + used_rest), move(running_variance, used_variance)},
            "update");
  layer.add_update(update);
  return {layer.finish(y), update};
}

Output layer_norm(Output x, double epsilon, std::string_view name, SourceLocation where) {
  LayerBuilder layer("layer_norm", name, x, where);
  layer.require_floating(x);
  layer.require_epsilon(epsilon);
  layer.require(x.rank() >= 1, "x must have an axis to normalise over");
  const Shape features = {layer.size(x, x.rank() - 1)};
  const Output scale = layer.trainable("scale", features, x.dtype(), ones());
  const Output offset = layer.trainable("offset", features, x.dtype(), zeros());
  return layer.finish(standardize(x, epsilon) * scale + offset);
}

Output embedding(Output ids, std::int64_t vocabulary, std::int64_t dimension, DType dtype,
                 std::string_view name, SourceLocation where) {
  LayerBuilder layer("embedding", name, ids, where);
  layer.require(vocabulary > 0 && dimension > 0,
                fmt::format("a table of {} rows of {} cannot be made", vocabulary, dimension));
  layer.require(ids.dtype() == int32 || ids.dtype() == int64,
                fmt::format("ids must be int32 or int64, not {}", ids.dtype()));
  const Initializer small = [](Graph& graph, const Shape& shape, DType type,
                               SourceLocation line) {
    return random_uniform(graph, shape, type, -0.05, 0.05, line);
  };
  const Output table = layer.trainable("table", {vocabulary, dimension}, dtype, small);
  return layer.finish(gather(table, ids, 0, where));
}

}  // namespace gradgraph::nn
