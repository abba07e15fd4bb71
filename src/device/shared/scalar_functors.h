#pragma once

#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string_view>
#include <type_traits>

#include "device/shared/host_device.h"
#include "device/shared/math_functions.h"
#include "gradgraph/half.h"

/// The scalar arithmetic of every elementwise op, written once for CPU and GPU. A functor names
/// its op and the types that it takes; the list at the end is what devices expand into kernels,
/// and the only place where an op has to be entered.
///
/// Operands are of one type, up to three. Behind them come the op's scalar attributes that
/// `parameters` names, converted to that type. A functor that says kChooses gives, by a condition
/// that is its first operand, one of the others, whatever their bits mean.
///
/// An element costs about as much as kCost additions, one where a functor does not say.
///
/// A functor that must refuse some operands says so in `refuses`, with the message in `refusal`,
/// and still returns something for them.
///
/// A functor that some operands, few in practice, take far more steps than others answers for
/// those in `of_rare`, which may have branches, and says in `is_rare` which they are; for them
/// operator() returns something else.

namespace gradgraph::functors {
inline namespace GRADGRAPH_ISA {

template <class... F>
struct List {};

using Floats = List<float, double>;
using Numbers = List<float, double, std::int32_t, std::int64_t, std::uint8_t>;
using Bools = List<bool>;
using AllTypes = List<float, double, std::int32_t, std::int64_t, std::uint8_t, bool>;
/// Those that are only stored, too: whoever calculates with a Half or BFloat16 does it in float.
using StoredTypes =
    List<float, double, std::int32_t, std::int64_t, std::uint8_t, bool, Half, BFloat16>;

/// How many attributes a functor takes, and how many arguments of type T in all.
template <class F>
inline constexpr std::size_t kParameters = 0;
template <class F>
  requires requires { F::parameters; }
inline constexpr std::size_t kParameters<F> = std::size(F::parameters);
template <class F, class T>
inline constexpr std::size_t kOperands = std::is_invocable_v<F, T>
                                             ? 1
                                             : (std::is_invocable_v<F, T, T> ? 2 : 3);

template <class F, class... T>
concept HasRare = requires(T... x) {
  F::is_rare(x...);
};

/// The type to calculate in: integers wrap around, which signed ones must not do.
template <class T>
struct Wrapping {
  using Type = T;
};
template <class T>
  requires std::is_integral_v<T>
struct Wrapping<T> {
  using Type = std::make_unsigned_t<T>;
};
template <class T>
using Wrap = typename Wrapping<T>::Type;

// --- Two operands ------------------------------------------------------------------------------

struct Add {
  static constexpr std::string_view op = "add";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wrap<T>>(a) + static_cast<Wrap<T>>(b));
  }
};
struct Sub {
  static constexpr std::string_view op = "sub";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wrap<T>>(a) - static_cast<Wrap<T>>(b));
  }
};
struct Mul {
  static constexpr std::string_view op = "mul";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wrap<T>>(a) * static_cast<Wrap<T>>(b));
  }
};
struct Div {
  static constexpr std::string_view op = "div";
  static constexpr int kCost = 4;
  using Types = Numbers;
  static constexpr const char* refusal = "division by zero";
  template <class T>
  HOST_DEVICE static bool refuses(T, T b) {
    return std::is_integral_v<T> && b == T{0};
  }
  template <class T>
  HOST_DEVICE T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) return 0;
      // The lowest integer has no positive counterpart: dividing it by -1 would trap.
      if (std::is_signed_v<T> && b == static_cast<T>(-1)) return Sub{}(T{0}, a);
    }
    return static_cast<T>(a / b);
  }
};
struct Pow {
  static constexpr std::string_view op = "pow";
  static constexpr int kCost = 16;
  static constexpr bool kLong = true;  // as code
  using Types = Numbers;
  static constexpr const char* refusal = "an integer to a negative power";
  template <class T>
  HOST_DEVICE static bool refuses(T, T exponent) {
    return std::is_integral_v<T> && exponent < T{0};
  }
  template <class T>
  HOST_DEVICE T operator()(T base, T exponent) const {
    if constexpr (std::is_integral_v<T>) {
      T result = 1;
      for (; exponent > 0; exponent = static_cast<T>(exponent / 2)) {
        if (exponent % 2 == 1) result = Mul{}(result, base);
        base = Mul{}(base, base);
      }
      return result;
    } else {
      return math::pow(base, exponent);
    }
  }
};
struct Maximum {
  static constexpr std::string_view op = "maximum";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T a, T b) const {
    const T larger = a > b ? a : b;
    return a != a ? a : larger;  // two choices, of which compilers make vectors
  }
};
struct ReluGrad {
  static constexpr std::string_view op = "relu_grad";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T y, T grad) const {
    return y <= T{0} ? T{0} : grad;
  }
};
struct Minimum {
  static constexpr std::string_view op = "minimum";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T a, T b) const {
    const T smaller = a < b ? a : b;
    return a != a ? a : smaller;
  }
};

// --- One operand -------------------------------------------------------------------------------

