#pragma once

#include <cstdint>

#include "device/shared/elements.h"
#include "device/shared/host_device.h"

namespace gradgraph {

/// A shape as seen from one axis, [outer, size, inner]: a row for each of outer and inner.
struct AxisView {
  std::int64_t outer, size, inner;

  AxisView(std::int64_t outer_, std::int64_t size_, std::int64_t inner_)
      : outer(outer_), size(size_), inner(inner_) {}
  AxisView(const Shape& shape, int axis)
      : AxisView(extent(shape, 0, axis), shape[axis], extent(shape, axis + 1, shape.rank())) {}

  HOST_DEVICE std::int64_t rows() const { return outer * inner; }
  /// Where a row's first element is.
  HOST_DEVICE std::int64_t start(std::int64_t row) const {
    return row / inner * size * inner + row % inner;
  }
};

/// A tensor around its indexed axis, and the number of indices.
struct Indexed : AxisView {
  std::int64_t count;

  Indexed(const Shape& shape, int axis, const Shape& indices)
      : AxisView(shape, axis), count(indices.num_elements()) {}
};

/// The attribute "axis".
inline int axis_of(const KernelSite& site) {
  return static_cast<int>(site.attribute<std::int64_t>("axis"));
}

/// The numbers of a "range" node of T: floats are calculated in float64.
template <class T>
struct Progression {
  using Exact = std::conditional_t<std::is_floating_point_v<T>, double, std::int64_t>;
  Exact start, step;

  explicit Progression(const KernelSite& site)
      : start(site.attribute<Exact>(std::is_floating_point_v<T> ? "start" : "integer_start")),
        step(site.attribute<Exact>(std::is_floating_point_v<T> ? "step" : "integer_step")) {}
};

}  // namespace gradgraph
