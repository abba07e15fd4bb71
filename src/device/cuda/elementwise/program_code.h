#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <tuple>

#include "device/shared/scalar_functors.h"
#include "graph/program.h"

/// An ElementwiseProgram as a kernel's argument: what each thread does for an element, as a list
/// of steps on registers, which an interpreter (interpreter.h) carries out.
namespace gradgraph::cuda {

/// What fits an argument. A program that needs more is declined.
inline constexpr int kMaxSteps = 160;
inline constexpr int kMaxInputs = 40;
inline constexpr int kMaxOutputs = 24;
inline constexpr int kMaxViews = 8;
inline constexpr int kMaxConstants = 24;

/// One of the functors with the type of its operands.
template <class F_, class T_>
struct Arithmetic {
  using F = F_;
  using T = T_;
};

namespace codes {

template <class... A>
struct Table {
  static constexpr int size = sizeof...(A);
  template <std::size_t I>
  using At = std::tuple_element_t<I, std::tuple<A...>>;
};
template <class F, class Types>
struct Of;
template <class F, class... T>
struct Of<F, functors::List<T...>> {
  using Codes = Table<Arithmetic<F, T>...>;
};
/// One that only chooses between its operands does so whatever their type is.
template <class F, class... T>
  requires requires { F::kChooses; }
struct Of<F, functors::List<T...>> {
  using Codes = Table<Arithmetic<F, void>>;
};
template <class... T>
struct Joined;
template <class T>
struct Joined<T> {
  using Codes = T;
};
template <class... A, class... B, class... Rest>
struct Joined<Table<A...>, Table<B...>, Rest...> : Joined<Table<A..., B...>, Rest...> {};
template <class... F>
typename Joined<typename Of<F, typename F::Types>::Codes...>::Codes of_all(functors::List<F...>);

using All = decltype(of_all(functors::Elementwise{}));

}  // namespace codes

/// Codes of steps: the arithmetic of `codes::All` by its place there, then these.
enum Code : std::uint16_t {
  kLoad = codes::All::size,  ///< from input `index`; and the dtype
  kStore = kLoad + 8,        ///< to output `index`; and the dtype
  kConvert = kStore + 8,     ///< from one dtype to another; and 8 * from + to
  kConstant = kConvert + 64,
};

struct Step {
  std::uint16_t code = 0;
  std::uint8_t index = 0;  ///< of the input, the output or the constant
  std::uint8_t result = 0;
  std::uint8_t operands[3] = {0, 0, 0};
};

/// How an input is read: at the element's own index, at 0, or through a view.
inline constexpr std::int8_t kOwnIndex = -1, kAtZero = -2;

/// How a program's inputs are read. Axes are given innermost first; a view's stride of 0 repeats.
struct Views {
  std::int64_t extents[Shape::kMaxRank] = {};
  std::int64_t strides[kMaxViews][Shape::kMaxRank] = {};
  std::int8_t reading[kMaxInputs] = {};
  std::int8_t num_axes = 0, num_views = 0;
};
/// Nothing where there are too many of one kind. `places`, where they are given: inputs that are
/// parts of values, whose shape does not matter.
std::optional<Views> find_views(const Shape& shape, std::span<const Shape> inputs,
                                std::span<const ElementwiseProgram::Place> places = {});

struct ProgramCode : Views {
  std::int64_t count = 0;  ///< elements
  Step steps[kMaxSteps];
  std::int16_t num_steps = 0;
  std::int16_t num_registers = 0;
  bool is_narrow = true;                        ///< all values fit 4 bytes
  std::uint64_t constants[kMaxConstants] = {};  ///< in the low bytes
  const void* inputs[kMaxInputs] = {};
  void* outputs[kMaxOutputs] = {};
};
static_assert(sizeof(ProgramCode) <= 4000, "arguments of a kernel take 4096 bytes at most");

/// `shapes` are those of the inputs. The first `updates` outputs are new values of the inputs of
/// the same number, and written where these are. Nothing where the program needs too much.
std::optional<ProgramCode> encode(const ElementwiseProgram& program,
                                  std::span<const Shape> shapes, int updates);
/// Whether there is code for this elementwise node.
bool has_code(const Node& node);

}  // namespace gradgraph::cuda
