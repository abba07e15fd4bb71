#include <cmath>
#include <limits>

#include "core/text.h"
#include "gradgraph/sequence.h"
#include "gradients/layers/layer_builder.h"

namespace gradgraph::nn {
namespace {

/// Where a query sees a key that is not behind it: [steps, steps].
Output causal_mask(const Output& queries, SourceLocation where) {
  Graph& graph = queries.graph();
  const std::int64_t steps = queries.shape()[1];
  if (steps == any) {
    const Output numbers =
        range(graph, slice(shape_of(queries, where), {1}, {1}, where), int64, 0, 1, where);
    return less_equal(numbers, expand_dims(numbers, 1, where), where);
  }
  Tensor mask = Tensor::full(boolean, {steps, steps}, 0);
  for (std::int64_t query = 0; query < steps; ++query)
    std::fill_n(mask.data<bool>() + query * steps, query + 1, true);
  return gradgraph::constant(graph, mask, {}, where);
}

class Attention {
 public:
  Attention(LayerBuilder& layer, const AttentionOptions& options, const Output& queries,
            SourceLocation where)
      : layer_(layer), options_(options), where_(where) {
    layer.require(options.heads > 0,
                  fmt::format("heads must be positive, not {}", options.heads));
    layer.require_rate(options.dropout_rate);
    if (options.dropout_rate > 0) layer.require_training(options.training);
    require_sequence("queries", queries);
    width_ = layer.size(queries, 2);
    head_size_ = options.head_size;
    if (head_size_ == 0) {
      layer.require(width_ % options.heads == 0,
                    fmt::format("{} heads do not divide a width of {}: give a head_size",
                                options.heads, width_));
      head_size_ = width_ / options.heads;
    }
    layer.require(head_size_ > 0, fmt::format("head_size cannot be {}", head_size_));
  }

  void require_sequence(const char* name, const Output& x) const {
    layer_.require_floating(x);
    layer_.require(x.rank() == 3,
                   fmt::format("{} must be [N, steps, width], not {}", name, x.shape()));
  }

  /// x times a kernel of its own, [N, heads, steps, head size].
  Output projected(const std::string& name, const Output& x) {
    const std::int64_t size = options_.heads * head_size_;
    const Output y =
        reshape(dense(name, x, layer_.size(x, 2), size), {0, 0, options_.heads, head_size_}, x);
    return transpose(y, {0, 2, 1, 3}, where_);
  }

  Output run(const Output& queries, const Output& keys, const Output& values,
             const Output& mask) {
    const Output q = projected("query", queries), k = projected("key", keys),
                 v = projected("value", values);
    const double scale = 1 / std::sqrt(static_cast<double>(head_size_));
    Output scores = mul(matmul(q, k, {.transpose_b = true}, where_), scale, where_);
    const auto hide = [&](const Output& seen) {
      scores = gradgraph::where(seen, scores, -std::numeric_limits<double>::infinity(), where_);
    };
    if (options_.causal) {
      layer_.require(keys.shape()[1] == queries.shape()[1],
                     fmt::format("causal attention needs as many keys as queries, not {} and {}",
                                 keys.shape(), queries.shape()));
      hide(causal_mask(queries, where_));
    }
    if (mask) {
      layer_.require(mask.dtype() == boolean,
                     fmt::format("the mask must be boolean, not {}", mask.dtype()));
      const std::int64_t steps = queries.shape()[1];
      layer_.require(
          mask.rank() != 2 || steps == any || mask.shape()[0] == 1 || mask.shape()[0] == steps,
          fmt::format("a mask of two axes is [queries,keys], here [{},...], not {}: one "
                      "of [N,keys] must be [N,1,1,keys]",
                      steps, mask.shape()));
      layer_.require(mask.rank() != 3 || mask.shape()[0] == 1,
                     fmt::format("a mask of three axes, {}, could be [N,queries,keys] or "
                                 "[heads,queries,keys]: give it four, [N,1,queries,keys] or "
                                 "[1,heads,queries,keys]",
                                 mask.shape()));
      hide(mask);
    }
    Output weights = softmax(scores, -1, where_);
    if (options_.dropout_rate > 0)
      weights = gradgraph::dropout(weights, options_.dropout_rate, options_.training, where_);
    const Output heads = transpose(matmul(weights, v, {}, where_), {0, 2, 1, 3}, where_);
    const Output joined = reshape(heads, {0, 0, options_.heads * head_size_}, queries);
    return dense("output", joined, options_.heads * head_size_, width_);
  }

 private:
  Output dense(const std::string& name, const Output& x, std::int64_t inputs,
               std::int64_t outputs) {
    const Output kernel = layer_.trainable(name + "_kernel", {inputs, outputs}, x.dtype(),
                                           options_.kernel_initializer);
    const Output y = matmul(x, kernel, {}, where_);
    if (!options_.use_bias) return y;
    return bias_add(y, layer_.trainable(name + "_bias", {outputs}, x.dtype(), zeros()),
                    Layout::nhwc, where_);
  }

  /// x in a shape whose first two axes, written as 0, are those of `like`.
  Output reshape(const Output& x, std::vector<std::int64_t> shape, const Output& like) const {
    int unknown = 0;
    for (int axis = 0; axis < 2; ++axis) {
      shape[static_cast<std::size_t>(axis)] = like.shape()[axis];
      if (like.shape()[axis] == any) shape[static_cast<std::size_t>(axis)] = -1, ++unknown;
    }
    if (unknown < 2) return gradgraph::reshape(x, shape, where_);
    const Output first = slice(shape_of(like, where_), {0}, {2}, where_);
    const std::vector<std::int64_t> last(shape.begin() + 2, shape.end());
    const Output rest = gradgraph::constant(
        x.graph(), Tensor::from(last, {static_cast<std::int64_t>(last.size())}), {}, where_);
    return gradgraph::reshape(x, concat({first, rest}, 0, where_), where_);
  }

  LayerBuilder& layer_;
  const AttentionOptions& options_;
  SourceLocation where_;
  std::int64_t width_ = 0, head_size_ = 0;
};

}  // namespace

MultiHeadAttention::MultiHeadAttention(AttentionOptions options, std::string_view name)
    : Module(name), options_(std::move(options)) {}

Output MultiHeadAttention::operator()(Output queries, AttentionInputs inputs,
                                      SourceLocation where) const {
  LayerBuilder layer("attention", *this, queries, where);
  Attention attention(layer, options_, queries, where);
  const Output keys = inputs.keys ? inputs.keys : queries;
  const Output values = inputs.values ? inputs.values : keys;
  attention.require_sequence("keys", keys);
  attention.require_sequence("values", values);
  const std::int64_t steps = keys.shape()[1];
  layer.require(steps == any || values.shape()[1] == any || values.shape()[1] == steps,
                fmt::format("there must be as many values as keys, not {} and {}", values.shape(),
                            keys.shape()));
  return layer.finish(attention.run(queries, keys, values, inputs.mask));
}

}  // namespace gradgraph::nn
