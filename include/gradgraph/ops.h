#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/linalg.h"
#include "gradgraph/operands.h"

/// The ops, but for those of matrices (linalg.h): one front function each. They add a node to the
/// graph of their inputs and throw BuildError, with op, node, shapes and the caller's line, when
/// the inputs do not fit.
///
/// Some ops refuse values that only a run knows, such as an index out of range. A run throws for
/// such a value in every op whose value its fetches need, whatever passes make of the graph, and
/// leaves every variable as it was. Who reads but a shape (shape_of, zeros_like, ones_like) does
/// not need the value.
namespace gradgraph GRADGRAPH_API {

// --- Sources -----------------------------------------------------------------------------------

/// A value of `dtype` and `shape` that every run feeds. Dimensions may be `gg::any`. A run that
/// needs it and does not feed it throws RunError. Source: tf.placeholder (TensorFlow 1).
Output placeholder(Graph& graph, DType dtype, const Shape& shape, std::string_view name = {},
                   Where where = Where::current());
/// `value` itself, with its dtype and shape. Source: tf.constant.
///
/// Keeps a copy of it, unless nobody else has it: what is written to the caller's tensor
/// later does not change the constant, nor a variable's initial value.
Output constant(Graph& graph, Tensor value, std::string_view name = {},
                Where where = Where::current());
/// A value that each Session keeps from run to run. Without `initial_value` it must be set before
/// it is read (RunError otherwise). Shape fully known. Source: tf.Variable (TensorFlow 1).
Output variable(Graph& graph, DType dtype, const Shape& shape, std::string_view name = {},
                Where where = Where::current());
/// The same with the dtype, shape and first value of `initial_value`, which may read other
/// variables' first values; a Tensor's is copied as a constant's is.
Output variable(Output initial_value, std::string_view name = {}, Where where = Where::current());
Output variable(Graph& graph, Tensor initial_value, std::string_view name = {},
                Where where = Where::current());
/// All variables of the graph, in the order in which they were made: weights, what layers track
/// and optimisers keep; or those whose names fit a pattern, in which "*" stands for any text and
/// "?" for a character: "encoder/*". Throws BuildError for a pattern that fits none.
std::vector<Output> variables(Graph& graph, std::string_view pattern = "*",
                              Where where = Where::current());
/// Those of them that training moves by gradients: floating ones that no layer moves itself
/// (batch_norm's running mean) and no optimiser made. Others are frozen where an optimiser is
/// given what some pattern fits: `minimize(loss, gg::trainable_variables(graph, "head/*"))`.
/// Source: tf.trainable_variables.
std::vector<Output> trainable_variables(Graph& graph, std::string_view pattern = "*",
                                        Where where = Where::current());
/// `variable` takes `value`, of its shape and dtype, at the end of the step: every read in the
/// same run sees the old value unless a control input puts it after. The output is the new value.
/// Throws BuildError for what is no variable. Source: tf.assign.
Output assign(Output variable, Operand value, Where where = Where::current());
/// The same for `variable` + delta and `variable` - delta, of the variable's shape and dtype.
/// Source: tf.assign_add, tf.assign_sub.
Output assign_add(Output variable, Operand delta, Where where = Where::current());
Output assign_sub(Output variable, Operand delta, Where where = Where::current());
/// An op without a value that runs after all of `ops`. Fetch it to run them. Source: tf.group.
Output group(Graph& graph, const std::vector<Output>& ops, std::string_view name = {},
             Where where = Where::current());

// --- Element by element, with NumPy broadcasting -----------------------------------------------
//
// Two operands have one dtype, and shapes that broadcast by NumPy's rules; the result has their
// dtype and the broadcast shape, or x's own. BuildError for dtypes that an op does not take.
//
// exp, log and the like are at most 2 units in the last place off over the whole range, with
// the special values of C's Annex F. sin and cos take angles of any size.

/// a + b, a - b, a * b, of float32, float64, int32, int64 or uint8. Integers wrap.
/// Source: numpy.add, subtract, multiply.
Output add(Operand a, Operand b, Where where = Where::current());
Output sub(Operand a, Operand b, Where where = Where::current());
Output mul(Operand a, Operand b, Where where = Where::current());
/// a / b, of the dtypes of `add`. Integers divide as in C++, towards zero; an integer division by
/// zero throws RunError in a run. Source: tf.truediv of floats, tf.truncatediv of integers.
Output div(Operand a, Operand b, Where where = Where::current());
/// base to the power of exponent, of the dtypes of `add`. An integer to a negative power throws
/// RunError in a run. Source: numpy.power, C's pow.
Output pow(Operand base, Operand exponent, Where where = Where::current());
/// The larger or smaller of two, of the dtypes of `add`; NaN wins, and equal operands share the
/// gradient. Source: numpy.maximum, minimum.
Output maximum(Operand a, Operand b, Where where = Where::current());
Output minimum(Operand a, Operand b, Where where = Where::current());
/// What relu passes back: 0 where `y`, its output, is 0 or less, else `grad`. Of float32 or
/// float64. Source: TensorFlow's ReluGrad.
Output relu_grad(Operand y, Operand grad, Where where = Where::current());

/// -x, of the dtypes of `add`. Source: numpy.negative.
Output neg(Output x, Where where = Where::current());
/// e to the power of x. Of a floating dtype, as all functions down to `sigmoid` but for square,
/// abs, sign and relu. Source: C's exp, numpy.exp.
Output exp(Output x, Where where = Where::current());
/// exp(x) - 1, without loss for small x. Source: C's expm1, numpy.expm1.
Output expm1(Output x, Where where = Where::current());
/// The natural logarithm; -infinity at 0, NaN below. Source: C's log, numpy.log.
Output log(Output x, Where where = Where::current());
/// log(1 + x), without loss for small x. Source: C's log1p, numpy.log1p.
Output log1p(Output x, Where where = Where::current());
/// The square root, rounded correctly; NaN below 0. Source: IEEE 754, numpy.sqrt.
Output sqrt(Output x, Where where = Where::current());
/// 1 / sqrt(x). Source: tf.math.rsqrt.
Output rsqrt(Output x, Where where = Where::current());
/// x * x and |x|, of the dtypes of `add`. Source: numpy.square, absolute.
Output square(Output x, Where where = Where::current());
Output abs(Output x, Where where = Where::current());
/// -1, 0 or 1 in x's dtype, one of `add`; NaN stays NaN. The gradient is zero. Source:
/// numpy.sign.
Output sign(Output x, Where where = Where::current());
/// The integer below, above, and the nearest one (halves go to the even neighbour); the gradient
/// is zero. Of a floating dtype. Source: numpy.floor, ceil, rint.
Output floor(Output x, Where where = Where::current());
Output ceil(Output x, Where where = Where::current());
Output round(Output x, Where where = Where::current());
/// max(x, 0), of the dtypes of `add`; NaN stays, and the gradient at 0 is 0.
/// Source: Nair and Hinton 2010, tf.nn.relu.
Output relu(Output x, Where where = Where::current());
/// The same, but 6 at most. Source: Krizhevsky 2010, torch.nn.functional.relu6.
Output relu6(Output x, Where where = Where::current());
inline constexpr double kLeakyReluSlope = 0.01, kEluAlpha = 1;  ///< unless another is given
/// x where x > 0, else slope * x. Of a floating dtype. Source: Maas et al. 2013.
Output leaky_relu(Output x, double slope = kLeakyReluSlope, Where where = Where::current());
/// x where x > 0, else alpha * (exp(x) - 1). Of a floating dtype. Source: Clevert et al. 2015.
Output elu(Output x, double alpha = kEluAlpha, Where where = Where::current());
/// log(1 + exp(x)), a smooth relu, which does not overflow. Of a floating dtype. Source:
/// tf.math.softplus.
Output softplus(Output x, Where where = Where::current());
/// x * sigmoid(x), also called swish. Source: Ramachandran et al. 2017.
Output silu(Output x, Where where = Where::current());
/// x times the normal distribution up to x: x * (1 + erf(x / sqrt(2))) / 2, or `approximate`, by
/// tanh, as older models have it. Of a floating dtype. Source: Hendrycks and Gimpel 2016.
Output gelu(Output x, bool approximate = false, Where where = Where::current());
/// 1 / (1 + exp(-x)), which does not overflow. Source: tf.sigmoid, torch.sigmoid.
Output sigmoid(Output x, Where where = Where::current());
/// The hyperbolic tangent. Source: C's tanh, numpy.tanh.
Output tanh(Output x, Where where = Where::current());
/// The error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.
/// Source: C's erf.
Output erf(Output x, Where where = Where::current());
/// Of an angle in radians. Source: C's sin and cos, numpy.sin, cos.
Output sin(Output x, Where where = Where::current());
Output cos(Output x, Where where = Where::current());

/// Comparisons of any dtype give booleans, but booleans have no order; with NaN all but not_equal
/// are false. Source: IEEE 754, numpy.equal, less and their like.
Output equal(Operand a, Operand b, Where where = Where::current());
Output not_equal(Operand a, Operand b, Where where = Where::current());
Output less(Operand a, Operand b, Where where = Where::current());
Output less_equal(Operand a, Operand b, Where where = Where::current());
Output greater(Operand a, Operand b, Where where = Where::current());
Output greater_equal(Operand a, Operand b, Where where = Where::current());
/// And, or, not, of booleans. Source: numpy.logical_and, logical_or, logical_not.
Output logical_and(Operand a, Operand b, Where where = Where::current());
Output logical_or(Operand a, Operand b, Where where = Where::current());
Output logical_not(Output x, Where where = Where::current());
/// A boolean for each element of x, of a floating dtype. Source: numpy.isnan.
Output is_nan(Output x, Where where = Where::current());
/// min(max(x, low), high): x between two bounds, which broadcast with it. NaN stays. Where x lies
/// on a bound it has the gradient. Source: numpy.clip, tf.clip_by_value.
Output clip(Output x, Operand low, Operand high, Where where = Where::current());
/// a + t * (b - a), exact at t = 0 and t = 1; the three broadcast together. Of float32 or
/// float64. Source: torch.lerp.
Output lerp(Output a, Output b, Operand t, Where where = Where::current());
/// `a` where `condition` (boolean) holds, else `b`; the three broadcast together. Both are
/// calculated everywhere: see `apply_where` for functions that are not defined everywhere. Of any
/// dtype, the same for both. Source: numpy.where.
Output where(Output condition, Operand a, Operand b, Where location = Where::current());
/// `function(x)` where `condition` (boolean, of x's shape or broadcast to it) holds, else
/// `otherwise`. Where it does not hold, the function sees `stand_in` instead of x, so that no NaN
/// or infinity of the branch that is not taken reaches the gradient, as it does in
/// `where(x > 0, log(x), 0)`: docs/ops.md. Throws BuildError for an empty result of the function.
/// Source: array-api-extra's apply_where.
Output apply_where(Output condition, Output x, const UnaryFunction& function, Operand otherwise,
                   Operand stand_in = 1, Where location = Where::current());
/// x in another dtype, converted as C++ does; to boolean: "is not zero". A float beyond an
/// integer's range saturates, NaN becomes 0. Source: tf.cast, tf.dtypes.saturate_cast.
Output cast(Output x, DType dtype, Where where = Where::current());

// --- Reductions --------------------------------------------------------------------------------

/// The sum, mean or product over `axes`, which the result lacks or, with `keep_dims`, has with
/// size 1. Of float32, float64 and, but for the mean, int32 and int64, whose sums wrap. Of no
/// elements the sum is 0, the product 1, the mean NaN. BuildError for an axis out of range or
/// named twice. Source: numpy.sum, mean, prod.
Output sum(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
Output mean(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
Output prod(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
/// The largest or smallest element over `axes`, also of uint8; BuildError, or RunError in a run,
/// where there are no elements. NaN wins, and is all elements' gradient; else equal maxima share
/// the gradient evenly. Source: numpy.max, min; tf.reduce_max's gradient.
Output max(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
Output min(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
/// log(sum(exp(x))), without overflow; of a floating dtype. Of -inf alone it is -inf, and the
/// gradient 0; of no elements it throws, as max does. Where all but one element are so small that
/// they do not change a float's last digit beside the largest, their share is lost. Source:
/// TensorFlow's reduce_logsumexp.
Output logsumexp(Output x, Axes axes = {}, bool keep_dims = false,
                 Where where = Where::current());
/// The variance: the mean of squared distances from the mean, or with `correction` c their sum
/// divided by n - c: 1 estimates it from a sample. NaN where n is not above the correction;
/// of a floating dtype. Source: the array API's var.
Output var(Output x, Axes axes = {}, bool keep_dims = false, double correction = 0,
           Where where = Where::current());
/// The standard deviation, the square root of `var`. Where that is 0, as of equal elements, so is
/// the gradient. Source: the array API's std.
Output stddev(Output x, Axes axes = {}, bool keep_dims = false, double correction = 0,
              Where where = Where::current());
/// Whether any, or all, of x (boolean) are true; of no elements false, and true.
/// Source: numpy.any, all.
Output any_of(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
Output all_of(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
/// The index (int64) of the first largest or smallest element along `axis`, of the dtypes of
/// `max`; NaN wins. No gradient. Source: numpy.argmax, argmin.
Output argmax(Output x, std::int64_t axis, bool keep_dims = false,
              Where where = Where::current());
Output argmin(Output x, std::int64_t axis, bool keep_dims = false,
              Where where = Where::current());

struct CumulativeOptions {
  /// Each result leaves its own element out, and the first is that of no elements.
  bool exclusive = false;
  bool reverse = false;  ///< goes from the end of the axis
};
/// The sums, or products, of all elements up to each one along `axis`: float32 (calculated in
/// float64), float64, int32, int64 or uint8; integers wrap around. Gradients of any order are
/// right at zeros. Source: TensorFlow's cumsum and cumprod, ONNX CumSum.
Output cumsum(Output x, std::int64_t axis, CumulativeOptions options = {},
              Where where = Where::current());
Output cumprod(Output x, std::int64_t axis, CumulativeOptions options = {},
               Where where = Where::current());
/// y[i] = a[i] * y[i - 1] + b[i] along `axis`, from y[-1] = 0 on: `a` and `b` have one shape, and
/// are float32 (calculated in float64) or float64. Exclusive, it gives y[i - 1].
/// Source: Blelloch 1990, "first-order recurrences".
Output linear_recurrence(Output a, Output b, std::int64_t axis, CumulativeOptions options = {},
                         Where where = Where::current());

/// The indices (int64) that sort x along `axis`. Equal elements keep their order, also where the
/// largest comes first; NaN counts as larger than all numbers. No gradient. Source: the array
/// API's argsort.
Output argsort(Output x, std::int64_t axis = -1, bool descending = false,
               Where where = Where::current());
/// x in the order of `argsort`. Each element's gradient goes to where it came from.
/// Source: the array API's sort.
Output sort(Output x, std::int64_t axis = -1, bool descending = false,
            Where where = Where::current());
struct TopK {
  Output values, indices;
};
/// The first `k` along `axis` of `sort` and `argsort` with the largest first: NaN before all
/// numbers, of equal ones the first. BuildError where the axis has fewer than k elements, or a
/// run's error where only that knows. Source: ONNX TopK.
TopK top_k(Output x, std::int64_t k, std::int64_t axis = -1, Where where = Where::current());

// --- Neural networks ---------------------------------------------------------------------------

enum class Padding : std::uint8_t { valid, same, explicit_ };
enum class Layout : std::uint8_t { nhwc, nchw };
/// Two extents, height and width; one number means both.
struct Pair {
  std::int64_t height = 1, width = 1;
  Pair(std::int64_t both) : height(both), width(both) {}  // NOLINT: implicit
  Pair(std::int64_t h, std::int64_t w) : height(h), width(w) {}
};
/// Zeros around an image, with Padding::explicit_ alone; BuildError with another.
struct Border {
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;

  /// The same on all sides: `.padding = gg::Padding::explicit_, .border = gg::Border::all(1)`.
  static constexpr Border all(std::int64_t size) { return {size, size, size, size}; }
  bool operator==(const Border&) const = default;
};
struct Conv2dOptions {
  Pair strides = 1;
  Padding padding = Padding::valid;
  Border border = {};
  Pair dilations = 1;
  std::int64_t groups = 1;
  Layout layout = Layout::nhwc;
};
/// Cross-correlation, as TensorFlow's and ONNX's convolution. `x` is [N,H,W,C] or [N,C,H,W],
/// `filter` [height, width, C / groups, filters] for both layouts.
/// Padding::same gives ceil(size / stride), with the odd row or column at the end. Of float32 or
/// float64. BuildError for channels that do not fit and for a window larger than the image.
/// Source: tf.nn.conv2d.
Output conv2d(Output x, Output filter, Conv2dOptions options = {},
              Where where = Where::current());
/// The gradient of conv2d by its input, whose shape is `input_shape`: a transposed convolution.
/// Source: tf.nn.conv2d_transpose, TensorFlow's Conv2DBackpropInput.
Output conv2d_input_grad(IntVector input_shape, Output filter, Output grad,
                         Conv2dOptions options = {}, Where where = Where::current());
/// The gradient of conv2d by its filter, whose shape is `filter_shape`. Source: TensorFlow's
/// Conv2DBackpropFilter.
Output conv2d_filter_grad(Output x, IntVector filter_shape, Output grad,
                          Conv2dOptions options = {}, Where where = Where::current());

struct Pool2dOptions {
  Pair window = 2;
  Pair strides = 2;
  Padding padding = Padding::valid;
  Border border = {};
  Layout layout = Layout::nhwc;
};
/// The largest element of each window of x, [N,H,W,C] or [N,C,H,W]; padding never wins. Ties go
/// to the first, NaN wins. Of a floating dtype. Source: tf.nn.max_pool2d.
Output max_pool2d(Output x, Pool2dOptions options = {}, Where where = Where::current());
/// Sends each element of `grad`, of the pool's shape, to the maximum of its window of `x`.
/// Source: TensorFlow's MaxPoolGrad.
Output max_pool2d_grad(Output x, Output grad, Pool2dOptions options = {},
                       Where where = Where::current());
/// Picks from `values`, of x's shape, what stands where each window of `x` has its maximum: the
/// gradient of max_pool2d_grad by `grad`. Source: TensorFlow's MaxPoolGradGrad.
Output max_pool2d_pick(Output x, Output values, Pool2dOptions options = {},
                       Where where = Where::current());
/// The mean of each window of x, as max_pool2d; padding does not count.
/// Source: tf.nn.avg_pool2d.
Output avg_pool2d(Output x, Pool2dOptions options = {}, Where where = Where::current());
/// Spreads each element of `grad` over its window of an image of `input_shape`.
/// Source: TensorFlow's AvgPoolGrad.
Output avg_pool2d_grad(IntVector input_shape, Output grad, Pool2dOptions options = {},
                       Where where = Where::current());

/// `bias`, one number a channel, added along the channel axis of `x`: the last, or with nchw the
/// second. Of float32, float64, int32 or int64. Source: tf.nn.bias_add.
Output bias_add(Output x, Output bias, Layout layout = Layout::nhwc,
                Where where = Where::current());
/// exp(x) divided by its sum along `axis`, and the logarithm of that, which do not overflow. Of
/// a floating dtype. Source: tf.nn.softmax, log_softmax.
Output softmax(Output x, std::int64_t axis = -1, Where where = Where::current());
Output log_softmax(Output x, std::int64_t axis = -1, Where where = Where::current());
/// (x - mean) / sqrt(variance + epsilon) along the last axis. Of a floating dtype. Source:
/// jax.nn.standardize.
Output standardize(Output x, double epsilon = 1e-5, Where where = Where::current());
/// What standardize passes back to `x`, given `grad`, of x's shape. Source: PyTorch's
/// native_layer_norm_backward.
Output standardize_grad(Output x, Output grad, double epsilon = 1e-5,
                        Where where = Where::current());
/// One loss a row: `logits` [..., classes], `labels` [..., classes] of any sum, usually 1.
/// Of a floating dtype. Source: tf.nn.softmax_cross_entropy_with_logits.
Output softmax_cross_entropy(Output logits, Output labels, Where where = Where::current());
/// One loss a row: `logits` [..., classes], `labels` [...] of int32 or int64 class numbers. A
/// label outside [0, classes) throws RunError in a run, in that of the gradient alone as well.
/// Source: tf.nn.sparse_softmax_cross_entropy_with_logits.
Output sparse_softmax_cross_entropy(Output logits, Output labels, Where where = Where::current());
/// The same with `label_smoothing` s in [0, 1]: labels are taken times 1 - s, plus s times their
/// mean over the classes. Source: Keras' CategoricalCrossentropy.
Output softmax_cross_entropy(Output logits, Output labels, double label_smoothing,
                             Where where = Where::current());
struct SparseLossOptions {
  /// Rows with this label have the loss 0 and no gradient, whatever their logits are. Any other
  /// label out of range throws.
  std::optional<std::int64_t> ignored_label = {};
  /// s in [0, 1]: the loss is 1 - s of that of the label, plus s of the mean over all classes.
  double label_smoothing = 0;
};
/// The same with ignored rows and smoothed labels. A mean over all rows counts ignored ones; that
/// over the others is sum(loss) / maximum(n, 1) with n of them, 0 where all are ignored. Source:
/// PyTorch's cross_entropy.
Output sparse_softmax_cross_entropy(Output logits, Output labels, SparseLossOptions options,
                                    Where where = Where::current());
/// -labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits)) element by element,
/// accurate for all finite logits. Labels have the logits' shape (a known one that differs throws
/// BuildError), or none, one for all. Source: TensorFlow's sigmoid_cross_entropy_with_logits.
Output sigmoid_cross_entropy(Output logits, Output labels, Where where = Where::current());
/// The square of what predictions lie beside targets, and its size, element by element; of a
/// floating dtype. Targets have the predictions' shape (a known one that differs throws
/// BuildError), or none, one for all. Source: keras.losses.
Output squared_error(Output predictions, Operand targets, Where where = Where::current());
Output absolute_error(Output predictions, Operand targets, Where where = Where::current());
/// The same, half the square up to a distance of `delta`, beyond it on along the tangent. Source:
/// Huber 1964.
Output huber_loss(Output predictions, Operand targets, double delta = 1,
                  Where where = Where::current());
/// 0 with probability `rate`, else 1 / (1 - rate); all 1 while `training` (a boolean scalar) is
/// false. `rate` in [0, 1). Of a floating dtype. Source: Srivastava et al. 2014.
Output dropout_mask(IntVector shape, DType dtype, double rate, Output training,
                    Where where = Where::current());
/// x * dropout_mask: keeps the mean. Source: tf.nn.dropout.
Output dropout(Output x, double rate, Output training, Where where = Where::current());

// --- Random numbers: Philox 4x32-10, keyed by session seed, node name and step ----------------

/// Uniform in [low, high). Of a floating dtype, as all that follow. BuildError for bounds that
/// are no interval. Source: Salmon et al. 2011 for the generator, tf.random.uniform.
Output random_uniform(Graph& graph, IntVector shape, DType dtype = float32, double low = 0,
                      double high = 1, Where where = Where::current());
/// A normal distribution, by the method of Box and Muller. BuildError for a negative stddev.
/// Source: tf.random.normal.
Output random_normal(Graph& graph, IntVector shape, DType dtype = float32, double mean = 0,
                     double stddev = 1, Where where = Where::current());
/// A normal distribution cut off at two standard deviations. Source: tf.random.truncated_normal.
Output truncated_normal(Graph& graph, IntVector shape, DType dtype = float32, double mean = 0,
                        double stddev = 1, Where where = Where::current());

/// One draw along `axis` of `logits`: an index (int64), with the probabilities softmax(logits)
/// along it; -inf is never drawn beside a finite one. By the Gumbel trick: uniform numbers of the
/// logits' dtype, so float32 draws no class that is less likely than 1e-7 as often as it should.
/// No gradient. Source: JAX's random.categorical.
Output categorical(Output logits, std::int64_t axis = -1, Where where = Where::current());

// --- Shapes and moving data -------------------------------------------------------------------
//
// Of any dtype, where nothing else is said. BuildError for what does not fit as far as it is
// known while building, RunError for the rest. Negative axes count from the end.

/// x's elements in their order under another shape. At most one dimension of `shape` may be -1:
/// what is left over. Source: numpy.reshape.
Output reshape(Output x, IntVector shape, Where where = Where::current());
/// [N, ...] as [N, everything else]. Source: torch.flatten from axis 1 on.
Output flatten(Output x, Where where = Where::current());
/// Axis i of the result is axis `permutation[i]` of x; without one the axes are reversed.
/// Source: numpy.transpose.
Output transpose(Output x, std::vector<std::int64_t> permutation = {},
                 Where where = Where::current());
/// The parts one after the other along `axis`; their other axes, and their dtypes, agree.
/// Source: numpy.concatenate.
Output concat(const std::vector<Output>& parts, std::int64_t axis,
              Where where = Where::current());
/// Parts of one shape as layers along a new axis of the result. Source: NumPy's stack.
Output stack(const std::vector<Output>& parts, std::int64_t axis = 0,
             Where where = Where::current());
/// Parts of the given sizes along `axis`; their sum must be the axis' size. Source: torch.split.
std::vector<Output> split(Output x, std::vector<std::int64_t> sizes, std::int64_t axis,
                          Where where = Where::current());
/// x without `axis`, once for each of its elements, whose number is known. Source: tf.unstack.
std::vector<Output> unstack(Output x, std::int64_t axis = 0, Where where = Where::current());
/// `size` elements from `begin` on each axis; a size of -1 means up to the end. Source:
/// tf.slice.
Output slice(Output x, IntVector begin, IntVector size, Where where = Where::current());
/// x with the order along `axes` reversed; all by default. Source: numpy.flip.
Output flip(Output x, Axes axes = {}, Where where = Where::current());
/// begin:end:step along an axis as in Python: negative indices count from the end, those beyond
/// it are cut off, and what is left out goes as far as the axis does. A negative step goes
/// backwards.
struct Slice {
  std::optional<std::int64_t> begin = {}, end = {};
  std::int64_t step = 1;
};
/// x[slices]: one slice for each of the first axes, the others whole. A step of 0, or more slices
/// than axes, is a BuildError. Source: NumPy's basic slicing.
Output strided_slice(Output x, const std::vector<Slice>& slices, Where where = Where::current());
/// Zeros of `shape`, with `grad` where strided_slice takes its elements from. Source:
/// TensorFlow's StridedSliceGrad.
Output strided_slice_grad(IntVector shape, Output grad, const std::vector<Slice>& slices,
                          Where where = Where::current());
/// `count` numbers (a vector of one): start, start + step, ... Integers must be whole numbers
/// that fit; floats are calculated in float64. No gradient. Source: tf.range.
Output range(Graph& graph, IntVector count, DType dtype = int64, Number start = 0,
             Number step = 1, Where where = Where::current());
/// start, start + step, ... up to `limit`, which is left out. Source: NumPy's arange.
Output arange(Graph& graph, Number start, Number limit, Number step = 1, DType dtype = int64,
              Where where = Where::current());
/// Element i of the result's axis is x's at indices[i], each in its own row: `indices` (int32 or
/// int64) has x's extents but along `axis`. An index outside [0, size) throws RunError in a run.
/// Source: NumPy's take_along_axis.
Output take_along_axis(Output x, Output indices, std::int64_t axis,
                       Where where = Where::current());
/// The reverse: zeros of `shape`, with `updates` added up along `axis` at `indices`, which have
/// the updates' shape. Source: torch.scatter_add.
Output add_along_axis(IntVector shape, Output indices, Output updates, std::int64_t axis,
                      Where where = Where::current());
/// Slices of `x` along `axis` at `indices` (int32 or int64); the result's shape has the indices'
/// in place of the axis. An index outside [0, size) throws RunError in a run, in that of the
/// gradient alone as well. Source: numpy.take, tf.gather.
Output gather(Output x, Output indices, std::int64_t axis = 0, Where where = Where::current());
/// The reverse of gather: zeros of `shape`, with `updates` added up along `axis` at `indices`. An
/// index outside [0, shape[axis]) throws RunError in a run. Of all dtypes but boolean. Source:
/// tf.math.unsorted_segment_sum.
Output scatter_add(IntVector shape, Output indices, Output updates, std::int64_t axis = 0,
                   Where where = Where::current());
/// `indices` (int32, int64 or uint8) as they are; one outside [0, size) throws RunError in a run.
/// Source: jax's checkify.index_checks.
Output check_indices(Output indices, std::int64_t size, Where where = Where::current());
/// A last axis of `depth` that holds 1 at the index and 0 elsewhere; of an index out of range, 0
/// (`check_indices` refuses these). Indices int32, int64 or uint8. No gradient.
/// Source: tf.one_hot.
Output one_hot(Output indices, std::int64_t depth, DType dtype = float32,
               Where where = Where::current());
/// `before[i]` and `after[i]` elements of `value`, which must be one of x's dtype, around axis i.
/// Source: numpy.pad, with constant values.
Output pad(Output x, IntVector before, IntVector after, Number value = 0,
           Where where = Where::current());
/// x repeated `multiples[i]` times along axis i. Source: tf.tile.
Output tile(Output x, IntVector multiples, Where where = Where::current());
/// x with another axis of size 1, which is `axis` of the result. Source: numpy.expand_dims.
Output expand_dims(Output x, std::int64_t axis, Where where = Where::current());
/// Drops `axes`, which must have size 1; a default Axes drops all known to be 1.
/// Source: numpy.squeeze.
Output squeeze(Output x, Axes axes = {}, Where where = Where::current());
/// x repeated to `shape`, by NumPy's rules. Source: numpy.broadcast_to.
Output broadcast_to(Output x, IntVector shape, Where where = Where::current());
/// The reverse of broadcast_to: x summed down to `shape`. The gradient of broadcasting. Of the
/// dtypes of `sum`. Source: torch.Tensor.sum_to_size.
Output sum_to(Output x, IntVector shape, Where where = Where::current());
/// The shape as an int64 vector. No gradient. Source: tf.shape.
Output shape_of(Output x, Where where = Where::current());
/// `value`, a scalar, in every element of a tensor of `shape`. Source: tf.fill.
Output fill(IntVector shape, Output value, Where where = Where::current());
/// Zeros or ones of x's dtype and shape. Source: numpy.zeros_like, ones_like.
Output zeros_like(Output x, Where where = Where::current());
Output ones_like(Output x, Where where = Where::current());
/// x under another name. Source: tf.identity.
Output identity(Output x, std::string_view name = {}, Where where = Where::current());
/// x, through which no gradient flows. Source: tf.stop_gradient.
Output stop_gradient(Output x, Where where = Where::current());

// --- Control flow -----------------------------------------------------------------------------

/// What `then_branch` gives where `predicate` holds, a boolean of rank 0, else what `else_branch`
/// gives: `cond(less(x, 0.f), [&] { return exp(x); }, [&] { return x + 1.f; })`. Both functions
/// are called once, now, and build with ordinary ops; a run computes one branch, and an op of the
/// other cannot fail. Their results agree in number, dtypes and shapes (unknown dimensions in the
/// run). They may read all that was made before, which is computed in any case, and update no
/// variable; variables that they make are the graph's. Nothing outside reads what belongs to a
/// branch but its results. Branches run on the host. Gradients compute a branch again, and are
/// zeros for what it does not use. Throws BuildError. Source: jax.lax.cond, tf.cond.
std::vector<Output> cond(Output predicate,
                         const std::function<std::vector<Output>()>& then_branch,
                         const std::function<std::vector<Output>()>& else_branch,
                         Where where = Where::current());
/// The same for branches of one result.
Output cond(Output predicate, const std::function<Output()>& then_branch,
            const std::function<Output()>& else_branch, Where where = Where::current());

// --- Operators --------------------------------------------------------------------------------

/// add, sub, mul, div and neg of an Output and an Output, a number or a Tensor.
inline Output operator+(Operand a, Operand b) { return add(a, b, a.where()); }
inline Output operator-(Operand a, Operand b) { return sub(a, b, a.where()); }
inline Output operator*(Operand a, Operand b) { return mul(a, b, a.where()); }
inline Output operator/(Operand a, Operand b) { return div(a, b, a.where()); }
inline Output operator-(Operand a) { return neg(a.output(), a.where()); }

}  // namespace gradgraph
