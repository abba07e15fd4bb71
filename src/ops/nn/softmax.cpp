#include "core/text.h"
#include "ops/builders.h"
#include "ops/nn/window.h"

/// What stands at the end of a network: biases, softmax and cross entropy.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;

void infer_bias_add(InferContext& context) {
  context.require_same_dtype(0, 1);
  context.require_dtype(0, {float32, float64, int32, int64, float16, bfloat16});
  context.require_rank(1, 1);
  const bool nhwc = layout_attribute(context.attributes()) == Layout::nhwc;
  context.require(context.rank(0) >= (nhwc ? 1 : 2), "the input has no channel axis");
  Shape shape = context.shape(0);
  const int axis = nhwc ? shape.rank() - 1 : 1;
  const std::int64_t channels = shape[axis], biases = context.shape(1)[0];
  if (channels != any && biases != any && channels != biases)
    context.fail(fmt::format("{} channels need as many biases, not {}", channels, biases));
  if (channels == any) shape.set(axis, biases);
  context.output(context.dtype(0), shape);
}

Grads grad_bias_add(const GradientContext& c) {
  const Output grad = c.grad();
  const bool nhwc = layout_attribute(c.node().attributes()) == Layout::nhwc;
  std::vector<std::int64_t> others;
  for (int axis = 0; axis < grad.rank(); ++axis)
    if (axis != (nhwc ? grad.rank() - 1 : 1)) others.push_back(axis);
  return {grad, others.empty() ? grad : sum(grad, others)};
}

void infer_softmax(InferContext& context) {
  infer_floating(context);
  front_axis(context, context.attribute<std::int64_t>("axis"), context.rank(0));
}

Grads grad_softmax(const GradientContext& c) {
  const Output y = c.output(), grad = c.grad();
  return {y * (grad - sum(grad * y, Axes{c.attribute<std::int64_t>("axis")}, true))};
}
Grads grad_log_softmax(const GradientContext& c) {
  const Output grad = c.grad();
  return {grad - exp(c.output()) * sum(grad, Axes{c.attribute<std::int64_t>("axis")}, true)};
}

/// The shape of `shape`'s rows, each of which gives one loss.
Shape rows_of(const Shape& shape) { return Shape(shape.dims().first(shape.dims().size() - 1)); }

/// Dimensions of `shape`, filled in from `other` where they are unknown.
Shape merge(Shape shape, const Shape& other) {
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (shape[axis] == any) shape.set(axis, other[axis]);
  return shape;
}

void infer_cross_entropy(InferContext& context) {
  context.require_floating(0);
  if (is_integer(context.dtype(1)))
    context.fail(
        fmt::format("labels are {}{}: class numbers are for sparse_softmax_cross_entropy, or "
                    "gg::one_hot makes rows of them",
                    context.dtype(1), context.shape(1)));
  context.require_same_dtype(0, 1);
  context.require(context.rank(0) >= 1, "logits need a class axis");
  context.require(context.shape(0).compatible_with(context.shape(1)),
                  "logits and labels differ in shape");
  context.output(context.dtype(0), rows_of(merge(context.shape(0), context.shape(1))));
}

Grads grad_cross_entropy(const GradientContext& c) {
  const Output logits = c.input(0), labels = c.input(1), grad = expand_dims(c.grad(), -1);
  return {grad * (softmax(logits) * sum(labels, -1, true) - labels),
          -(grad * log_softmax(logits))};
}

void infer_sparse_cross_entropy(InferContext& context) {
  context.require_floating(0);
  context.require_dtype(1, {int32, int64});
  context.require(context.rank(0) >= 1, "logits need a class axis");
  const Shape rows = rows_of(context.shape(0));
  if (!rows.compatible_with(context.shape(1)))
    context.fail(fmt::format("labels must have the shape of the logits' rows, {}", rows));
  context.output(context.dtype(0), merge(rows, context.shape(1)));
}

Grads grad_sparse_cross_entropy(const GradientContext& c) {
  const Output logits = c.input(0), labels = c.input(1);
  const std::int64_t classes = logits.shape()[logits.rank() - 1];
  const auto hot_of_run = [&] {
    const Output place = expand_dims(labels, -1);
    return add_along_axis(shape_of(logits), place, cast(ones_like(place), logits.dtype()), -1);
  };
  const Output hot = classes == any
                         ? hot_of_run()
                         : one_hot(check_indices(labels, classes), classes, logits.dtype());
  // The label's probability less 1, but accurate: it may be nearly 1.
  const Output others = softmax(logits) * (1 - hot);
  return {expand_dims(c.grad(), -1) * (others - hot * sum(others, -1, true)), Output()};
}

/// The gradient of a cross entropy by its logits, and, if asked for, the loss itself: both from
/// one softmax. `grad`, that of the loss, has a number for each row, or one for all of them.
void infer_cross_entropy_grad(InferContext& context) {
  context.require_floating(0);
  context.require_same_dtype(0, 2);
  context.require(context.rank(0) >= 1, "logits need a class axis");
  const Shape rows = rows_of(context.shape(0));
  context.require(context.rank(2) == 0 || context.shape(2) == rows,
                  "the gradient must be a number, or one for each row");
  context.output(context.dtype(0), context.shape(0));
  if (context.attribute<bool>("with_loss")) context.output(context.dtype(0), rows);
}

/// Labels are probabilities. Without "skips_zeros", one that is 0 makes an infinite logit NaN.
void infer_dense_cross_entropy_grad(InferContext& context) {
  infer_cross_entropy_grad(context);
  context.require_same_dtype(0, 1);
  context.require(context.shape(0) == context.shape(1), "logits and labels differ in shape");
}

