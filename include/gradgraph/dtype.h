#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string_view>
#include <type_traits>

#include "gradgraph/api.h"
#include "gradgraph/half.h"

namespace gradgraph GRADGRAPH_API {

enum class DType : std::uint8_t {
  float32,
  float64,
  int32,
  int64,
  uint8,
  boolean,
  float16,
  bfloat16
};
inline constexpr std::size_t kDTypes = 8;

inline constexpr DType float32 = DType::float32;
inline constexpr DType float64 = DType::float64;
inline constexpr DType int32 = DType::int32;
inline constexpr DType int64 = DType::int64;
inline constexpr DType uint8 = DType::uint8;
inline constexpr DType boolean = DType::boolean;
/// Values of these are stored in 16 bits; ops calculate, and sum, in float32 and round results.
inline constexpr DType float16 = DType::float16;
inline constexpr DType bfloat16 = DType::bfloat16;

/// "float32", "bool", ...
std::string_view name(DType dtype);
/// Bytes of one element.
std::size_t size_of(DType dtype);
std::ostream& operator<<(std::ostream& stream, DType dtype);

constexpr bool is_half(DType dtype) { return dtype == float16 || dtype == bfloat16; }
constexpr bool is_floating(DType dtype) {
  return dtype == float32 || dtype == float64 || is_half(dtype);
}
constexpr bool is_integer(DType dtype) {
  return dtype == int32 || dtype == int64 || dtype == uint8;
}

/// The DType of a C++ type: `dtype_of<float>` is float32.
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> : std::integral_constant<DType, float32> {};
template <>
struct DTypeOf<double> : std::integral_constant<DType, float64> {};
template <>
struct DTypeOf<std::int32_t> : std::integral_constant<DType, int32> {};
template <>
struct DTypeOf<std::int64_t> : std::integral_constant<DType, int64> {};
template <>
struct DTypeOf<std::uint8_t> : std::integral_constant<DType, uint8> {};
template <>
struct DTypeOf<Half> : std::integral_constant<DType, float16> {};
template <>
struct DTypeOf<BFloat16> : std::integral_constant<DType, bfloat16> {};
template <>
struct DTypeOf<bool> : std::integral_constant<DType, boolean> {};

template <class T>
inline constexpr DType dtype_of = DTypeOf<std::remove_cv_t<T>>::value;

}  // namespace gradgraph
