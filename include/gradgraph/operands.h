#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "gradgraph/graph.h"

/// What the ops' front functions take in place of an Output.
namespace gradgraph GRADGRAPH_API {

/// The caller's line, for errors.
using Where = SourceLocation;

template <class T>
concept Arithmetic = std::is_arithmetic_v<T>;

/// A number as it was written: an integer keeps all digits, which a double has not room for.
class Number {
 public:
  template <Arithmetic T>
  Number(T number) {  // NOLINT: implicit
    if (holds_exactly(number))
      value_ = static_cast<std::int64_t>(number);
    else
      value_ = static_cast<double>(number);
  }

  const std::variant<std::int64_t, double>& value() const { return value_; }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(value_); }
  double as_double() const {
    return std::visit([](auto value) { return static_cast<double>(value); }, value_);
  }
  /// 0 for what is no int64.
  std::int64_t as_integer() const;
  /// Of `dtype`, a scalar; empty where `dtype` is one of integers and the number none of it.
  Tensor to_tensor(DType dtype) const;

 private:
  template <class T>
  static constexpr bool holds_exactly(T number) {
    if constexpr (std::unsigned_integral<T> && sizeof(T) >= sizeof(std::int64_t))
      return number <= static_cast<T>(std::numeric_limits<std::int64_t>::max());
    return std::integral<T>;
  }

  std::variant<std::int64_t, double> value_;
};

/// An input that may be written as a number or a Tensor literal: it becomes a constant of the
/// other input's graph; a number takes the other input's dtype. Keeps the line it was written on.
class Operand {
 public:
  Operand(Output output, SourceLocation where = SourceLocation::current())  // NOLINT: implicit
      : output_(output), where_(where) {}
  template <Arithmetic T>
  Operand(T number, SourceLocation where = SourceLocation::current())  // NOLINT: implicit
      : number_(number), where_(where) {}
  Operand(Number number, SourceLocation where = SourceLocation::current())  // NOLINT: implicit
      : number_(number), where_(where) {}
  Operand(Tensor tensor, SourceLocation where = SourceLocation::current())  // NOLINT: implicit
      : tensor_(std::move(tensor)), where_(where) {}

  bool is_output() const { return static_cast<bool>(output_); }
  const Output& output() const { return output_; }
  SourceLocation where() const { return where_; }
  /// This operand as a node beside `peer`, for an input of `op`; throws BuildError when the
  /// number is not one of the peer's dtype, which must hold an integer exactly.
  Output resolve(std::string_view op, const Output& peer, SourceLocation where) const;

 private:
  Output output_;
  Tensor tensor_;
  std::optional<Number> number_;
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

namespace nn {
class Module;
}

namespace operands_detail {
/// An argument for a parameter that is an integer. To become a number of another kind it has two
/// ways, and so none.
struct Axis {
  operator std::int64_t() const { return -1; }  // NOLINT: implicit
  operator int() const { return -1; }           // NOLINT: implicit
};
template <class F>
concept HasVariables = requires(const F& layer, SourceLocation where) {
  { layer.variables(where) } -> std::convertible_to<std::vector<Output>>;
};
/// Those of ours whose line comes behind one or two arguments that may be left out.
template <class F>
concept LayerOfInputs = std::derived_from<F, nn::Module> &&
    requires(F& layer, Output x, SourceLocation where) {
  layer(x, {}, where);
};
template <class F>
concept LayerOfSteps = std::derived_from<F, nn::Module> &&
    requires(F& layer, Output x, SourceLocation where) {
  layer(x, {}, {}, where);
};
/// Functions with a parameter that has a default.
using FunctionOfNumber = Output (*)(Output, double, SourceLocation);
using FunctionOfFlag = Output (*)(Output, bool, SourceLocation);
}  // namespace operands_detail

template <class F>
concept FunctionOfOutput =
    std::invocable<F&, Output, SourceLocation> || std::invocable<F&, Output> ||
    std::invocable<F&, Output, operands_detail::Axis, SourceLocation>;

/// A function of an Output that gives another one, or a result with `output` or `outputs`:
/// `gg::relu`, `gg::gelu`, `gg::softmax` (along the last axis), a layer, a lambda with or without
/// a SourceLocation. A default one is empty.
class UnaryFunction {
 public:
  UnaryFunction() = default;
  template <FunctionOfOutput F>
  UnaryFunction(F function) {  // NOLINT: implicit
    if constexpr (std::is_pointer_v<F> || requires { function.operator bool(); })
      if (!function) return;
    using operands_detail::Axis;
    // What is called is what has the variables, in all copies.
    const auto shared = std::make_shared<F>(std::move(function));
    if constexpr (operands_detail::HasVariables<F>)
      variables_ = [shared](SourceLocation where) { return shared->variables(where); };
    function_ = [shared](Output x, SourceLocation where) {
      F& called = *shared;
      if constexpr (std::invocable<F&, Output, SourceLocation>)
        return output_of(called(x, where));
      else if constexpr (operands_detail::LayerOfInputs<F>)
        return output_of(called(x, {}, where));
      else if constexpr (operands_detail::LayerOfSteps<F>)
        return output_of(called(x, {}, {}, where));
      else if constexpr (std::invocable<F&, Output, Axis, SourceLocation>)
        return output_of(called(x, Axis(), where));
      else
        return output_of(called(x));
    };
  }

  /// gg::leaky_relu, gg::elu and gg::gelu with the parameters that they have by default. Another
  /// function's is not known here, so a lambda must give it: BuildError.
  UnaryFunction(operands_detail::FunctionOfNumber function,  // NOLINT: implicit
                SourceLocation where = SourceLocation::current());
  UnaryFunction(operands_detail::FunctionOfFlag function,  // NOLINT: implicit
                SourceLocation where = SourceLocation::current());

  explicit operator bool() const { return static_cast<bool>(function_); }
  Output operator()(Output x, SourceLocation where = SourceLocation::current()) const {
    return function_(x, where);
  }
  /// A layer's; none of other functions.
  std::vector<Output> variables(SourceLocation where = SourceLocation::current()) const {
    return variables_ ? variables_(where) : std::vector<Output>();
  }

 private:
  template <class R>
  static Output output_of(R result) {
    if constexpr (std::convertible_to<R, Output>)
      return result;
    else if constexpr (requires { result.output; })
      return result.output;
    else
      return result.outputs;
  }

  std::function<Output(Output, SourceLocation)> function_;
  std::function<std::vector<Output>(SourceLocation)> variables_;
};

}  // namespace gradgraph
