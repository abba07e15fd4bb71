#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "gradgraph/graph.h"

/// The ops: one front function each. They add a node to the graph of their inputs and throw
/// BuildError, with op, node, shapes and the caller's line, when the inputs do not fit.
///
/// Some ops refuse values that only a run knows, such as an index out of range. A run throws for
/// such a value in every op whose value its fetches need, whatever passes make of the graph, and
/// leaves every variable as it was. Who reads but a shape (shape_of, zeros_like, ones_like) does
/// not need the value.
namespace gradgraph GRADGRAPH_API {

template <class T>
concept Arithmetic = std::is_arithmetic_v<T>;

/// An input that may be written as a number or a Tensor literal: it becomes a constant of the
/// other input's graph; a number takes the other input's dtype. Keeps the line it was written on.
class Operand {
 public:
  Operand(Output output, SourceLocation where = SourceLocation::current())  // NOLINT: implicit
      : output_(output), where_(where) {}
  template <Arithmetic T>
  Operand(T number, SourceLocation where = SourceLocation::current())  // NOLINT: implicit
      : number_(static_cast<double>(number)), is_number_(true), where_(where) {}
  Operand(Tensor tensor, SourceLocation where = SourceLocation::current())  // NOLINT: implicit
      : tensor_(std::move(tensor)), where_(where) {}

  bool is_output() const { return static_cast<bool>(output_); }
  const Output& output() const { return output_; }
  SourceLocation where() const { return where_; }
  /// This operand as a node beside `peer`; throws BuildError when the number does not fit the
  /// peer's dtype.
  Output resolve(const Output& peer, SourceLocation where) const;

 private:
  Output output_;
  Tensor tensor_;
  double number_ = 0;
  bool is_number_ = false;
  SourceLocation where_;
};

/// A vector of int64 that says how large or where: written out, or computed in the graph
/// (`gg::shape_of(x)`) for dimensions that are not known yet.
class IntVector {
 public:
  IntVector(std::initializer_list<std::int64_t> values) : values_(values) {}
  IntVector(std::vector<std::int64_t> values) : values_(std::move(values)) {}  // NOLINT: implicit
  IntVector(const Shape& shape)                                                // NOLINT: implicit
      : values_(shape.begin(), shape.end()) {}
  IntVector(Output output) : output_(output) {}  // NOLINT: implicit

  /// This vector as an Output of `graph`.
  Output resolve(Graph& graph, SourceLocation where) const;

 private:
  std::vector<std::int64_t> values_;
  Output output_;
};

/// The axes of a reduction; negative ones count from the end. A default Axes means all of them.
class Axes {
 public:
  Axes() = default;
  Axes(int axis) : axes_{axis}, all_(false) {}  // NOLINT: implicit
  Axes(std::initializer_list<std::int64_t> axes) : axes_(axes), all_(false) {}
  Axes(std::vector<std::int64_t> axes)
      : axes_(std::move(axes)), all_(false) {}  // NOLINT: implicit

  bool all() const { return all_; }
  const std::vector<std::int64_t>& list() const { return axes_; }

 private:
  std::vector<std::int64_t> axes_;
  bool all_ = true;
};

template <class F>
concept FunctionOfOutput = std::invocable<F&, Output, SourceLocation> ||
    std::invocable<F&, Output> || std::invocable<F&, Output, std::int64_t, SourceLocation>;

/// A function of an Output that gives another one: `gg::relu`, `gg::softmax` (along the last
/// axis), a lambda with or without a SourceLocation. A default one is empty.
class UnaryFunction {
 public:
  UnaryFunction() = default;
  template <FunctionOfOutput F>
  UnaryFunction(F function) {  // NOLINT: implicit
    if constexpr (std::is_pointer_v<F> || requires { function.operator bool(); })
      if (!function) return;
    if constexpr (std::invocable<F&, Output, SourceLocation>)
      function_ = std::move(function);
    else if constexpr (std::invocable<F&, Output, std::int64_t, SourceLocation>)
      function_ = [function = std::move(function)](Output x, SourceLocation where) {
        return function(x, -1, where);
      };
    else
      function_ = [function = std::move(function)](Output x, SourceLocation) {
        return function(x);
      };
  }

  explicit operator bool() const { return static_cast<bool>(function_); }
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const {
    return function_(x, where);
  }