struct Neg {
  static constexpr std::string_view op = "neg";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return static_cast<T>(-static_cast<Wrap<T>>(x));
  }
};
struct Exp {
  static constexpr std::string_view op = "exp";
  static constexpr int kCost = 4;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return math::exp(x);
  }
};
struct Log {
  static constexpr std::string_view op = "log";
  static constexpr int kCost = 6;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return math::log(x);
  }
};
struct Expm1 {
  static constexpr std::string_view op = "expm1";
  static constexpr int kCost = 6;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return math::expm1(x);
  }
};
struct Log1p {
  static constexpr std::string_view op = "log1p";
  static constexpr int kCost = 8;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return math::log1p(x);
  }
};
struct Sqrt {
  static constexpr std::string_view op = "sqrt";
  static constexpr int kCost = 4;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return std::sqrt(x);
  }
};
struct Rsqrt {
  static constexpr std::string_view op = "rsqrt";
  static constexpr int kCost = 4;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return T{1} / std::sqrt(x);
  }
};
struct Square {
  static constexpr std::string_view op = "square";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return Mul{}(x, x);
  }
};
struct Abs {
  static constexpr std::string_view op = "abs";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    if constexpr (std::is_floating_point_v<T>)
      return std::fabs(x);
    else
      return x < T{0} ? Neg{}(x) : x;
  }
};
struct Sign {
  static constexpr std::string_view op = "sign";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return x > T{0} ? T{1} : x < T{0} ? static_cast<T>(-1) : x;
  }
};
struct Relu {
  static constexpr std::string_view op = "relu";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return x < T{0} ? T{0} : x;
  }
};
struct Relu6 {
  static constexpr std::string_view op = "relu6";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    const T most = x > T{6} ? T{6} : x;
    return most < T{0} ? T{0} : most;
  }
};
struct LeakyRelu {
  static constexpr std::string_view op = "leaky_relu";
  static constexpr std::string_view parameters[] = {"slope"};
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x, T slope) const {
    return x > T{0} ? x : slope * x;
  }
};
struct Elu {
  static constexpr std::string_view op = "elu";
  static constexpr int kCost = 6;
  static constexpr std::string_view parameters[] = {"alpha"};
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x, T alpha) const {
    const T below = alpha * math::expm1(x > T{0} ? T{0} : x);
    return x > T{0} ? x : below;
  }
};
struct Softplus {
  static constexpr std::string_view op = "softplus";
  static constexpr int kCost = 10;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return (x < T{0} ? T{0} : x) + math::log1p(math::exp(-std::fabs(x)));
  }
};
struct Floor {
  static constexpr std::string_view op = "floor";
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return std::floor(x);
  }
};
struct Ceil {
  static constexpr std::string_view op = "ceil";
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return std::ceil(x);
  }
};
/// Halves go to the even neighbour.
struct Round {
  static constexpr std::string_view op = "round";
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return std::nearbyint(x);
  }
};
struct Sigmoid {
  static constexpr std::string_view op = "sigmoid";
  static constexpr int kCost = 6;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return math::sigmoid(x);
  }
};
struct Tanh {
  static constexpr std::string_view op = "tanh";
  static constexpr int kCost = 6;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return math::tanh(x);
  }
};
struct Erf {
  static constexpr std::string_view op = "erf";
  static constexpr int kCost = 8;
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return math::erf(x);
  }
};
struct Sin {
  static constexpr std::string_view op = "sin";
  static constexpr int kCost = 10;
  using Types = Floats;
  template <class T>
  HOST_DEVICE static bool is_rare(T x) {
    return math::is_large_angle(x);
  }
  template <class T>
  HOST_DEVICE static T of_rare(T x) {
    return math::sin_large(x);
  }
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return math::sin(x);
  }
};
struct Cos {
  static constexpr std::string_view op = "cos";
  static constexpr int kCost = 10;
  using Types = Floats;
  template <class T>
  HOST_DEVICE static bool is_rare(T x) {
    return math::is_large_angle(x);
  }
  template <class T>
  HOST_DEVICE static T of_rare(T x) {
    return math::cos_large(x);
  }
  template <class T>
  HOST_DEVICE T operator()(T x) const {
    return math::cos(x);
  }
};

// --- Comparison and logic ----------------------------------------------------------------------

struct Equal {
  static constexpr std::string_view op = "equal";
  using Types = AllTypes;
  template <class T>
  HOST_DEVICE bool operator()(T a, T b) const {
    return a == b;
  }
};
struct NotEqual {
  static constexpr std::string_view op = "not_equal";
  using Types = AllTypes;
  template <class T>
  HOST_DEVICE bool operator()(T a, T b) const {
    return a != b;
  }
};
struct Less {
  static constexpr std::string_view op = "less";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE bool operator()(T a, T b) const {
    return a < b;
  }
};
struct LessEqual {
  static constexpr std::string_view op = "less_equal";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE bool operator()(T a, T b) const {
    return a <= b;
  }
};
struct Greater {
  static constexpr std::string_view op = "greater";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE bool operator()(T a, T b) const {
    return a > b;
  }
};
struct GreaterEqual {
  static constexpr std::string_view op = "greater_equal";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE bool operator()(T a, T b) const {
    return a >= b;
  }
};
struct LogicalAnd {
  static constexpr std::string_view op = "logical_and";
  using Types = Bools;
  HOST_DEVICE bool operator()(bool a, bool b) const { return a && b; }
};
struct LogicalOr {
  static constexpr std::string_view op = "logical_or";
  using Types = Bools;
  HOST_DEVICE bool operator()(bool a, bool b) const { return a || b; }
};
struct LogicalNot {
  static constexpr std::string_view op = "logical_not";
  using Types = Bools;
  HOST_DEVICE bool operator()(bool x) const { return !x; }
};

