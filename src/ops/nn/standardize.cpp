#include "core/text.h"
#include "ops/builders.h"

/// Rows of mean 0 and variance 1, which layer normalisation makes.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;

double epsilon_of(const GradientContext& c) { return c.attribute<double>("epsilon"); }

void infer_standardize(InferContext& context) {
  infer_floating(context);
  context.require(context.rank(0) >= 1, "x must have an axis to go along");
}

Grads grad_standardize(const GradientContext& c) {
  return {standardize_grad(c.input(0), c.grad(), epsilon_of(c))};
}

void infer_standardize_grad(InferContext& context) {
  context.require_floating(0);
  context.require_same_dtype(0, 1);
  context.require(context.rank(0) >= 1, "x must have an axis to go along");
  context.require(context.shape(0).compatible_with(context.shape(1)),
                  "x and grad differ in shape");
  context.output(context.dtype(0), context.shape(0));
}

/// With s = 1 / sqrt(variance + epsilon), y = standardize(x) and h, the gradient that comes in:
/// standardize_grad is s (g - mean(g) - y mean(g y)), which is symmetric in g and h; by x the
/// derivative of s is -s^2 y / n, and that of mean(g y) is standardize_grad(x, g) / n.
Grads grad_standardize_grad(const GradientContext& c) {
  const Output x = c.input(0), g = c.input(1), h = c.grad();
  const auto row_mean = [](const Output& of) { return mean(of, -1, true); };
  const Output y = standardize(x, epsilon_of(c)), from_g = c.output(),
               from_h = standardize_grad(x, h, epsilon_of(c));
  const Output s = rsqrt(var(x, -1, true) + epsilon_of(c));
  const Output mean_gy = row_mean(g * y), mean_hy = row_mean(h * y);
  const Output of_s = row_mean(g * h) - row_mean(g) * row_mean(h) - mean_gy * mean_hy;
  return {-s * (s * y * of_s + mean_gy * from_h + mean_hy * from_g), from_h};
}

Output make_standardize(std::string_view op, OutputList inputs, double epsilon, Where where) {
  if (!(epsilon >= 0 && epsilon < std::numeric_limits<double>::infinity()))
    throw BuildError(fmt::format("[{}]: an epsilon of {} is no number from 0 on", op, epsilon),
                     where);
  return make(op, inputs, where, {{"epsilon", epsilon}});
}

}  // namespace

Output standardize(Output x, double epsilon, Where where) {
  return make_standardize("standardize", {x}, epsilon, where);
}

Output standardize_grad(Output x, Output grad, double epsilon, Where where) {
  return make_standardize("standardize_grad", {x, grad}, epsilon, where);
}

void register_standardize_ops(OpRegistry& registry) {
  registry.add({"standardize", {}, infer_standardize, grad_standardize})
      .describe("(x - mean) / sqrt(variance + epsilon), along the last axis", {"x"})
      .attribute("epsilon", 1e-5, "added to the variance");
  registry.add({"standardize_grad", {}, infer_standardize_grad, grad_standardize_grad})
      .describe("the gradient of standardize by x", {"x", "grad"})
      .attribute("epsilon", 1e-5, "added to the variance");
}

}  // namespace gradgraph
