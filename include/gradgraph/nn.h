#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/ops.h"

/// Layers make variables ("fc1/kernel", "fc1/bias") and ops under a scope of their own, with the
/// dtype of their input, which is a floating one. Those with variables come in two forms: an
/// object, which may be applied several times and has its variables from the first time on,
///
///     const gg::nn::Dense encode({.units = 64, .activation = gg::tanh}, "encode");
///     const auto left = encode(x), right = encode(y);
///
/// and a function, which is such an object applied once: `gg::nn::dense(x, {.units = 64})`. An
/// object's variables are in the scope that is open when it is first applied.
/// Training or inference is a graph input (`training`, a boolean scalar), never a global. Errors
/// are BuildErrors with the layer's name.
namespace gradgraph GRADGRAPH_API {
namespace nn {

/// Makes the initial value of a variable of the given shape and dtype.
using Initializer = std::function<Output(Graph&, const Shape&, DType, SourceLocation)>;

/// Zeros, ones, or any one number in every element, which a dtype of integers must hold exactly.
/// Source: keras.initializers.
Initializer zeros();
Initializer ones();
Initializer constant(Number value);
/// Uniform in +-sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio 2010.
Initializer glorot_uniform();
/// The same variance, from a normal distribution cut off at two standard deviations.
Initializer glorot_normal();
/// For ReLU: uniform in +-sqrt(6 / fan_in). Source: He et al. 2015.
Initializer he_uniform();
/// The same variance, from a normal distribution cut off at two standard deviations.
Initializer he_normal();
/// Rows or columns are orthonormal times `gain`; drawn on the host from `seed`.
/// Source: Saxe et al. 2014.
Initializer orthogonal(double gain = 1, std::uint64_t seed = 0);

/// Applied to a layer's output; a default one means none.
using Activation = UnaryFunction;

class LayerBuilder;
struct ModuleState;

/// What layers that are objects have in common. Copies are the same layer: they share variables.
/// A layer belongs to the graph that it is first applied in.
class Module {
 public:
  /// The variables, in the order in which they were made. Throws BuildError before the first
  /// application, when there are none yet.
  std::vector<Output> variables(SourceLocation where = SourceLocation::current()) const;
  ~Module();

 protected:
  explicit Module(std::string_view name);
  Module(const Module&);
  Module& operator=(const Module&);

  friend class LayerBuilder;
  std::shared_ptr<ModuleState> state_;
};

struct DenseOptions {
  std::int64_t units = 0;
  Activation activation = {};
  bool use_bias = true;
  Initializer kernel_initializer = glorot_uniform();
  Initializer bias_initializer = zeros();
};
class Dense : public Module {
 public:
  explicit Dense(DenseOptions options, std::string_view name = "dense");
  /// See dense. Each application has the first one's number of inputs.
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const;

 private:
  DenseOptions options_;
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
  Border border = {};  ///< with Padding::explicit_ alone
  Pair dilations = 1;
  std::int64_t groups = 1;
  Layout layout = Layout::nhwc;
  bool use_bias = true;
  Initializer kernel_initializer = glorot_uniform();
  Initializer bias_initializer = zeros();
};
class Conv2d : public Module {
 public:
  explicit Conv2d(Conv2dOptions options, std::string_view name = "conv2d");
  /// See conv2d. Each application has the first one's number of channels.
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const;

 private:
  Conv2dOptions options_;
};
/// x, images [N,H,W,C] or [N,C,H,W] as `layout` says, convolved with a kernel [height, width,
/// channels / groups, filters], plus a bias. Source: keras.layers.Conv2D.
Output conv2d(Output x, Conv2dOptions options, std::string_view name = "conv2d",
              SourceLocation where = SourceLocation::current());

struct Conv1dOptions {
  std::int64_t filters = 0;
  std::int64_t kernel = 3;
  Activation activation = {};
  std::int64_t stride = 1;
  Padding padding = Padding::valid;
  std::int64_t before = 0, after = 0;  ///< zeros, with Padding::explicit_ alone
  /// Zeros before the sequence alone, so that no result is made of later steps. Not with another
  /// padding.
  bool causal = false;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  bool use_bias = true;
  Initializer kernel_initializer = glorot_uniform();
  Initializer bias_initializer = zeros();
};
class Conv1d : public Module {
 public:
  explicit Conv1d(Conv1dOptions options, std::string_view name = "conv1d");
  /// See conv1d. Each application has the first one's number of channels.
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const;

