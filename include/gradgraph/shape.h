#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "gradgraph/api.h"
#include "gradgraph/source_location.h"

namespace gradgraph GRADGRAPH_API {

/// A dimension that is not known until a run feeds it, such as the batch.
inline constexpr std::int64_t any = -1;

/// The extents of a tensor, outermost first. The rank is always known and at most `kMaxRank`;
/// a dimension may be `any`. Held in place: a Shape never allocates.
class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  /// Throws BuildError for a dimension below -1 or more than kMaxRank of them.
  Shape(std::initializer_list<std::int64_t> dims,
        SourceLocation where = SourceLocation::current());
  explicit Shape(std::span<const std::int64_t> dims,
                 SourceLocation where = SourceLocation::current());
  explicit Shape(const std::vector<std::int64_t>& dims,
                 SourceLocation where = SourceLocation::current());

  int rank() const { return rank_; }
  /// `axis` in [-rank, rank): -1 is the last one. Throws BuildError for another.
  std::int64_t operator[](int axis) const { return dims_[index(axis)]; }
  void set(int axis, std::int64_t dim) { dims_[index(axis)] = dim; }
  /// Throws as the constructors do.
  void append(std::int64_t dim, SourceLocation where = SourceLocation::current());

  std::span<const std::int64_t> dims() const {
    return {dims_.data(), static_cast<std::size_t>(rank_)};
  }
  const std::int64_t* begin() const { return dims_.data(); }
  const std::int64_t* end() const { return dims_.data() + rank_; }

  bool fully_known() const;
  /// The product of the dimensions, 1 for a scalar; throws BuildError when one is unknown or the
  /// product overflows.
  std::int64_t num_elements(SourceLocation where = SourceLocation::current()) const;
  /// True when the two could be the same shape: equal ranks, and equal dimensions where both
  /// know.
  bool compatible_with(const Shape& other) const;

  /// "[?,28,28,1]".
  std::string to_string() const;

  bool operator==(const Shape& other) const;

 private:
  void append_all(std::span<const std::int64_t> dims, SourceLocation where);
  std::size_t index(int axis) const {
    const int from_front = axis < 0 ? axis + rank_ : axis;
    if (from_front < 0 || from_front >= rank_) fail_axis(axis);
    return static_cast<std::size_t>(from_front);
  }
  [[noreturn]] void fail_axis(int axis) const;

  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

/// Writes `to_string`.
std::ostream& operator<<(std::ostream& stream, const Shape& shape);

/// The shape that NumPy's broadcasting gives `a` and `b`, in `result`; false when they clash.
/// An unknown dimension against 1 stays unknown, against n > 1 it is n.
bool broadcast_shapes(const Shape& a, const Shape& b, Shape& result);

}  // namespace gradgraph
