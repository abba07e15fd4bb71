#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "device/cuda/elementwise/program_code.h"
#include "device/cuda/fast_divisor.h"

/// A program of float32 arithmetic, short in most: what a kernel is generated from, and the
/// argument of one that carries it out step by step. What it reads
/// is brought first, so that no load waits for another, and the last result stays at hand. Inputs
/// may be bytes that are cast. Numbers of 16 bits are float32 after they are loaded and until
/// they are stored; steps of their own round them.
namespace gradgraph::cuda {

/// What a float32 becomes in 16 bits.
template <class T>
struct RoundTo {
  static constexpr std::string_view op =
      dtype_of<T> == float16 ? "round_to_float16" : "round_to_bfloat16";
  HOST_DEVICE float operator()(float x) const { return static_cast<float>(T(x)); }
};

/// By a condition that is an input, 0 or 1.
struct Choose {
  static constexpr std::string_view op = "where";
  HOST_DEVICE float operator()(float condition, float yes, float no) const {
    return condition != 0 ? yes : no;
  }
};

namespace codes {
/// What takes few instructions for an element: a kernel of these alone is short, and starts fast.
/// They are looked for in this order.
using Short = functors::List<functors::Add, functors::Mul, functors::Sub, functors::Relu,
                             functors::ReluGrad, functors::Div, functors::Square, functors::Sqrt,
                             functors::Neg, functors::Abs, functors::Rsqrt, functors::Maximum,
                             functors::Minimum>;
template <class... A, class... B>
functors::List<A..., B...> join(functors::List<A...>, functors::List<B...>);
using ShortOfHalves = decltype(join(Short{}, functors::List<RoundTo<Half>, RoundTo<BFloat16>>{}));
/// What takes many, and what is rarer: it is in a kernel of its own.
using Functions = decltype(join(
    ShortOfHalves{}, functors::List<Choose, functors::Sigmoid, functors::Tanh, functors::Exp,
                                    functors::Log, functors::Erf>{}));
template <class... F>
constexpr int count(functors::List<F...>) {
  return sizeof...(F);
}

template <class T, class... Types>
constexpr bool contains(functors::List<Types...>) {
  return (std::is_same_v<T, Types> || ...);
}
template <class F, class... Others>
constexpr bool is_among(functors::List<Others...>) {
  return ((F::op == Others::op) || ...);
}
/// Of float32, or of conditions, which are 0 and 1; without branches for rare operands.
template <class F>
inline constexpr bool kIsOther =
    !is_among<F>(Functions{}) &&
    (contains<float>(typename F::Types{}) || contains<bool>(typename F::Types{})) &&
    !functors::HasRare<F, float>;
template <class Chosen>
Chosen add_others(Chosen, functors::List<>);
template <class... Chosen, class F, class... Rest>
auto add_others(functors::List<Chosen...>, functors::List<F, Rest...>) {
  using Next =
      std::conditional_t<kIsOther<F>, functors::List<Chosen..., F>, functors::List<Chosen...>>;
  return add_others(Next{}, functors::List<Rest...>{});
}
/// All that generated kernels have: behind Functions comes what no interpreter has.
using Generated = decltype(add_others(Functions{}, functors::Elementwise{}));

template <class... F>
std::tuple<F...> as_tuple(functors::List<F...>);
template <int kCode>
using At = std::tuple_element_t<kCode, decltype(as_tuple(Generated{}))>;

/// What the step gives for its operands; conditions are 0 or 1.
template <int kCode>
HOST_DEVICE float calculate(float a, float b, float c) {
  using F = At<kCode>;
  if constexpr (functors::kOperands<F, float> == 1)
    return F{}(a);
  else if constexpr (functors::kOperands<F, float> == 2)
    return F{}(a, b);
  else
    return F{}(a, b, c);
}
}  // namespace codes

/// How an element is stored.
enum class Stored : std::uint8_t { float32, byte, float16, bfloat16 };

inline constexpr int kMaxFloatSteps = 128, kMaxFloatUniforms = 32, kMaxFloatConstants = 16;
/// Those that generated kernels have are not many for a thread; interpreters' lie in memory.
inline constexpr int kMaxFloatRegisters = 64, kMaxInterpretedRegisters = 22;

/// An operand is a register, from kUniform on one of the values that are the same for all
/// elements, from kConstantValue on a number, or kLast, what the step before made.
inline constexpr std::uint8_t kUniform = 128, kConstantValue = kUniform + kMaxFloatUniforms;
inline constexpr std::uint8_t kLast = 255;
inline constexpr std::uint8_t kNowhere = 255;
inline constexpr std::uint8_t kItself = 254;

struct alignas(8) FloatStep {
  std::uint8_t code = 0;           ///< place in codes::Generated; kItself: the operand
  std::uint8_t result = kNowhere;  ///< register
  std::uint8_t operands[3] = {kLast, kLast, kLast};
  std::uint8_t output = kNowhere;
  std::uint8_t padding[2] = {};
};

struct FloatCode {
  const void* inputs[kMaxInputs] = {};
  void* outputs[kMaxOutputs] = {};
  FloatStep steps[kMaxFloatSteps];
  std::int32_t count = 0;  ///< elements
  std::int32_t num_steps = 0, num_registers = 0, num_loads = 0, num_uniforms = 0;
  std::int32_t num_axes = 0;
  std::int32_t strides[kMaxViews][Shape::kMaxRank] = {};
  FastDivisor extents[Shape::kMaxRank];
  std::uint8_t loads[kMaxInputs] = {};  ///< inputs of the registers from 0 on
  std::uint8_t uniforms[kMaxFloatUniforms] = {};
  float constants[kMaxFloatConstants] = {};
  std::int32_t num_constants = 0;
  std::int8_t reading[kMaxInputs] = {};
  std::int8_t writing[kMaxOutputs] = {};  ///< 0 at an element's own index, else view + 1
  Stored inputs_stored[kMaxInputs] = {}, outputs_stored[kMaxOutputs] = {};
  std::uint8_t has_halves = 0;      ///< values of 16 bits, or steps that round to them
  std::uint8_t has_functions = 0;   ///< codes behind those of codes::ShortOfHalves
  std::uint8_t is_interpreted = 1;  ///< by FloatCode's own kernels; else it must be generated
  std::uint8_t four_share_row = 0;  ///< four elements from a multiple of four on
  std::uint8_t is_aligned = 0;      ///< all inputs and outputs, to 16 bytes

  HOST_DEVICE const void* input(int i) const { return inputs[i]; }
  HOST_DEVICE void* output(int i) const { return outputs[i]; }
};
static_assert(sizeof(FloatCode) <= 3072, "there is room for other arguments of a kernel");

/// `shapes` are those of the inputs. Nothing where the program has other arithmetic, or needs too
/// much.
std::optional<FloatCode> encode_floats(const ElementwiseProgram& program,
                                       std::span<const Shape> shapes);
/// Whether quads of elements can be loaded from there at once.
bool is_aligned(const void* address);
/// Fills in the addresses.
void bind(FloatCode& code, std::span<const void* const> inputs, std::span<void* const> outputs);

}  // namespace gradgraph::cuda