 private:
  Conv1dOptions options_;
};
/// x, sequences [N, steps, channels], convolved with a kernel [kernel, channels / groups,
/// filters], plus a bias. Source: keras.layers.Conv1D.
Output conv1d(Output x, Conv1dOptions options, std::string_view name = "conv1d",
              SourceLocation where = SourceLocation::current());

struct Conv2dTransposeOptions {
  std::int64_t filters = 0;
  Pair kernel = 3;
  Activation activation = {};
  Pair strides = 1;
  Padding padding = Padding::valid;
  Border border = {};       ///< cut off the result; with Padding::explicit_ alone
  Pair output_padding = 0;  ///< more rows and columns, below and right; less than the strides
  Pair dilations = 1;
  std::int64_t groups = 1;
  Layout layout = Layout::nhwc;
  bool use_bias = true;
  Initializer kernel_initializer = glorot_uniform();
  Initializer bias_initializer = zeros();
};
class Conv2dTranspose : public Module {
 public:
  explicit Conv2dTranspose(Conv2dTransposeOptions options,
                           std::string_view name = "conv2d_transpose");
  /// See conv2d_transpose. Each application has the first one's number of channels.
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const;

 private:
  Conv2dTransposeOptions options_;
};
/// x, images [N,H,W,C] or [N,C,H,W] of known size, made larger: each pixel times a kernel
/// [height, width, filters / groups, channels], added up where these overlap, plus a bias. A side
/// of n gives (n - 1) * stride + (kernel - 1) * dilation + 1, less the border, plus
/// `output_padding`; with Padding::same n * stride. Source: torch.nn.ConvTranspose2d, and
/// keras.layers.Conv2DTranspose, whose kernels these are.
Output conv2d_transpose(Output x, Conv2dTransposeOptions options,
                        std::string_view name = "conv2d_transpose",
                        SourceLocation where = SourceLocation::current());

enum class Interpolation : std::uint8_t { nearest, bilinear };
struct Upsample2dOptions {
  Pair factor = 2;
  Layout layout = Layout::nhwc;
  Interpolation interpolation = Interpolation::nearest;
};
/// x, images of a known number of channels, with `factor` times as many pixels down and right:
/// each pixel repeated, or what lies between the centres of two, and beyond the outermost these
/// themselves. Source: keras.layers.UpSampling2D, torch.nn.Upsample without align_corners.
Output upsample2d(Output x, Upsample2dOptions options = {}, std::string_view name = "upsample2d",
                  SourceLocation where = SourceLocation::current());

struct Pool2dOptions {
  /// The same as the convolution's before it: which axes are height and width cannot be seen in
  /// the shape.
  Layout layout = Layout::nhwc;
  Pair window = 2;
  std::optional<Pair> strides = {};  ///< none: as the window, so that windows do not overlap
  Padding padding = Padding::valid;
  Border border = {};  ///< with Padding::explicit_ alone
};
/// The largest element of each window of x, [N,H,W,C] or, with Layout::nchw, [N,C,H,W].
/// Source: keras.layers.MaxPooling2D.
Output max_pool2d(Output x, Pool2dOptions options = {}, std::string_view name = "max_pool2d",
                  SourceLocation where = SourceLocation::current());
/// `window` alone, of images [N,H,W,C].
Output max_pool2d(Output x, Pair window, std::string_view name = "max_pool2d",
                  SourceLocation where = SourceLocation::current());
/// The mean of each window of x, as max_pool2d; padding does not count.
/// Source: keras.layers.AveragePooling2D.
Output avg_pool2d(Output x, Pool2dOptions options = {}, std::string_view name = "avg_pool2d",
                  SourceLocation where = SourceLocation::current());
/// `window` alone, of images [N,H,W,C].
Output avg_pool2d(Output x, Pair window, std::string_view name = "avg_pool2d",
                  SourceLocation where = SourceLocation::current());
/// x [N, ...] as [N, everything else]. Source: keras.layers.Flatten.
Output flatten(Output x, std::string_view name = "flatten",
               SourceLocation where = SourceLocation::current());
/// x with each element 0 with probability `rate`, in [0, 1), else divided by 1 - rate, while
/// `training` is true; x itself while it is not. Source: Srivastava et al. 2014.
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
  /// The train ops of `minimize` and `apply` run it.
  Output update;
};
class BatchNorm : public Module {
 public:
  explicit BatchNorm(BatchNormOptions options, std::string_view name = "batch_norm");
  /// See batch_norm. Only the first application moves the running averages: the others' `update`
  /// is empty.
  BatchNormResult operator()(Output x, SourceLocation where = SourceLocation::current()) const;