struct IsNan {
  static constexpr std::string_view op = "is_nan";
  using Types = Floats;
  template <class T>
  HOST_DEVICE bool operator()(T x) const {
    return x != x;
  }
};

// --- Three operands ----------------------------------------------------------------------------

struct Where {
  static constexpr std::string_view op = "where";
  static constexpr bool kChooses = true;
  using Types = StoredTypes;
  /// Without a branch, which no vector has. A condition is 0 or 1.
  template <class T>
  HOST_DEVICE T operator()(std::uint8_t condition, T yes, T no) const {
    const T mask = static_cast<T>(T{0} - static_cast<T>(condition));
    return static_cast<T>((yes & mask) | (no & static_cast<T>(~mask)));
  }
};
struct Clip {
  static constexpr std::string_view op = "clip";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE T operator()(T x, T low, T high) const {
    return Minimum{}(Maximum{}(x, low), high);
  }
};
/// Exact at both ends, t = 0 and t = 1.
struct Lerp {
  static constexpr std::string_view op = "lerp";
  using Types = Floats;
  template <class T>
  HOST_DEVICE T operator()(T a, T b, T t) const {
    const T way = b - a;
    const T from_a = a + t * way, from_b = b - (T{1} - t) * way;
    return t < static_cast<T>(0.5) ? from_a : from_b;
  }
};

// --- Reductions --------------------------------------------------------------------------------

/// A reduction starts from `start` and combines by `Combine`; `finish` sees the number of
/// elements. The order in which elements are combined is the device's choice.
struct Sum {
  static constexpr std::string_view op = "sum";
  using Types = List<float, double, std::int32_t, std::int64_t>;
  using Combine = Add;
  template <class T>
  HOST_DEVICE static constexpr T start() {
    return 0;
  }
  template <class T>
  HOST_DEVICE static T finish(T total, std::int64_t) {
    return total;
  }
};
struct Mean : Sum {
  static constexpr std::string_view op = "mean";
  using Types = Floats;
  template <class T>
  HOST_DEVICE static T finish(T total, std::int64_t count) {
    return total / static_cast<T>(count);
  }
};
struct Prod : Sum {
  static constexpr std::string_view op = "prod";
  using Combine = Mul;
  template <class T>
  HOST_DEVICE static constexpr T start() {
    return 1;
  }
};
struct Max : Sum {
  static constexpr std::string_view op = "max";
  using Types = Numbers;
  using Combine = Maximum;
  template <class T>
  HOST_DEVICE static constexpr T start() {
    using Limits = std::numeric_limits<T>;
    return Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  }
};
struct Min : Max {
  static constexpr std::string_view op = "min";
  using Combine = Minimum;
  template <class T>
  HOST_DEVICE static constexpr T start() {
    using Limits = std::numeric_limits<T>;
    return Limits::has_infinity ? Limits::infinity() : Limits::max();
  }
};

struct Any : Sum {
  static constexpr std::string_view op = "any";
  using Types = Bools;
  using Combine = LogicalOr;
};
struct All : Any {
  static constexpr std::string_view op = "all";
  using Combine = LogicalAnd;
  template <class T>
  HOST_DEVICE static constexpr T start() {
    return true;
  }
};

/// `better` says whether `x` takes the place of `best`, which came before it. NaN wins.
struct ArgMax {
  static constexpr std::string_view op = "argmax";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE static bool better(T x, T best) {
    return x > best || (x != x && best == best);
  }
};
struct ArgMin {
  static constexpr std::string_view op = "argmin";
  using Types = Numbers;
  template <class T>
  HOST_DEVICE static bool better(T x, T best) {
    return x < best || (x != x && best == best);
  }
};

// --- The lists ---------------------------------------------------------------------------------

using Elementwise =
    List<Neg, Exp, Expm1, Log, Log1p, Sqrt, Rsqrt, Square, Abs, Sign, Relu, Relu6, LeakyRelu, Elu,
         Softplus, Floor, Ceil, Round, Sigmoid, Tanh, Erf, Sin, Cos, LogicalNot, IsNan, Add, Sub,
         Mul, Div, Pow, Maximum, Minimum, ReluGrad, Equal, NotEqual, Less, LessEqual, Greater,
         GreaterEqual, LogicalAnd, LogicalOr, Where, Clip, Lerp>;
using Reduction = List<Sum, Mean, Prod, Max, Min, Any, All>;
using IndexReduction = List<ArgMax, ArgMin>;

}  // namespace GRADGRAPH_ISA
}  // namespace gradgraph::functors
