#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "gradgraph/dtype.h"
#include "gradgraph/shape.h"

/// Arithmetic of sizes. Users choose extents, borders and batch sizes, so any sum or product of
/// these may be more than 64 bits hold; wrapped, it would be taken for a small one.
///
/// What does not fit is a BuildError without op or line: Graph::add, kernels' making and plans
/// put op, node and the user's line before it.
namespace gradgraph {

/// No value of a run takes more bytes, whatever memory there is: so a kernel may multiply the
/// bytes of one value by a small number (of threads, say) without checking.
inline constexpr std::int64_t kMaxValueBytes = std::int64_t{1} << 48;
/// Nor do all values of a run together.
inline constexpr std::int64_t kMaxRunBytes = std::int64_t{1} << 61;

[[noreturn]] void fail_size(std::string_view operation, std::string a, std::string b);

template <std::integral T>
T checked_add(T a, T b) {
  T sum{};
  if (__builtin_add_overflow(a, b, &sum)) fail_size("+", std::to_string(a), std::to_string(b));
  return sum;
}

template <std::integral T>
T checked_mul(T a, T b) {
  T product{};
  if (__builtin_mul_overflow(a, b, &product))
    fail_size("*", std::to_string(a), std::to_string(b));
  return product;
}

/// Bytes that elements over the known dimensions of `shape` take, those of size 0 left out: so
/// the product of any of the dimensions fits where this does.
std::int64_t spanned_bytes(DType dtype, const Shape& shape);

}  // namespace gradgraph
