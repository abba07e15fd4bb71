#include <utility>

#include "core/checked.h"
#include "core/index.h"
#include "core/text.h"
#include "gradgraph/gradients.h"
#include "gradients/layers/layer_builder.h"
#include "ops/builders.h"

namespace gradgraph::nn {
namespace {

/// What the mean of x lacks, given the distances from it: it has been rounded, which counts where
/// x is far from 0 and its elements are close together. It is 0 but for that, and so is its
/// gradient.
Output rest_of_mean(Output distance, const Axes& axes) {
  return stop_gradient(mean(distance, axes));
}

int axis_from_front(const LayerBuilder& layer, std::int64_t axis, const Output& x) {
  layer.require(axis >= -x.rank() && axis < x.rank(),
                fmt::format("axis {} is not one of x, {}", axis, x.shape()));
  return static_cast<int>(axis < 0 ? axis + x.rank() : axis);
}

/// `vector` along `axis` of x.
Output line_up_with(Output vector, const Output& x, int axis) {
  std::vector<std::int64_t> shape(at(x.rank()), 1);
  shape[at(axis)] = vector.shape()[0];
  return reshape(vector, shape);
}

struct Statistics {
  Output mean, rest, variance;
};

/// x normalised by the statistics of `norm`, times scale, plus offset. Written as one function,
/// since what autodiff makes of the parts goes through x far more often.
template <class Norm>
Output normalize(const Output& x, const Output& scale, const Output& offset, const Norm& norm) {
  const auto with = [norm](const std::vector<Output>& in) {
    Norm same = norm;
    same.statistics = {in[3], in[4], in[5]};
    return same;
  };
  const auto forward = [with](const std::vector<Output>& in) {
    return std::vector<Output>{with(in).normal(in[0], in[1], in[2])};
  };
  // What the statistics owe to x is part of the gradient by x.
  const auto backward = [with](const std::vector<Output>& in, const std::vector<Output>&,
                               const std::vector<Output>& grads) {
    std::vector<Output> result = with(in).gradient(in[0], in[1], grads[0]);
    result.resize(in.size());
    return result;
  };
  const auto& [mean, rest, variance] = norm.statistics;
  return custom_gradient({x, scale, offset, mean, rest, variance}, forward, backward)[0];
}

/// By channels along an axis of x; those of the batch while `training` is true.
struct ChannelNorm {
  int axis;
  Axes others;
  double epsilon;
  Output training;
  Statistics statistics;

  Output factor(const Output& scale) const {
    return scale * rsqrt(statistics.variance + epsilon);
  }
  Output distance(const Output& x) const {
    return x - line_up_with(statistics.mean, x, axis) - line_up_with(statistics.rest, x, axis);
  }
  Output normal(const Output& x, const Output& scale, const Output& offset) const {
    return distance(x) * line_up_with(factor(scale), x, axis) + line_up_with(offset, x, axis);
  }
  /// By x, scale and offset. Of d = distance(x) and g, the gradient that comes in, only the sums
  /// over a channel are needed beside g and d themselves. By x it is, with the statistics of the
  /// batch, factor (g - mean(g) - d mean(g d) / (variance + epsilon)).
  std::vector<Output> gradient(const Output& x, const Output& scale, const Output& g) const {
    const Output d = distance(x), sum_g = sum(g, others), sum_gd = sum(g * d, others);
    const Output inverse = rsqrt(statistics.variance + epsilon);
    // In float64, as a count may be beyond float16.
    const Output share =
        cast(static_cast<double>(scale.shape()[0]) / cast(prod(shape_of(x)), float64), x.dtype());
    const auto of_batch = [&](const Output& total) {
      return line_up_with(gradgraph::where(training, total * share, 0), x, axis);
    };
    const Output by_x = (g - of_batch(sum_g) - d * of_batch(sum_gd * square(inverse))) *
                        line_up_with(factor(scale), x, axis);
    return {by_x, sum_gd * inverse, sum_g};
  }
};

/// Statistics of groups of channels that lie apart in a sample of x, each at all channels of its
/// group: [N,1,1,C] for images [N,H,W,C]. They are made of statistics of channels, which are sums
/// of rows: so nothing is transposed.
class GroupNormal {
 public:
  GroupNormal(const Output& x, int axis, std::int64_t groups, double epsilon)
      : axis_(axis), groups_(groups), epsilon_(epsilon) {
    for (int i = 1; i < x.rank(); ++i)
      if (i != axis) others_.push_back(i);
    statistics.mean = of_groups(channel_means(wide(x)));
    statistics.rest = stop_gradient(of_groups(channel_means(distance(x))));
    // In float64, since float32 has no room for squares of what is huge or tiny.
    statistics.variance =
        of_groups(channel_means(square(cast(distance(x) - statistics.rest, float64))));
  }

  Statistics statistics;

