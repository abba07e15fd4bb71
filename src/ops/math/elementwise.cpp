#include <cmath>
#include <limits>
#include <numbers>

#include "core/text.h"
#include "gradgraph/gradients.h"
#include "ops/builders.h"

/// Ops that work element by element, with NumPy's broadcasting.
namespace gradgraph {
namespace {

using Grads = std::vector<Output>;
using Context = const GradientContext&;

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

// --- Gradients ---------------------------------------------------------------------------------

Grads binary_grads(Context c, Output by_a, Output by_b) {
  return {unbroadcast(by_a, c.input(0)), unbroadcast(by_b, c.input(1))};
}

Grads grad_add(Context c) { return binary_grads(c, c.grad(), c.grad()); }
Grads grad_sub(Context c) { return binary_grads(c, c.grad(), -c.grad()); }
Grads grad_mul(Context c) {
  return binary_grads(c, c.grad() * c.input(1), c.grad() * c.input(0));
}
Grads grad_div(Context c) {
  const Output by_a = c.grad() / c.input(1);
  return binary_grads(c, by_a, -(by_a * c.output()));
}

/// The exponents and logarithms that would give infinity times zero are left out.
Grads grad_pow(Context c) {
  const Output base = c.input(0), exponent = c.input(1);
  const Output reduced = where(equal(exponent, 0), 0, exponent - 1);
  const Output at_zero = logical_and(equal(base, 0), greater_equal(exponent, 0));
  return binary_grads(c, c.grad() * exponent * pow(base, reduced),
                      c.grad() * c.output() * log(where(at_zero, 1, base)));
}

/// The part of `grad` that goes to an operand that wins, loses or shares a tie. Where it does
/// none of these, one of the two is NaN.
Output winner(Output grad, Output wins, Output loses, Output ties) {
  const Output unordered = where(loses, 0, where(ties, grad * 0.5, kNoNumber));
  return where(wins, grad, unordered);
}
Grads grad_maximum(Context c) {
  const Output a = c.input(0), b = c.input(1);
  const Output a_wins = greater(a, b), b_wins = less(a, b), ties = equal(a, b);
  return binary_grads(c, winner(c.grad(), a_wins, b_wins, ties),
                      winner(c.grad(), b_wins, a_wins, ties));
}
Grads grad_minimum(Context c) {
  const Output a = c.input(0), b = c.input(1);
  const Output a_wins = less(a, b), b_wins = greater(a, b), ties = equal(a, b);
  return binary_grads(c, winner(c.grad(), a_wins, b_wins, ties),
                      winner(c.grad(), b_wins, a_wins, ties));
}

Grads grad_neg(Context c) { return {-c.grad()}; }
Grads grad_exp(Context c) { return {c.grad() * c.output()}; }
Grads grad_expm1(Context c) { return {c.grad() * (c.output() + 1)}; }
Grads grad_log(Context c) { return {c.grad() / c.input(0)}; }
Grads grad_log1p(Context c) { return {c.grad() / (1 + c.input(0))}; }
Grads grad_sqrt(Context c) { return {0.5 * c.grad() / c.output()}; }
Grads grad_rsqrt(Context c) { return {-0.5 * c.grad() * (c.output() * square(c.output()))}; }
Grads grad_square(Context c) { return {2 * c.grad() * c.input(0)}; }
Grads grad_abs(Context c) { return {c.grad() * sign(c.input(0))}; }
Grads grad_relu(Context c) { return {relu_grad(c.output(), c.grad())}; }
Grads grad_relu_grad(Context c) {
  return {Output(), unbroadcast(relu_grad(c.input(0), c.grad()), c.input(1))};
}
/// Of the output, which later layers keep anyhow.
Grads grad_relu6(Context c) {
  const Output y = c.output();
  return {where(logical_or(less_equal(y, 0), greater_equal(y, 6)), 0, c.grad())};
}
Grads grad_leaky_relu(Context c) {
  const double slope = c.attribute<double>("slope");
  return {where(greater(c.input(0), 0), c.grad(), slope * c.grad())};
}
Grads grad_elu(Context c) {
  const Output below = c.attribute<double>("alpha") * exp(minimum(c.input(0), 0));
  return {where(greater(c.input(0), 0), c.grad(), c.grad() * below)};
}
Grads grad_softplus(Context c) { return {c.grad() * sigmoid(c.input(0))}; }
/// Steps, which are flat where they have a derivative.
Grads grad_of_steps(Context) { return {Output()}; }
Grads grad_sigmoid(Context c) { return {c.grad() * c.output() * (1 - c.output())}; }
Grads grad_tanh(Context c) { return {c.grad() * (1 - square(c.output()))}; }
Grads grad_erf(Context c) {
  return {2 * std::numbers::inv_sqrtpi * c.grad() * exp(-square(c.input(0)))};
}
Grads grad_sin(Context c) { return {c.grad() * cos(c.input(0))}; }
Grads grad_cos(Context c) { return {-(c.grad() * sin(c.input(0)))}; }

Grads grad_where(Context c) {
  const Output condition = c.input(0);
  return {Output(), unbroadcast(where(condition, c.grad(), 0), c.input(1)),
          unbroadcast(where(condition, 0, c.grad()), c.input(2))};
}

/// A bound has the gradient where it is the result, x where it lies on one of them, too.
Grads grad_clip(Context c) {
  const Output x = c.input(0), low = c.input(1), high = c.input(2), g = c.grad();
  const Output outside = logical_or(less(x, low), greater(x, high));
  const Output above = greater(maximum(x, low), high);
  const Output below = logical_and(logical_not(above), less(x, low));
  return {unbroadcast(where(outside, 0, g), x), unbroadcast(where(below, g, 0), low),
          unbroadcast(where(above, g, 0), high)};
}
Grads grad_lerp(Context c) {
  const Output a = c.input(0), b = c.input(1), t = c.input(2), g = c.grad();
  return {unbroadcast(g * (1 - t), a), unbroadcast(g * t, b), unbroadcast(g * (b - a), t)};
}

Grads grad_cast(Context c) {
  const DType dtype = c.input(0).dtype();
  return {is_floating(dtype) ? cast(c.grad(), dtype) : Output()};
}

// --- Inference ---------------------------------------------------------------------------------

Shape broadcast_inputs(InferContext& context) {
  Shape shape = context.shape(0);
  for (int i = 1; i < context.num_inputs(); ++i) {
    const Shape so_far = shape;
    context.require(broadcast_shapes(so_far, context.shape(i), shape), "shapes do not broadcast");
  }
  return shape;
}

void require_numbers(InferContext& context) { context.require_number(0); }

void infer_unary(InferContext& context) {
  require_numbers(context);
  context.output(context.dtype(0), context.shape(0));
}

void infer_binary(InferContext& context) {
  context.require_same_dtype(0, 1);
  require_numbers(context);
  context.output(context.dtype(0), broadcast_inputs(context));
}

void infer_ternary(InferContext& context) {
  context.require_same_dtype(0, 1);
  context.require_same_dtype(0, 2);
  require_numbers(context);
  context.output(context.dtype(0), broadcast_inputs(context));
}
void infer_floating_ternary(InferContext& context) {
  context.require_floating(0);
  infer_ternary(context);
}

void infer_is_nan(InferContext& context) {
  context.require_floating(0);
  context.output(boolean, context.shape(0));
}

void infer_equality(InferContext& context) {
  context.require_same_dtype(0, 1);
  context.output(boolean, broadcast_inputs(context));
}

void infer_order(InferContext& context) {
  require_numbers(context);
  infer_equality(context);
}

void infer_logical(InferContext& context) {
  for (int i = 0; i < context.num_inputs(); ++i) context.require_dtype(i, {boolean});
  context.output(boolean, broadcast_inputs(context));
}

void infer_where(InferContext& context) {
  context.require_dtype(0, {boolean});
  context.require_same_dtype(1, 2);
  context.output(context.dtype(1), broadcast_inputs(context));
}

void infer_cast(InferContext& context) {
  context.output(context.attribute<DType>("dtype"), context.shape(0));
}

}  // namespace

// --- Front functions ---------------------------------------------------------------------------

Output add(Operand a, Operand b, Where where) { return make_binary("add", a, b, where); }
Output sub(Operand a, Operand b, Where where) { return make_binary("sub", a, b, where); }
Output mul(Operand a, Operand b, Where where) { return make_binary("mul", a, b, where); }
Output div(Operand a, Operand b, Where where) { return make_binary("div", a, b, where); }
Output pow(Operand base, Operand exponent, Where where) {
  return make_binary("pow", base, exponent, where);
}
Output maximum(Operand a, Operand b, Where where) { return make_binary("maximum", a, b, where); }
Output minimum(Operand a, Operand b, Where where) { return make_binary("minimum", a, b, where); }
Output relu_grad(Operand y, Operand grad, Where where) {
  return make_binary("relu_grad", y, grad, where);
}

Output neg(Output x, Where where) { return make("neg", {x}, where); }
Output exp(Output x, Where where) { return make("exp", {x}, where); }
Output expm1(Output x, Where where) { return make("expm1", {x}, where); }
Output log(Output x, Where where) { return make("log", {x}, where); }
Output log1p(Output x, Where where) { return make("log1p", {x}, where); }
Output sqrt(Output x, Where where) { return make("sqrt", {x}, where); }
Output rsqrt(Output x, Where where) { return make("rsqrt", {x}, where); }
Output square(Output x, Where where) { return make("square", {x}, where); }
Output abs(Output x, Where where) { return make("abs", {x}, where); }
Output sign(Output x, Where where) { return make("sign", {x}, where); }
Output relu(Output x, Where where) { return make("relu", {x}, where); }
Output relu6(Output x, Where where) { return make("relu6", {x}, where); }
namespace {
[[noreturn]] void fail_without_parameter(SourceLocation where) {
  throw BuildError(
      "this function takes a parameter: [](gg::Output x) { return function(x, 0.5); } gives it",
      where);
}
}  // namespace

Output leaky_relu(Output x, double slope, Where where) {
  return make("leaky_relu", {x}, where, {{"slope", slope}});
}
Output elu(Output x, double alpha, Where where) {
  return make("elu", {x}, where, {{"alpha", alpha}});
}
UnaryFunction::UnaryFunction(operands_detail::FunctionOfNumber function, SourceLocation where) {
  if (!function) return;
  if (function == &leaky_relu)
    function_ = [](Output x, Where line) { return leaky_relu(x, kLeakyReluSlope, line); };
  else if (function == &elu)
    function_ = [](Output x, Where line) { return elu(x, kEluAlpha, line); };
  else
    fail_without_parameter(where);
}
UnaryFunction::UnaryFunction(operands_detail::FunctionOfFlag function, SourceLocation where) {
  if (!function) return;
  if (function != &gelu) fail_without_parameter(where);
  function_ = [](Output x, Where line) { return gelu(x, false, line); };
}

Output softplus(Output x, Where where) { return make("softplus", {x}, where); }
Output silu(Output x, Where where) { return mul(x, sigmoid(x, where), where); }

namespace {

constexpr double kNormalDensity = 0.5 * std::numbers::inv_sqrtpi * std::numbers::sqrt2;  // of 0
/// The gate's approximation: tanh(factor * (x + cube * x^3)).
constexpr double kGeluFactor = std::numbers::sqrt2 * std::numbers::inv_sqrtpi,
                 kGeluCube = 0.044715;

/// gelu is x times the normal distribution up to x, which is made of this: it goes from -1 to 1.
Output gelu_gate(Output x, bool approximate, Where where) {
  if (!approximate) return erf(mul(x, 1 / std::numbers::sqrt2, where), where);
  const Output cube = mul(x, square(x, where), where);
  const Output inner = add(x, mul(cube, kGeluCube, where), where);
  return tanh(mul(inner, kGeluFactor, where), where);
}

/// By x; a step keeps what both of its parts have in common with gelu itself.
Output gelu_slope(Output x, bool approximate) {
  const Output gate = gelu_gate(x, approximate, {});
  if (!approximate) return 0.5 * (gate + 1) + x * (kNormalDensity * exp(-0.5 * square(x)));
  // Not times the square of x: there may be no room for that where the gate's slope is 0.
  const Output by_gate = x * (1 - square(gate));
  const Output cubic = 3 * kGeluCube * (x * (x * by_gate));
  // 0.5 * (gate + 1) would be kept beside the gate.
  return 0.5 * gate + 0.5 + 0.5 * kGeluFactor * (by_gate + cubic);
}

}  // namespace

Output gelu(Output x, bool approximate, Where where) {
  require_floating("gelu", x, where);
  const auto forward = [&](const std::vector<Output>& in) {
    const Output gate = gelu_gate(in[0], approximate, where);
    return std::vector<Output>{mul(in[0], mul(0.5, add(gate, 1, where), where), where)};
  };
  // What autodiff makes of the parts keeps two more values of x's size.
  const auto backward = [approximate](const std::vector<Output>& in, const std::vector<Output>&,
                                      const std::vector<Output>& grads) {
    return std::vector<Output>{grads[0] * gelu_slope(in[0], approximate)};
  };
  return custom_gradient({x}, forward, backward, where)[0];
}
Output floor(Output x, Where where) { return make("floor", {x}, where); }
Output ceil(Output x, Where where) { return make("ceil", {x}, where); }
Output round(Output x, Where where) { return make("round", {x}, where); }
Output is_nan(Output x, Where where) { return make("is_nan", {x}, where); }
Output clip(Output x, Operand low, Operand high, Where where) {
  BuildTransaction transaction(graph_of("clip", {x}, where));
  return transaction.commit(
      make("clip", {x, low.resolve("clip", x, where), high.resolve("clip", x, where)}, where));
}
Output lerp(Output a, Output b, Operand t, Where where) {
  BuildTransaction transaction(graph_of("lerp", {a, b}, where));
  return transaction.commit(make("lerp", {a, b, t.resolve("lerp", a, where)}, where));
}
Output sigmoid(Output x, Where where) { return make("sigmoid", {x}, where); }
Output tanh(Output x, Where where) { return make("tanh", {x}, where); }
Output erf(Output x, Where where) { return make("erf", {x}, where); }
Output sin(Output x, Where where) { return make("sin", {x}, where); }
Output cos(Output x, Where where) { return make("cos", {x}, where); }

Output equal(Operand a, Operand b, Where where) { return make_binary("equal", a, b, where); }
Output not_equal(Operand a, Operand b, Where where) {
  return make_binary("not_equal", a, b, where);
}
Output less(Operand a, Operand b, Where where) { return make_binary("less", a, b, where); }
Output less_equal(Operand a, Operand b, Where where) {
  return make_binary("less_equal", a, b, where);
}
Output greater(Operand a, Operand b, Where where) { return make_binary("greater", a, b, where); }
Output greater_equal(Operand a, Operand b, Where where) {
  return make_binary("greater_equal", a, b, where);
}
Output logical_and(Operand a, Operand b, Where where) {
  return make_binary("logical_and", a, b, where);
}
Output logical_or(Operand a, Operand b, Where where) {
  return make_binary("logical_or", a, b, where);
}
Output logical_not(Output x, Where where) { return make("logical_not", {x}, where); }

Output where(Output condition, Operand a, Operand b, Where location) {
  if (!a.is_output() && !b.is_output())
    throw BuildError(node_message("where", "where", "one of the two values must be an Output"),
                     location);
  const Output& peer = a.is_output() ? a.output() : b.output();
  BuildTransaction transaction(peer.graph());
  return transaction.commit(
      make("where",
           {condition, a.resolve("where", peer, location), b.resolve("where", peer, location)},
           location));
}

Output apply_where(Output condition, Output x, const UnaryFunction& function, Operand otherwise,
                   Operand stand_in, Where location) {
  BuildTransaction transaction(graph_of("apply_where", {x}, location));
  if (!function)
    throw BuildError(node_message("apply_where", "apply_where", "there is no function"),
                     location);
  const Output value = function(where(condition, x, stand_in, location), location);
  if (!value)
    throw BuildError(
        node_message("apply_where", "apply_where", "the function gives an empty Output"),
        location);
  return transaction.commit(where(condition, value, otherwise, location));
}

Output cast(Output x, DType dtype, Where where) {
  return make("cast", {x}, where, {{"dtype", dtype}});
}
Output wide(Output x, Where where) { return is_half(x.dtype()) ? cast(x, float32, where) : x; }

// --- Definitions -------------------------------------------------------------------------------

void register_elementwise_ops(OpRegistry& registry) {
  const Traits plain = {.elementwise = true, .in_place = true};
  const Traits commutative = {.elementwise = true, .commutative = true, .in_place = true};
  // Integers may meet a zero divisor or a negative power.
  const Traits refusing = {.elementwise = true, .in_place = true, .may_fail = true};
  registry.add({"add", commutative, infer_binary, grad_add}).describe("a + b", {"a", "b"});
  registry.add({"sub", plain, infer_binary, grad_sub}).describe("a - b", {"a", "b"});
  registry.add({"mul", commutative, infer_binary, grad_mul}).describe("a * b", {"a", "b"});
  registry.add({"div", refusing, infer_binary, grad_div})
      .describe("a / b; of integers, towards zero", {"a", "b"});
  registry.add({"pow", refusing, infer_binary, grad_pow})
      .describe("base to the power of exponent", {"base", "exponent"});
  // Of 0 and -0 they give the second.
  registry.add({"maximum", plain, infer_binary, grad_maximum})
      .describe("the larger one; NaN if either is", {"a", "b"});
  registry.add({"minimum", plain, infer_binary, grad_minimum})
      .describe("the smaller one; NaN if either is", {"a", "b"});
  registry.add({"relu_grad", plain, infer_binary, grad_relu_grad})
      .describe("grad where y > 0, else 0", {"y", "grad"});

  registry.add({"neg", plain, infer_unary, grad_neg}).describe("-x", {"x"});
  registry.add({"exp", plain, infer_floating, grad_exp}).describe("e to the power of x", {"x"});
  registry.add({"expm1", plain, infer_floating, grad_expm1}).describe("exp(x) - 1", {"x"});
  registry.add({"log", plain, infer_floating, grad_log}).describe("the natural logarithm", {"x"});
  registry.add({"log1p", plain, infer_floating, grad_log1p}).describe("log(1 + x)", {"x"});
  registry.add({"sqrt", plain, infer_floating, grad_sqrt}).describe("the square root", {"x"});
  registry.add({"rsqrt", plain, infer_floating, grad_rsqrt}).describe("1 / sqrt(x)", {"x"});
  registry.add({"square", plain, infer_unary, grad_square}).describe("x * x", {"x"});
  registry.add({"abs", plain, infer_unary, grad_abs}).describe("the absolute value", {"x"});
  registry.add({"sign", plain, infer_unary, grad_of_steps}).describe("-1, 0 or 1", {"x"});
  registry.add({"floor", plain, infer_floating, grad_of_steps})
      .describe("the integer below", {"x"});
  registry.add({"ceil", plain, infer_floating, grad_of_steps})
      .describe("the integer above", {"x"});
  registry.add({"round", plain, infer_floating, grad_of_steps})
      .describe("the nearest integer, halves to the even one", {"x"});
  registry.add({"relu", plain, infer_unary, grad_relu}).describe("max(x, 0)", {"x"});
  registry.add({"relu6", plain, infer_unary, grad_relu6}).describe("min(max(x, 0), 6)", {"x"});
  registry.add({"leaky_relu", plain, infer_floating, grad_leaky_relu})
      .describe("x where x > 0, else slope * x", {"x"})
      .attribute("slope", 0.01, "factor of negative x");
  registry.add({"elu", plain, infer_floating, grad_elu})
      .describe("x where x > 0, else alpha * (exp(x) - 1)", {"x"})
      .attribute("alpha", 1.0, "minus the limit for small x");
  registry.add({"softplus", plain, infer_floating, grad_softplus})
      .describe("log(1 + exp(x))", {"x"});
  registry.add({"sigmoid", plain, infer_floating, grad_sigmoid})
      .describe("1 / (1 + exp(-x))", {"x"});
  registry.add({"tanh", plain, infer_floating, grad_tanh})
      .describe("the hyperbolic tangent", {"x"});
  registry.add({"erf", plain, infer_floating, grad_erf}).describe("the error function", {"x"});
  registry.add({"sin", plain, infer_floating, grad_sin}).describe("the sine of x radians", {"x"});
  registry.add({"cos", plain, infer_floating, grad_cos})
      .describe("the cosine of x radians", {"x"});

  const Traits comparison = {.elementwise = true, .non_differentiable = true};
  const Traits symmetric = {.elementwise = true, .commutative = true, .non_differentiable = true};
  registry.add({"equal", symmetric, infer_equality}).describe("a = b", {"a", "b"});
  registry.add({"not_equal", symmetric, infer_equality}).describe("not a = b", {"a", "b"});
  registry.add({"less", comparison, infer_order}).describe("a < b", {"a", "b"});
  registry.add({"less_equal", comparison, infer_order}).describe("a <= b", {"a", "b"});
  registry.add({"greater", comparison, infer_order}).describe("a > b", {"a", "b"});
  registry.add({"greater_equal", comparison, infer_order}).describe("a >= b", {"a", "b"});
  registry.add({"is_nan", comparison, infer_is_nan}).describe("whether x is NaN", {"x"});

  const Traits logical = {
      .elementwise = true, .commutative = true, .in_place = true, .non_differentiable = true};
  registry.add({"logical_and", logical, infer_logical}).describe("a and b", {"a", "b"});
  registry.add({"logical_or", logical, infer_logical}).describe("a or b", {"a", "b"});
  registry
      .add({"logical_not",
            {.elementwise = true, .in_place = true, .non_differentiable = true},
            infer_logical})
      .describe("not x", {"x"});

  registry.add({"where", {.elementwise = true, .kernel_input = 1}, infer_where, grad_where})
      .describe("a where the condition holds, else b", {"condition", "a", "b"});
  registry.add({"clip", plain, infer_ternary, grad_clip})
      .describe("min(max(x, low), high)", {"x", "low", "high"});
  registry.add({"lerp", plain, infer_floating_ternary, grad_lerp})
      .describe("a + t * (b - a)", {"a", "b", "t"});
  registry.add({"cast", {.elementwise = true}, infer_cast, grad_cast})
      .describe("x in another dtype", {"x"})
      .required_attribute<DType>("dtype", "of the result");
}

}  // namespace gradgraph
