#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "op_rows.h"

/// Short words for writing rows.
namespace gradgraph::tests {

using Rows = std::vector<OpRow>;
using In = const std::vector<Output>&;
using Out = std::vector<Output>;
using Build = std::function<Out(In)>;
using Values = std::vector<Tensor>;

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr std::int64_t kLongMin = std::numeric_limits<std::int64_t>::min();

template <class T>
Tensor elements(std::initializer_list<T> values, const Shape& shape) {
  return Tensor::from(std::vector<T>(values), shape);
}
inline Tensor ints(std::initializer_list<std::int32_t> values) { return Tensor(values); }
inline Tensor longs(std::initializer_list<std::int64_t> values) { return Tensor(values); }
inline Tensor bytes(std::initializer_list<std::uint8_t> values) { return Tensor(values); }

/// The op itself, with nothing around it.
inline Build of(Output (*op)(Output, Where)) {
  return [op](In x) { return Out{op(x[0], {})}; };
}
inline Build of(Output (*op)(Operand, Operand, Where)) {
  return [op](In x) { return Out{op(x[0], x[1], {})}; };
}

/// The first result, and the gradient of its sum by the first input.
inline Build with_gradient(const Build& build) {
  return [build](In in) {
    const Output result = build(in)[0];
    return Out{result, gradients({sum(result)}, {in[0]})[0]};
  };
}

inline OpRow row(std::string name, Values inputs, Build build, Values expected) {
  return {std::move(name), std::move(inputs), std::move(build), std::move(expected)};
}
/// A row without a gradient to check: of kinks, infinities or integers.
inline OpRow values(std::string name, Values inputs, Build build, Values expected) {
  OpRow result = row(std::move(name), std::move(inputs), std::move(build), std::move(expected));
  result.gradient = false;
  return result;
}
/// The same where float64 would give other values, at the ends of float32's range.
inline OpRow float32_values(std::string name, Values inputs, Build build, Values expected) {
  OpRow result =
      values(std::move(name), std::move(inputs), std::move(build), std::move(expected));
  result.also = {};
  return result;
}
/// A row whose dtypes are part of what is tested.
inline OpRow float32_row(std::string name, Values inputs, Build build, Values expected) {
  OpRow result = row(std::move(name), std::move(inputs), std::move(build), std::move(expected));
  result.also = {};
  return result;
}

}  // namespace gradgraph::tests