/// Labels are class numbers. Without "checks_labels", one that is out of range counts as none.
void infer_sparse_cross_entropy_grad(InferContext& context) {
  infer_cross_entropy_grad(context);
  context.require_dtype(1, {int32, int64});
  context.require(rows_of(context.shape(0)) == context.shape(1), "there must be a label a row");
  context.require(
      context.attribute<bool>("checks_labels") || !context.attribute<bool>("with_loss"),
      "a loss needs labels in range");
}

Output along_axis(std::string_view op, Output x, std::int64_t axis, Where where) {
  graph_of(op, {x}, where);
  return make(op, {x}, where, {{"axis", from_front(axis, x.rank())}});
}

}  // namespace

Output bias_add(Output x, Output bias, Layout layout, Where where) {
  return make("bias_add", {x, bias}, where, {{"layout", to_attribute(layout)}});
}

Output softmax(Output x, std::int64_t axis, Where where) {
  return along_axis("softmax", x, axis, where);
}

Output log_softmax(Output x, std::int64_t axis, Where where) {
  return along_axis("log_softmax", x, axis, where);
}

Output softmax_cross_entropy(Output logits, Output labels, Where where) {
  return make("softmax_cross_entropy", {logits, labels}, where);
}

Output sparse_softmax_cross_entropy(Output logits, Output labels, Where where) {
  return make("sparse_softmax_cross_entropy", {logits, labels}, where);
}

namespace {

void require_smoothing(std::string_view op, double smoothing, Where where) {
  if (!(smoothing >= 0 && smoothing <= 1))
    throw BuildError(fmt::format("[{}]: a label smoothing of {} is outside [0,1]", op, smoothing),
                     where);
}

}  // namespace

Output softmax_cross_entropy(Output logits, Output labels, double label_smoothing, Where where) {
  BuildTransaction transaction(graph_of("softmax_cross_entropy", {logits}, where));
  require_smoothing("softmax_cross_entropy", label_smoothing, where);
  if (labels && labels.dtype() != logits.dtype())
    return softmax_cross_entropy(logits, labels, where);  // which refuses them
  const Output even = mean(labels, -1, true, where);
  const Output smooth =
      add(mul(labels, 1 - label_smoothing, where), mul(even, label_smoothing, where), where);
  return transaction.commit(softmax_cross_entropy(logits, smooth, where));
}

Output sparse_softmax_cross_entropy(Output logits, Output labels, SparseLossOptions options,
                                    Where where) {
  BuildTransaction transaction(graph_of("sparse_softmax_cross_entropy", {logits}, where));
  require_smoothing("sparse_softmax_cross_entropy", options.label_smoothing, where);
  Output kept;
  if (options.ignored_label) {
    // Neither label nor logits of an ignored row are looked at.
    kept = not_equal(labels, *options.ignored_label, where);
    labels = gradgraph::where(kept, labels, 0, where);
    logits = gradgraph::where(expand_dims(kept, -1, where), logits, 0, where);
  }
  Output loss = sparse_softmax_cross_entropy(logits, labels, where);
  if (const double s = options.label_smoothing; s > 0)
    loss = sub(mul(loss, 1 - s, where),
               mul(mean(log_softmax(logits, -1, where), -1, false, where), s, where), where);
  if (kept) loss = gradgraph::where(kept, loss, 0, where);
  return transaction.commit(loss);
}

void register_softmax_ops(OpRegistry& registry) {
  registry.add({"bias_add", {.in_place = true}, infer_bias_add, grad_bias_add})
      .describe("x plus a number for each channel", {"x", "bias"})
      .attribute("layout", std::string("nhwc"),
                 "where channels are: \"nhwc\", the last axis, or \"nchw\", the second");
  registry.add({"softmax", {}, infer_softmax, grad_softmax})
      .describe("exp(x) by its sum along an axis", {"x"})
      .required_attribute<std::int64_t>("axis", "from 0");
  registry.add({"log_softmax", {}, infer_softmax, grad_log_softmax})
      .describe("the logarithm of softmax", {"x"})
      .required_attribute<std::int64_t>("axis", "from 0");
  registry.add({"softmax_cross_entropy", {}, infer_cross_entropy, grad_cross_entropy})
      .describe("the loss of each row, labels are distributions", {"logits", "labels"});
  registry
      .add({"sparse_softmax_cross_entropy",
            {.may_fail = true},
            infer_sparse_cross_entropy,
            grad_sparse_cross_entropy})
      .describe("the loss of each row, labels are classes", {"logits", "labels"});
  registry
      .add({.name = "softmax_cross_entropy_grad",
            .traits = {.internal = true},
            .infer = infer_dense_cross_entropy_grad})
      .describe("the gradient of the loss by the logits", {"logits", "labels", "grad"})
      .required_attribute<bool>("with_loss", "the loss is a second result")
      .required_attribute<bool>("skips_zeros", "rows whose gradient is 0 are not looked at");
  registry
      .add({.name = "sparse_softmax_cross_entropy_grad",
            .traits = {.may_fail = true, .internal = true},
            .infer = infer_sparse_cross_entropy_grad})
      .describe("the gradient of the loss by the logits", {"logits", "labels", "grad"})
      .required_attribute<bool>("with_loss", "the loss is a second result")
      .required_attribute<bool>("checks_labels", "labels are refused here");
}

}  // namespace gradgraph