 private:
  std::function<Output(Output, SourceLocation)> function_;
};

using Where = SourceLocation;

// --- Sources -----------------------------------------------------------------------------------

/// A value that every run feeds. Dimensions may be `gg::any`.
Output placeholder(Graph& graph, DType dtype, const Shape& shape, std::string_view name = {},
                   Where where = Where::current());
/// Keeps a copy of `value`, unless nobody else has it: what is written to the caller's tensor
/// later does not change the constant, nor a variable's initial value.
Output constant(Graph& graph, Tensor value, std::string_view name = {},
                Where where = Where::current());
/// A value that each Session keeps from run to run. Without `initial_value` it must be set before
/// it is read (RunError otherwise). Shape fully known.
Output variable(Graph& graph, DType dtype, const Shape& shape, std::string_view name = {},
                Where where = Where::current());
Output variable(Output initial_value, std::string_view name = {}, Where where = Where::current());
Output variable(Graph& graph, Tensor initial_value, std::string_view name = {},
                Where where = Where::current());
/// `variable` takes `value`, of its shape and dtype, at the end of the step: every read in the
/// same run sees the old value unless a control input puts it after. The output is the new value.
Output assign(Output variable, Operand value, Where where = Where::current());
Output assign_add(Output variable, Operand delta, Where where = Where::current());
Output assign_sub(Output variable, Operand delta, Where where = Where::current());
/// An op without a value that runs after all of `ops`. Fetch it to run them.
Output group(Graph& graph, const std::vector<Output>& ops, std::string_view name = {},
             Where where = Where::current());

// --- Element by element, with NumPy broadcasting -----------------------------------------------
//
// exp, log and the like are at most 2 units in the last place off over the whole range, with
// the special values of C's Annex F. sin and cos take angles of any size.

Output add(Operand a, Operand b, Where where = Where::current());
Output sub(Operand a, Operand b, Where where = Where::current());
Output mul(Operand a, Operand b, Where where = Where::current());
/// Integers divide as in C++, towards zero; an integer division by zero throws RunError in a run.
Output div(Operand a, Operand b, Where where = Where::current());
/// An integer to a negative power throws RunError in a run.
Output pow(Operand base, Operand exponent, Where where = Where::current());
Output maximum(Operand a, Operand b, Where where = Where::current());
Output minimum(Operand a, Operand b, Where where = Where::current());
/// What relu passes back: 0 where `y`, its output, is 0 or less, else `grad`.
Output relu_grad(Operand y, Operand grad, Where where = Where::current());

Output neg(Output x, Where where = Where::current());
Output exp(Output x, Where where = Where::current());
/// exp(x) - 1, without loss for small x.
Output expm1(Output x, Where where = Where::current());
Output log(Output x, Where where = Where::current());
/// log(1 + x), without loss for small x.
Output log1p(Output x, Where where = Where::current());
Output sqrt(Output x, Where where = Where::current());
/// 1 / sqrt(x).
Output rsqrt(Output x, Where where = Where::current());
Output square(Output x, Where where = Where::current());
Output abs(Output x, Where where = Where::current());
/// -1, 0 or 1; NaN stays NaN.
Output sign(Output x, Where where = Where::current());
/// The integer below, above, and the nearest one (halves go to the even neighbour); the gradient
/// is zero. Of float32 or float64. Source: numpy.floor, ceil, rint.
Output floor(Output x, Where where = Where::current());
Output ceil(Output x, Where where = Where::current());
Output round(Output x, Where where = Where::current());
Output relu(Output x, Where where = Where::current());
/// x where x > 0, else slope * x. Of float32 or float64. Source: Maas et al. 2013.
Output leaky_relu(Output x, double slope = 0.01, Where where = Where::current());
/// x where x > 0, else alpha * (exp(x) - 1). Of float32 or float64. Source: Clevert et al. 2015.
Output elu(Output x, double alpha = 1, Where where = Where::current());
/// log(1 + exp(x)), a smooth relu, which does not overflow. Of float32 or float64.
Output softplus(Output x, Where where = Where::current());
/// x * sigmoid(x), also called swish. Source: Ramachandran et al. 2017.
Output silu(Output x, Where where = Where::current());
/// x times the normal distribution up to x: x * (1 + erf(x / sqrt(2))) / 2, or `approximate`, by
/// tanh, as older models have it. Of float32 or float64. Source: Hendrycks and Gimpel 2016.
Output gelu(Output x, bool approximate = false, Where where = Where::current());
Output sigmoid(Output x, Where where = Where::current());
Output tanh(Output x, Where where = Where::current());
/// The error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.
Output erf(Output x, Where where = Where::current());
/// Of an angle in radians.
Output sin(Output x, Where where = Where::current());
Output cos(Output x, Where where = Where::current());

/// Comparisons give booleans; with NaN all but not_equal are false.
Output equal(Operand a, Operand b, Where where = Where::current());
Output not_equal(Operand a, Operand b, Where where = Where::current());
Output less(Operand a, Operand b, Where where = Where::current());
Output less_equal(Operand a, Operand b, Where where = Where::current());
Output greater(Operand a, Operand b, Where where = Where::current());
Output greater_equal(Operand a, Operand b, Where where = Where::current());
Output logical_and(Operand a, Operand b, Where where = Where::current());
Output logical_or(Operand a, Operand b, Where where = Where::current());
Output logical_not(Output x, Where where = Where::current());
/// A boolean for each element of x, float32 or float64.
Output is_nan(Output x, Where where = Where::current());
/// min(max(x, low), high): x between two bounds, which broadcast with it. NaN stays. Where x lies
/// on a bound it has the gradient. Source: numpy.clip, torch.clamp.
Output clip(Output x, Operand low, Operand high, Where where = Where::current());
/// a + t * (b - a), exact at t = 0 and t = 1; the three broadcast together. Of float32 or
/// float64. Source: torch.lerp.
Output lerp(Output a, Output b, Operand t, Where where = Where::current());
/// `a` where `condition` (boolean) holds, else `b`; the three broadcast together. Both are
/// calculated everywhere: see `apply_where` for functions that are not defined everywhere.
Output where(Output condition, Operand a, Operand b, Where location = Where::current());
/// `function(x)` where `condition` (boolean, of x's shape or broadcast to it) holds, else
/// `otherwise`. Where it does not hold, the function sees `stand_in` instead of x, so that no NaN
/// or infinity of the branch that is not taken reaches the gradient, as it does in
/// `where(x > 0, log(x), 0)`: docs/ops.md. Throws BuildError for an empty result of the function.
/// Source: array-api-extra's apply_where.
Output apply_where(Output condition, Output x, const UnaryFunction& function, Operand otherwise,
                   double stand_in = 1, Where location = Where::current());
/// Converts as C++ does; to boolean: "is not zero". A float beyond an integer's range saturates.
Output cast(Output x, DType dtype, Where where = Where::current());

// --- Reductions --------------------------------------------------------------------------------

/// Over `axes`; of no elements the sum is 0, the product 1, the mean NaN; max and min throw.
Output sum(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
Output mean(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
Output prod(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
/// NaN wins, and is all elements' gradient; else equal maxima share the gradient evenly.
Output max(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
Output min(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
/// log(sum(exp(x))), without overflow; float32 or float64. Of -inf alone it is -inf, and the
/// gradient 0; of no elements it throws, as max does. Where all but one element are so small that
/// they do not change a float's last digit beside the largest, their share is lost. Source:
/// TensorFlow's reduce_logsumexp.
Output logsumexp(Output x, Axes axes = {}, bool keep_dims = false,
                 Where where = Where::current());
/// The variance: the mean of squared distances from the mean, or with `correction` c their sum
/// divided by n - c: 1 estimates it from a sample. NaN where n is not above the correction;
/// float32 or float64. Source: the array API's var.
Output var(Output x, Axes axes = {}, bool keep_dims = false, double correction = 0,
           Where where = Where::current());
/// Whether any, or all, of x (boolean) are true; of no elements false, and true.
Output any_of(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
Output all_of(Output x, Axes axes = {}, bool keep_dims = false, Where where = Where::current());
/// The index (int64) of the first largest element along `axis`.
Output argmax(Output x, std::int64_t axis, bool keep_dims = false,
              Where where = Where::current());
Output argmin(Output x, std::int64_t axis, bool keep_dims = false,
              Where where = Where::current());

struct CumsumOptions {
  bool exclusive = false;  ///< each sum leaves its own element out, and the first is 0
  bool reverse = false;    ///< the sums go from the end of the axis
};
/// The sums of all elements up to each one along `axis`: float32 (added in float64), float64,
/// int32 or int64, which wrap around. Source: TensorFlow's cumsum, ONNX CumSum.
Output cumsum(Output x, std::int64_t axis, CumsumOptions options = {},
              Where where = Where::current());

/// The indices (int64) that sort x along `axis`. Equal elements keep their order, also where the
/// largest comes first; NaN counts as larger than all numbers. No gradient. Source: the array
/// API's argsort.
Output argsort(Output x, std::int64_t axis = -1, bool descending = false,
               Where where = Where::current());
/// x in the order of `argsort`. Each element's gradient goes to where it came from.
Output sort(Output x, std::int64_t axis = -1, bool descending = false,
            Where where = Where::current());
struct TopK {
  Output values, indices;
};
/// The first `k` along `axis` of `sort` and `argsort` with the largest first: NaN before all
/// numbers, of equal ones the first. BuildError where the axis has fewer than k elements, or a
/// run's error where only that knows. Source: ONNX TopK.
TopK top_k(Output x, std::int64_t k, std::int64_t axis = -1, Where where = Where::current());

// --- Linear algebra and neural networks --------------------------------------------------------

struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
};
/// The product over the last two axes; leading axes are batches and broadcast. Rank >= 2.
Output matmul(Output a, Output b, MatmulOptions options = {}, Where where = Where::current());

// Matrices are the last two axes, float32 or float64; leading axes are batches. Wrong shapes are
// BuildErrors. Source: the array API's linalg, NumPy's.

/// The inverses of square matrices. A singular one throws RunError in a run.
Output inverse(Output x, Where where = Where::current());
/// The x of a x = b: `a` [..., n, n], `b` [..., n, k] of the same batches. A singular matrix
/// throws RunError in a run.
Output solve(Output a, Output b, Where where = Where::current());
/// Determinants: [..., n, n] gives [...], 0 for singular matrices, whose gradient throws.
Output det(Output x, Where where = Where::current());
struct LogDet {
  Output sign;       ///< -1, 0 or 1; its gradient is 0
  Output logarithm;  ///< of the determinant's size, -inf where that is 0
};
/// det as sign * exp(logarithm), which neither overflows nor underflows.
LogDet logdet(Output x, Where where = Where::current());
/// The lower triangle L with L L^T = x, of symmetric positive definite matrices; others throw
/// RunError in a run. Only x's lower triangle is read, and the gradient is symmetric.
Output cholesky(Output x, Where where = Where::current());
struct Qr {
  Output q, r;
};
/// q r = x: [..., m, n] gives q [..., m, k] with orthonormal columns and r [..., k, n], upper
/// triangles, k = min(m, n). Signs are LAPACK's. The gradient needs m and n, and that the first k
/// columns are independent: otherwise it throws.
Qr qr(Output x, Where where = Where::current());
struct Eigh {
  Output values, vectors;
};
/// Eigenvalues [..., n], ascending, and eigenvectors, as columns, of symmetric matrices. Only x's
/// lower triangle is read, and the gradient is symmetric; that of vectors is not finite where
/// eigenvalues are equal. NaN for matrices that are not finite.
Eigh eigh(Output x, Where where = Where::current());
struct Svd {
  Output u, s, vt;
};
/// u diag(s) vt = x: [..., m, n] gives u [..., m, k], the singular values s [..., k], descending,
/// and vt [..., k, n], k = min(m, n). The gradient of u and vt is not finite where singular
/// values are equal or 0. NaN for matrices that are not finite.
Svd svd(Output x, Where where = Where::current());

enum class Padding : std::uint8_t { valid, same, explicit_ };
enum class Layout : std::uint8_t { nhwc, nchw };
/// Two extents, height and width; one number means both.
struct Pair {
  std::int64_t height = 1, width = 1;
  Pair(std::int64_t both) : height(both), width(both) {}  // NOLINT: implicit
  Pair(std::int64_t h, std::int64_t w) : height(h), width(w) {}
};
/// Zeros around an image. Only read with Padding::explicit_.
struct Border {
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;
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
/// Padding::same gives ceil(size / stride), with the odd row or column at the end.
Output conv2d(Output x, Output filter, Conv2dOptions options = {},
              Where where = Where::current());
/// The gradient of conv2d by its input, whose shape is `input_shape`: a transposed convolution.
Output conv2d_input_grad(IntVector input_shape, Output filter, Output grad,
                         Conv2dOptions options = {}, Where where = Where::current());
/// The gradient of conv2d by its filter, whose shape is `filter_shape`.
Output conv2d_filter_grad(Output x, IntVector filter_shape, Output grad,
                          Conv2dOptions options = {}, Where where = Where::current());

struct Pool2dOptions {
  Pair window = 2;
  Pair strides = 2;
  Padding padding = Padding::valid;
  Border border = {};
  Layout layout = Layout::nhwc;
};
/// The largest element of each window; padding never wins. Ties go to the first, NaN wins.
Output max_pool2d(Output x, Pool2dOptions options = {}, Where where = Where::current());
/// Sends each element of `grad` to the maximum of its window of `x`.
Output max_pool2d_grad(Output x, Output grad, Pool2dOptions options = {},
                       Where where = Where::current());
/// Picks from `values`, of x's shape, what stands where each window of `x` has its maximum.
Output max_pool2d_pick(Output x, Output values, Pool2dOptions options = {},
                       Where where = Where::current());
/// The mean of each window; padding does not count.
Output avg_pool2d(Output x, Pool2dOptions options = {}, Where where = Where::current());
Output avg_pool2d_grad(IntVector input_shape, Output grad, Pool2dOptions options = {},
                       Where where = Where::current());

/// `bias`, one number a channel, added along the channel axis of `x`.
Output bias_add(Output x, Output bias, Layout layout = Layout::nhwc,
                Where where = Where::current());
Output softmax(Output x, std::int64_t axis = -1, Where where = Where::current());
Output log_softmax(Output x, std::int64_t axis = -1, Where where = Where::current());
/// One loss a row: `logits` [..., classes], `labels` [..., classes] of any sum, usually 1.
Output softmax_cross_entropy(Output logits, Output labels, Where where = Where::current());
/// One loss a row: `logits` [..., classes], `labels` [...] of int32 or int64 class numbers. A
/// label outside [0, classes) throws RunError in a run, in that of the gradient alone as well.
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
/// accurate for all finite logits. Source: TensorFlow's sigmoid_cross_entropy_with_logits.
Output sigmoid_cross_entropy(Output logits, Output labels, Where where = Where::current());
/// 0 with probability `rate`, else 1 / (1 - rate); all 1 while `training` (a boolean scalar) is
/// false. `rate` in [0, 1).
Output dropout_mask(IntVector shape, DType dtype, double rate, Output training,
                    Where where = Where::current());
/// x * dropout_mask: keeps the mean.
Output dropout(Output x, double rate, Output training, Where where = Where::current());

// --- Random numbers: Philox 4x32-10, keyed by session seed, node name and step
// ------------------

Output random_uniform(Graph& graph, IntVector shape, DType dtype = float32, double low = 0,
                      double high = 1, Where where = Where::current());
Output random_normal(Graph& graph, IntVector shape, DType dtype = float32, double mean = 0,
                     double stddev = 1, Where where = Where::current());
/// A normal distribution cut off at two standard deviations.
Output truncated_normal(Graph& graph, IntVector shape, DType dtype = float32, double mean = 0,
                        double stddev = 1, Where where = Where::current());

/// One draw along `axis` of `logits`: an index (int64), with the probabilities softmax(logits)
/// along it; -inf is never drawn beside a finite one. By the Gumbel trick: uniform numbers of the
/// logits' dtype, so float32 draws no class that is less likely than 1e-7 as often as it should.
/// No gradient. Source: JAX's random.categorical.
Output categorical(Output logits, std::int64_t axis = -1, Where where = Where::current());

// --- Shapes and moving data
// ----------------------------------------------------------------------

/// At most one dimension of `shape` may be -1: what is left over.
Output reshape(Output x, IntVector shape, Where where = Where::current());
/// [N, ...] as [N, everything else].
Output flatten(Output x, Where where = Where::current());
/// Axis i of the result is axis `permutation[i]` of x; without one the axes are reversed.
Output transpose(Output x, std::vector<std::int64_t> permutation = {},
                 Where where = Where::current());
Output concat(const std::vector<Output>& parts, std::int64_t axis,
              Where where = Where::current());
/// Parts of one shape as layers along a new axis of the result. Source: NumPy's stack.
Output stack(const std::vector<Output>& parts, std::int64_t axis = 0,
             Where where = Where::current());
/// Parts of the given sizes along `axis`; their sum must be the axis' size.
std::vector<Output> split(Output x, std::vector<std::int64_t> sizes, std::int64_t axis,
                          Where where = Where::current());
/// `size` elements from `begin` on each axis; a size of -1 means up to the end.
Output slice(Output x, IntVector begin, IntVector size, Where where = Where::current());
/// x with the order along `axes` reversed; all by default.
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
/// Zeros of `shape`, with `grad` where strided_slice takes its elements from.
Output strided_slice_grad(IntVector shape, Output grad, const std::vector<Slice>& slices,
                          Where where = Where::current());
/// `count` numbers (a vector of one): start, start + step, ... Integers must be whole numbers
/// that fit; floats are calculated in float64. No gradient.
Output range(Graph& graph, IntVector count, DType dtype = int64, double start = 0,
             double step = 1, Where where = Where::current());
/// start, start + step, ... up to `limit`, which is left out. Source: NumPy's arange.
Output arange(Graph& graph, double start, double limit, double step = 1, DType dtype = int64,
              Where where = Where::current());
/// Element i of the result's axis is x's at indices[i], each in its own row: `indices` (int32 or
/// int64) has x's extents but along `axis`. An index outside [0, size) throws RunError in a run.
/// Source: NumPy's take_along_axis.
Output take_along_axis(Output x, Output indices, std::int64_t axis,
                       Where where = Where::current());
/// The reverse: zeros of `shape`, with `updates` added up along `axis` at `indices`, which have
/// the updates' shape.
Output add_along_axis(IntVector shape, Output indices, Output updates, std::int64_t axis,
                      Where where = Where::current());
/// Slices of `x` along `axis` at `indices` (int32 or int64); the result's shape has the indices'
/// in place of the axis. An index outside [0, size) throws RunError in a run, in that of the
/// gradient alone as well.
Output gather(Output x, Output indices, std::int64_t axis = 0, Where where = Where::current());
/// The reverse of gather: zeros of `shape`, with `updates` added up along `axis` at `indices`. An
/// index outside [0, shape[axis]) throws RunError in a run.
Output scatter_add(IntVector shape, Output indices, Output updates, std::int64_t axis = 0,
                   Where where = Where::current());
/// `indices` (int32, int64 or uint8) as they are; one outside [0, size) throws RunError in a run.
Output check_indices(Output indices, std::int64_t size, Where where = Where::current());
/// A last axis of `depth` that holds 1 at the index and 0 elsewhere; of an index out of range, 0
/// (`check_indices` refuses these).
Output one_hot(Output indices, std::int64_t depth, DType dtype = float32,
               Where where = Where::current());
/// `before[i]` and `after[i]` elements of `value` around axis i.
Output pad(Output x, IntVector before, IntVector after, double value = 0,
           Where where = Where::current());
/// x repeated `multiples[i]` times along axis i.
Output tile(Output x, IntVector multiples, Where where = Where::current());
Output expand_dims(Output x, std::int64_t axis, Where where = Where::current());
/// Drops `axes`, which must have size 1; a default Axes drops all known to be 1.
Output squeeze(Output x, Axes axes = {}, Where where = Where::current());
/// x repeated to `shape`, by NumPy's rules.
Output broadcast_to(Output x, IntVector shape, Where where = Where::current());
/// The reverse of broadcast_to: x summed down to `shape`. The gradient of broadcasting.
Output sum_to(Output x, IntVector shape, Where where = Where::current());
/// The shape as an int64 vector.
Output shape_of(Output x, Where where = Where::current());
/// `value`, a scalar, in every element.
Output fill(IntVector shape, Output value, Where where = Where::current());
Output zeros_like(Output x, Where where = Where::current());
Output ones_like(Output x, Where where = Where::current());
Output identity(Output x, std::string_view name = {}, Where where = Where::current());
/// x, through which no gradient flows.
Output stop_gradient(Output x, Where where = Where::current());

// --- Operators
// -------------------------------------------------------------------------------------

inline Output operator+(Operand a, Operand b) { return add(a, b, a.where()); }
inline Output operator-(Operand a, Operand b) { return sub(a, b, a.where()); }
inline Output operator*(Operand a, Operand b) { return mul(a, b, a.where()); }
inline Output operator/(Operand a, Operand b) { return div(a, b, a.where()); }
inline Output operator-(Operand a) { return neg(a.output(), a.where()); }

}  // namespace gradgraph
