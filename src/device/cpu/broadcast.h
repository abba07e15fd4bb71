#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "gradgraph/shape.h"

/// The loop that follows reads and writes each element at its own index only, so it may be
/// vectorised even where its output is one of its inputs.
#ifdef __clang__
#define GRADGRAPH_VECTORIZE _Pragma("clang loop vectorize(assume_safety)")
#else
#define GRADGRAPH_VECTORIZE _Pragma("GCC ivdep")
#endif

namespace gradgraph {

/// How N contiguous operands are read to fill one contiguous output by NumPy's broadcasting:
/// neighbouring axes that all operands walk alike are merged, so the innermost one is as long as
/// can be and each operand's step in it is 1 or 0.
template <std::size_t N>
class Broadcast {
 public:
  using Offsets = std::array<std::int64_t, N>;

  Broadcast(const Shape& output, const std::array<Shape, N>& operands) {
    Offsets stride;
    stride.fill(1);
    for (int axis = output.rank() - 1; axis >= 0; --axis) {
      const std::int64_t extent = output[axis];
      Axis next{extent, {}};
      for (std::size_t i = 0; i < N; ++i) {
        const int own = axis - (output.rank() - operands[i].rank());
        const std::int64_t dim = own < 0 ? 1 : operands[i][own];
        next.steps[i] = dim == 1 ? 0 : stride[i];
        stride[i] *= dim;
      }
      if (extent == 1) continue;
      if (rank_ > 0 && continues(axes_[rank_ - 1], next))
        axes_[rank_ - 1].extent *= extent;
      else
        axes_[rank_++] = next;
    }
    if (rank_ == 0) axes_[rank_++] = {1, {}};
  }

  /// True when `for_rows` calls `row` once.
  bool is_one_row() const { return rank_ == 1; }
  /// Along the innermost axis: 1 or 0.
  const Offsets& inner_steps() const { return axes_[0].steps; }
  /// Of the innermost axis.
  std::int64_t inner_extent() const { return axes_[0].extent; }
  /// Where the operands' elements for the output's element `position` are.
  Offsets offsets_at(std::int64_t position) const {
    Offsets offsets{};
    for (std::size_t axis = 0; axis < rank_; ++axis) {
      // A division for each axis but the outermost: this is asked often.
      const std::int64_t rest = axis + 1 < rank_ ? position / axes_[axis].extent : 0;
      const std::int64_t index = position - rest * axes_[axis].extent;
      for (std::size_t i = 0; i < N; ++i) offsets[i] += index * axes_[axis].steps[i];
      position = rest;
    }
    return offsets;
  }

  /// Calls `row(position, offsets, length)` for the parts of rows that make up the output's
  /// elements [begin, end): `length` elements from `position` on, from the operands' `offsets`
  /// on.
  template <class Row>
  void for_rows(std::int64_t begin, std::int64_t end, const Row& row) const {
    std::array<std::int64_t, Shape::kMaxRank> index{};
    Offsets offsets{};
    std::int64_t rest = begin;
    for (std::size_t axis = 0; axis < rank_; ++axis) {
      index[axis] = rest % axes_[axis].extent;
      rest /= axes_[axis].extent;
      for (std::size_t i = 0; i < N; ++i) offsets[i] += index[axis] * axes_[axis].steps[i];
    }
    for (std::int64_t position = begin; position < end;) {
      const std::int64_t length = std::min(axes_[0].extent - index[0], end - position);
      row(position, offsets, length);
      position += length;
      for (std::size_t i = 0; i < N; ++i) offsets[i] -= index[0] * axes_[0].steps[i];
      index[0] = 0;
      for (std::size_t axis = 1; axis < rank_; ++axis) {
        for (std::size_t i = 0; i < N; ++i) offsets[i] += axes_[axis].steps[i];
        if (++index[axis] < axes_[axis].extent) break;
        for (std::size_t i = 0; i < N; ++i) offsets[i] -= index[axis] * axes_[axis].steps[i];
        index[axis] = 0;
      }
    }
  }

 private:
  struct Axis {
    std::int64_t extent = 1;
    Offsets steps{};
  };

  /// True when every operand goes on in `outer` where it stopped in `inner`.
  static bool continues(const Axis& inner, const Axis& outer) {
    for (std::size_t i = 0; i < N; ++i)
      if (outer.steps[i] != inner.steps[i] * inner.extent) return false;
    return true;
  }

  std::array<Axis, Shape::kMaxRank> axes_;  // innermost first
  std::size_t rank_ = 0;
};

}  // namespace gradgraph