 private:
  BatchNormOptions options_;
};
/// x normalised over all axes but `axis`, of known size, times a scale, plus an offset: by the
/// batch's mean and variance while training, else by their running averages, which are float32
/// where x has 16 bits. Source: Ioffe and Szegedy 2015; defaults of
/// keras.layers.BatchNormalization.
BatchNormResult batch_norm(Output x, BatchNormOptions options,
                           std::string_view name = "batch_norm",
                           SourceLocation where = SourceLocation::current());

class LayerNorm : public Module {
 public:
  explicit LayerNorm(double epsilon = 1e-5, std::string_view name = "layer_norm");
  /// See layer_norm.
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const;

 private:
  double epsilon_;
};
/// x normalised over its last axis, of known size, times a scale, plus an offset. Source: Ba et
/// al. 2016.
Output layer_norm(Output x, double epsilon = 1e-5, std::string_view name = "layer_norm",
                  SourceLocation where = SourceLocation::current());

class RmsNorm : public Module {
 public:
  explicit RmsNorm(double epsilon = 1e-6, std::string_view name = "rms_norm");
  /// See rms_norm.
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const;

 private:
  double epsilon_;
};
/// x divided by the square root of the mean of its squares plus `epsilon` over its last axis, of
/// known size, times a scale; the mean is float32 where x has 16 bits. Source: Zhang and Sennrich
/// 2019, torch.nn.RMSNorm.
Output rms_norm(Output x, double epsilon = 1e-6, std::string_view name = "rms_norm",
                SourceLocation where = SourceLocation::current());

struct GroupNormOptions {
  std::int64_t groups = 32;
  double epsilon = 1e-5;
  /// Of the channels: -1 of images [N,H,W,C], 1 of [N,C,H,W]. Not 0.
  std::int64_t axis = -1;
};
class GroupNorm : public Module {
 public:
  explicit GroupNorm(GroupNormOptions options = {}, std::string_view name = "group_norm");
  /// See group_norm.
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const;

 private:
  GroupNormOptions options_;
};
/// Each sample of x normalised over each group of channels, whose number is known, and all else,
/// times a scale, plus an offset of each channel. With one group for each channel this is
/// instance normalisation. Source: Wu and He 2018; torch.nn.GroupNorm.
Output group_norm(Output x, GroupNormOptions options = {}, std::string_view name = "group_norm",
                  SourceLocation where = SourceLocation::current());

class Embedding : public Module {
 public:
  Embedding(std::int64_t vocabulary, std::int64_t dimension, DType dtype = float32,
            std::string_view name = "embedding");
  /// See embedding.
  Output operator()(Output ids, SourceLocation where = SourceLocation::current()) const;

 private:
  std::int64_t vocabulary_, dimension_;
  DType dtype_;
};
/// Rows of a table [vocabulary, dimension] of `dtype` at `ids` (int32 or int64, of any shape):
/// one more axis. An id outside [0, vocabulary) throws RunError in a run. Source:
/// keras.layers.Embedding.
Output embedding(Output ids, std::int64_t vocabulary, std::int64_t dimension,
                 DType dtype = float32, std::string_view name = "embedding",
                 SourceLocation where = SourceLocation::current());

/// Layers one after the other: modules, gg::relu and the like, lambdas. Of a result of several,
/// as batch_norm's and Lstm's, `output` or `outputs` goes on.
///
///     const gg::nn::Sequential model = {gg::nn::Dense({.units = 64}), gg::relu,
///                                       gg::nn::Dense({.units = 10})};
///     const auto logits = model(x);
class Sequential {
 public:
  Sequential(std::initializer_list<UnaryFunction> layers) : layers_(layers) {}
  void add(UnaryFunction layer) { layers_.push_back(std::move(layer)); }
  /// Throws BuildError, with its position, for a layer that is empty or gives an empty Output.
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const;
  /// Those of its modules, each once, and of what else has a function like this: lambdas and most
  /// structs of layers have none. Throws BuildError as Module::variables.
  std::vector<Output> variables(SourceLocation where = SourceLocation::current()) const;

 private:
  std::vector<UnaryFunction> layers_;
};

}  // namespace nn

/// The table of layers: a row per scope that a layer made, with output shape and number of
/// parameters, then the totals.
std::string summary(const Graph& graph);

}  // namespace gradgraph