  Output normal(const Output& x, const Output& scale, const Output& offset) const {
    const Output factor = wide(line_up_with(scale, x, axis_)) * inverse();
    const Output start = wide(line_up_with(offset, x, axis_)) - statistics.rest * factor;
    return cast(distance(x) * factor + start, x.dtype());
  }

  /// By x, scale and offset. With y = (distance(x) - rest) inverse, h = g scale and means over a
  /// group, it is by x (h - mean(h) - y mean(h y)) inverse.
  std::vector<Output> gradient(const Output& x, const Output& scale, const Output& grad) const {
    const Output g = wide(grad), s = wide(line_up_with(scale, x, axis_));
    const Output factor = inverse(), mean_g = channel_means(g);
    // Not g times the distance: there may be no room for that.
    const Output y = distance(x) * factor, rest = statistics.rest * factor;
    const Output mean_gy = channel_means(g * y) - rest * mean_g;
    const Output slope = of_groups(mean_gy * s) * factor;
    const Output by_x =
        g * (s * factor) - y * slope - (of_groups(mean_g * s) * factor - rest * slope);
    const Output places = places_of(x);
    const auto total = [&](const Output& means) {
      return cast(reshape(sum(means, 0), {-1}) * cast(places, means.dtype()), scale.dtype());
    };
    return {cast(by_x, x.dtype()), total(mean_gy), total(mean_g)};
  }

 private:
  /// From the rounded mean. What lacks, the rest, is added to what is calculated of channels.
  Output distance(const Output& x) const { return wide(x) - statistics.mean; }
  Output inverse() const {
    return cast(rsqrt(statistics.variance + epsilon_), statistics.mean.dtype());
  }

  /// How many elements a channel of a sample has.
  Output places_of(const Output& x) const {
    double known = 1;
    Output unknown;
    for (const std::int64_t axis : others_) {
      const std::int64_t size = x.shape()[static_cast<int>(axis)];
      if (size != any) {
        known *= static_cast<double>(size);
        continue;
      }
      const Output own = cast(slice(shape_of(x), {axis}, {1}), float64);
      unknown = unknown ? unknown * own : own;
    }
    return unknown ? unknown * known : constant(x.graph(), Tensor(known));
  }
  Output channel_means(const Output& x) const { return mean(x, Axes(others_), true); }
  Output of_groups(const Output& channels) const {
    const Output split = reshape(channels, {-1, groups_, channels.shape()[axis_] / groups_});
    return reshape(broadcast_to(mean(split, -1, true), shape_of(split)), shape_of(channels));
  }

