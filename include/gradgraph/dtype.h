#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string_view>
#include <type_traits>

#include "gradgraph/api.h"

namespace gradgraph GRADGRAPH_API {

enum class DType : std::uint8_t { float32, float64, int32, int64, uint8, boolean };

inline constexpr DType float32 = DType::float32;
inline constexpr DType float64 = DType::float64;
inline constexpr DType int32 = DType::int32;
inline constexpr DType int64 = DType::int64;
inline constexpr DType uint8 = DType::uint8;
inline constexpr DType boolean = DType::boolean;

/// "float32", "bool", ...
std::string_view name(DType dtype);
/// Bytes of one element.
std::size_t size_of(DType dtype);
std::ostream& operator<<(std::ostream& stream, DType dtype);

constexpr bool is_floating(DType dtype) { return dtype == float32 || dtype == float64; }
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
struct DTypeOf<bool> : std::integral_constant<DType, boolean> {};

template <class T>
inline constexpr DType dtype_of = DTypeOf<std::remove_cv_t<T>>::value;

}  // namespace gradgraph
