#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "gradgraph/graph.h"
#include "gradgraph/ops.h"

/// Layers: functions that make variables ("fc1/kernel", "fc1/bias") and ops under a scope of
/// their own, with the dtype of their input, which is float32 or float64. Training or inference
/// is a graph input (`training`, a boolean scalar), never a global. Errors are BuildErrors with
/// the layer's name.
namespace gradgraph GRADGRAPH_API {
namespace nn {

/// Makes the initial value of a variable of the given shape and dtype.
using Initializer = std::function<Output(Graph&, const Shape&, DType, SourceLocation)>;

Initializer zeros();
Initializer ones();
Initializer constant(double value);
/// Uniform in +-sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio 2010.
Initializer glorot_uniform();
/// The same variance, from a normal distribution cut off at two standard deviations.
Initializer glorot_normal();
/// For ReLU: uniform in +-sqrt(6 / fan_in). Source: He et al. 2015.
Initializer he_uniform();
Initializer he_normal();
/// Rows or columns are orthonormal times `gain`; drawn on the host from `seed`.
/// Source: Saxe et al. 2014.
Initializer orthogonal(double gain = 1, std::uint64_t seed = 0);

/// Applied to a layer's output; a default one means none.
using Activation = UnaryFunction;

struct DenseOptions {
  std::int64_t units = 0;
  Activation activation = {};
  bool use_bias = true;
  Initializer kernel_initializer = glorot_uniform();
  Initializer bias_initializer = zeros();
};
/// x [..., inputs] times a kernel [inputs, units], plus a bias. Source: keras.layers.Dense.
Output dense(Output x, DenseOptions options, std::string_view name = "dense",
             SourceLocation where = SourceLocation::current());

struct Conv2dOptions {
  std::int64_t filters = 0;
  Pair kernel = 3;
  Activation activation = {};
  Pair strides = 1;
  Padding padding = Padding::valid;
  Border border = {};  ///< read with Padding::explicit_
  Pair dilations = 1;
  std::int64_t groups = 1;
  Layout layout = Layout::nhwc;
  bool use_bias = true;
  Initializer kernel_initializer = glorot_uniform();
  Initializer bias_initializer = zeros();
};
/// Source: keras.layers.Conv2D.
Output conv2d(Output x, Conv2dOptions options, std::string_view name = "conv2d",
              SourceLocation where = SourceLocation::current());

/// Windows of `window`, as far apart as they are large.
Output max_pool2d(Output x, Pair window = 2, std::string_view name = "max_pool2d",
                  SourceLocation where = SourceLocation::current());
Output avg_pool2d(Output x, Pair window = 2, std::string_view name = "avg_pool2d",
                  SourceLocation where = SourceLocation::current());
Output flatten(Output x, std::string_view name = "flatten",
               SourceLocation where = SourceLocation::current());
Output dropout(Output x, double rate, Output training, std::string_view name = "dropout",
               SourceLocation where = SourceLocation::current());

struct BatchNormOptions {
  Output training;  ///< a boolean scalar; batch statistics while it is true
  double momentum = 0.99;
  double epsilon = 1e-3;
  std::int64_t axis = -1;
};
struct BatchNormResult {
  Output output;
  /// Moves the running mean and variance, towards those of the batch while `training` is true.
  /// The train op of `minimize` runs it; a loop that makes its train op by `apply` has to.
  Output update;
};
/// Source: Ioffe and Szegedy 2015; defaults of keras.layers.BatchNormalization.
BatchNormResult batch_norm(Output x, BatchNormOptions options,
                           std::string_view name = "batch_norm",
                           SourceLocation where = SourceLocation::current());

/// Normalises over the last axis. Source: Ba et al. 2016.
Output layer_norm(Output x, double epsilon = 1e-5, std::string_view name = "layer_norm",
                  SourceLocation where = SourceLocation::current());

/// Rows of a table [vocabulary, dimension] at `ids` (int32 or int64).
Output embedding(Output ids, std::int64_t vocabulary, std::int64_t dimension,
                 DType dtype = float32, std::string_view name = "embedding",
                 SourceLocation where = SourceLocation::current());

}  // namespace nn

/// The table of layers: a row per scope that a layer made, with output shape and number of
/// parameters, then the totals.
std::string summary(const Graph& graph);

}  // namespace gradgraph