  int axis_;
  std::vector<std::int64_t> others_;
  std::int64_t groups_;
  double epsilon_;
};

}  // namespace

BatchNorm::BatchNorm(BatchNormOptions options, std::string_view name)
    : Module(name), options_(std::move(options)) {}

BatchNormResult BatchNorm::operator()(Output x, SourceLocation where) const {
  LayerBuilder layer("batch_norm", *this, x, where);
  const BatchNormOptions& options = options_;
  layer.require_floating(x);
  layer.require_training(options.training);
  layer.require(options.momentum >= 0 && options.momentum <= 1,
                fmt::format("momentum must be in [0, 1], not {}", options.momentum));
  layer.require_epsilon(options.epsilon);
  const int axis = axis_from_front(layer, options.axis, x);
  const Shape channels = {layer.size(x, axis)};
  const Output scale = layer.trainable("scale", channels, x.dtype(), ones());
  const Output offset = layer.trainable("offset", channels, x.dtype(), zeros());
  // Small moves are lost in 16 bits.
  const DType wide = is_half(x.dtype()) ? float32 : x.dtype();
  const Output running_mean = layer.tracked("running_mean", channels, wide, zeros());
  const Output running_variance = layer.tracked("running_variance", channels, wide, ones());

  std::vector<std::int64_t> others;
  for (int i = 0; i < x.rank(); ++i)
    if (i != axis) others.push_back(i);
  const auto line_up = [&](Output vector) { return line_up_with(vector, x, axis); };

  const Output rounded_mean = mean(x, others);
  const Output distance = x - line_up(rounded_mean);
  const Output rest = rest_of_mean(distance, others);
  const Output batch_variance = mean(square(distance - line_up(rest)), others);
  const auto as = [](Output value, DType dtype) {
    return value.dtype() == dtype ? value : cast(value, dtype);
  };
  const auto choose = [&](Output batch, Output running) {
    return gradgraph::where(options.training, batch, stop_gradient(as(running, x.dtype())));
  };
  const Output used_mean = choose(rounded_mean, running_mean);
  const Output used_rest =
      wide == x.dtype() ? gradgraph::where(options.training, rest, 0)
                        : choose(rest, running_mean - as(as(running_mean, x.dtype()), wide));
  const Output used_variance = choose(batch_variance, running_variance);
  const Output y = normalize(x, scale, offset,
                             ChannelNorm{axis,
                                         others,
                                         options.epsilon,
                                         options.training,
                                         {used_mean, used_rest, used_variance}});

  if (layer.is_repeated()) return {layer.finish(y), {}};
  const auto move = [&](Output running, Output of_batch) {
    const Output used = gradgraph::where(options.training, of_batch, running);
    return assign(running, running + (1 - options.momentum) * (used - running));
  };
  const Output update = group(x.graph(),
                              {move(running_mean, as(rounded_mean, wide) + as(rest, wide)),
                               move(running_variance, as(batch_variance, wide))},
                              "update");
  layer.add_update(update);
  return {layer.finish(y), update};
}

BatchNormResult batch_norm(Output x, BatchNormOptions options, std::string_view name,
                           SourceLocation where) {
  return BatchNorm(std::move(options), name)(x, where);
}

LayerNorm::LayerNorm(double epsilon, std::string_view name) : Module(name), epsilon_(epsilon) {}

Output LayerNorm::operator()(Output x, SourceLocation where) const {
  LayerBuilder layer("layer_norm", *this, x, where);
  layer.require_floating(x);
  layer.require_epsilon(epsilon_);
  layer.require(x.rank() >= 1, "x must have an axis to normalise over");
  const Shape features = {layer.size(x, x.rank() - 1)};
  const Output scale = layer.trainable("scale", features, x.dtype(), ones());
  const Output offset = layer.trainable("offset", features, x.dtype(), zeros());
  return layer.finish(standardize(x, epsilon_) * scale + offset);
}

Output layer_norm(Output x, double epsilon, std::string_view name, SourceLocation where) {
  return LayerNorm(epsilon, name)(x, where);
}

RmsNorm::RmsNorm(double epsilon, std::string_view name) : Module(name), epsilon_(epsilon) {}

Output RmsNorm::operator()(Output x, SourceLocation where) const {
  LayerBuilder layer("rms_norm", *this, x, where);
  layer.require_floating(x);
  layer.require_epsilon(epsilon_);
  layer.require(x.rank() >= 1, "x must have an axis to normalise over");
  const Shape features = {layer.size(x, x.rank() - 1)};
  const Output scale = layer.trainable("scale", features, x.dtype(), ones());
  const Output from = wide(x), inverse = rsqrt(mean(square(from), -1, true) + epsilon_);
  return layer.finish(cast(from * inverse, x.dtype()) * scale);
}

Output rms_norm(Output x, double epsilon, std::string_view name, SourceLocation where) {
  return RmsNorm(epsilon, name)(x, where);
}

GroupNorm::GroupNorm(GroupNormOptions options, std::string_view name)
    : Module(name), options_(options) {}

Output GroupNorm::operator()(Output x, SourceLocation where) const {
  LayerBuilder layer("group_norm", *this, x, where);
  const std::int64_t groups = options_.groups;
  layer.require_floating(x);
  layer.require_epsilon(options_.epsilon);
  layer.require(groups > 0, fmt::format("groups must be positive, not {}", groups));
  const int axis = axis_from_front(layer, options_.axis, x);
  layer.require(axis > 0, "the channels cannot be along axis 0, which is the samples'");
  const std::int64_t channels = layer.size(x, axis);
  layer.require(channels % groups == 0,
                fmt::format("{} groups do not divide {} channels", groups, channels));

  std::vector<std::int64_t> shape = {x.shape()[0] == any ? -1 : x.shape()[0]};
  std::int64_t before = 1, in_group = 1;
  bool is_known = true;
  for (int i = 1; i < x.rank() && (is_known = x.shape()[i] != any); ++i) {
    shape.push_back(x.shape()[i]);
    if (i < axis) before = checked_mul(before, shape.back());
    in_group = checked_mul(in_group, i == axis ? channels / groups : shape.back());
  }
  const Output scale = layer.trainable("scale", {channels}, x.dtype(), ones());
  const Output offset = layer.trainable("offset", {channels}, x.dtype(), zeros());
  if (!is_known || (in_group > 0 && before > 1 && groups > 1))
    return layer.finish(
        normalize(x, scale, offset, GroupNormal(x, axis, groups, options_.epsilon)));
  // Each group of a sample is a row already, if it has any element.
  Output normal = x;
  if (in_group > 0)
    normal = reshape(
        standardize(reshape(x, {shape[0], groups, in_group}, where), options_.epsilon, where),
        shape, where);
  return layer.finish(normal * line_up_with(scale, x, axis) + line_up_with(offset, x, axis));
}

Output group_norm(Output x, GroupNormOptions options, std::string_view name,
                  SourceLocation where) {
  return GroupNorm(options, name)(x, where);
}

}  // namespace gradgraph::nn
