#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "device/kernel.h"

namespace gradgraph {

inline constexpr std::initializer_list<DType> kAllDTypes = {float32, float64, int32,   int64,
                                                            uint8,   boolean, float16, bfloat16};
inline constexpr std::initializer_list<DType> kNumberDTypes = {float32, float64, int32, int64,
                                                               uint8};

/// Calls `body.template operator()<T>()` with the unsigned integer as large as an element: what
/// kernels that only move elements work with.
template <class Body>
decltype(auto) dispatch_size(DType dtype, Body&& body) {
  switch (size_of(dtype)) {
    case 1: return body.template operator()<std::uint8_t>();
    case 2: return body.template operator()<std::uint16_t>();
    case 4: return body.template operator()<std::uint32_t>();
    case 8: return body.template operator()<std::uint64_t>();
  }
  throw KernelError("no kernel moves elements of " + std::to_string(size_of(dtype)) + " bytes");
}

/// Calls `body.template operator()<T>()` with a type that adds like `dtype`; integers are
/// unsigned, since these wrap around where signed ones must not overflow.
template <class Body>
decltype(auto) dispatch_sum(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32: return body.template operator()<float>();
    case DType::float64: return body.template operator()<double>();
    case DType::int32: return body.template operator()<std::uint32_t>();
    case DType::int64: return body.template operator()<std::uint64_t>();
    default: return body.template operator()<std::uint8_t>();
  }
}

/// The bits of `value` converted to `dtype`, in the low bytes.
template <class Value>
std::uint64_t element_bits(DType dtype, Value value) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, Tensor::full(dtype, {}, value).raw(), size_of(dtype));
  return bits;
}

/// The bytes of output i.
inline std::size_t output_bytes(const KernelSite& site, int i = 0) {
  return static_cast<std::size_t>(site.output_shape(i).num_elements()) *
         size_of(site.output_dtype(i));
}

/// The product of the dimensions of `shape` in [first, last).
inline std::int64_t extent(const Shape& shape, int first, int last) {
  std::int64_t count = 1;
  for (int axis = first; axis < last; ++axis) count *= shape[axis];
  return count;
}

/// The reduced axes of a node as bits.
inline std::uint32_t axes_attribute(const KernelSite& site) {
  std::uint32_t axes = 0;
  for (const std::int64_t axis : site.attribute<std::vector<std::int64_t>>("axes"))
    axes |= 1u << axis;
  return axes;
}

/// The axes along which sum_to adds up: those that the target lacks or has with size 1.
inline std::uint32_t broadcast_axes(const Shape& x, const Shape& target) {
  const int leading = x.rank() - target.rank();
  std::uint32_t axes = 0;
  for (int axis = 0; axis < x.rank(); ++axis)
    if (axis < leading || target[axis - leading] == 1) axes |= 1u << axis;
  return axes;
}

}  // namespace gradgraph
