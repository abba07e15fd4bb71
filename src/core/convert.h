#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <utility>

#include "gradgraph/dtype.h"

namespace gradgraph {

/// C++'s conversion between element types, made total: a float beyond an integer's range takes
/// the nearest end, NaN becomes 0, and booleans are "is not zero".
template <class To, class From>
[[gnu::always_inline]] constexpr To convert(From value) {
  if constexpr (is_half(dtype_of<From>)) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (is_half(dtype_of<To>)) {
    using Wide = std::conditional_t<std::same_as<From, float>, float, double>;
    return To(static_cast<Wide>(value));
  } else if constexpr (std::same_as<To, bool>) {
    return value != From{};
  } else if constexpr (std::integral<To> && std::floating_point<From>) {
    // 2^(bits of To): exact in any floating type, unlike the integer's maximum.
    const From limit = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
    if (value != value) return 0;
    if (value >= limit) return std::numeric_limits<To>::max();
    if (value <= static_cast<From>(std::numeric_limits<To>::min()))
      return std::numeric_limits<To>::min();
    return static_cast<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

/// Calls `body.template operator()<T>()` with the C++ type of `dtype`.
template <class Body>
decltype(auto) visit_dtype(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32: return body.template operator()<float>();
    case DType::float64: return body.template operator()<double>();
    case DType::int32: return body.template operator()<std::int32_t>();
    case DType::int64: return body.template operator()<std::int64_t>();
    case DType::uint8: return body.template operator()<std::uint8_t>();
    case DType::boolean: return body.template operator()<bool>();
    case DType::float16: return body.template operator()<Half>();
    case DType::bfloat16: return body.template operator()<BFloat16>();
  }
  __builtin_unreachable();
}

}  // namespace gradgraph
