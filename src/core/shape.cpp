#include "gradgraph/shape.h"

#include <algorithm>
#include <ostream>

#include "core/text.h"

namespace gradgraph {

Shape::Shape(std::initializer_list<std::int64_t> dims, SourceLocation where) {
  append_all({dims.begin(), dims.size()}, where);
}
Shape::Shape(const std::vector<std::int64_t>& dims, SourceLocation where) {
  append_all(dims, where);
}
Shape::Shape(std::span<const std::int64_t> dims, SourceLocation where) {
  append_all(dims, where);
}

void Shape::append(std::int64_t dim, SourceLocation where) { append_all({&dim, 1}, where); }

void Shape::append_all(std::span<const std::int64_t> dims, SourceLocation where) {
  for (const std::int64_t dim : dims) {
    if (rank_ == kMaxRank)
      throw BuildError(fmt::format("a shape has at most {} axes", kMaxRank), where);
    if (dim < any)
      throw BuildError(
          fmt::format("{} is not a dimension: these are 0 or more, or gg::any for unknown", dim),
          where);
    dims_[static_cast<std::size_t>(rank_++)] = dim;
  }
}

void Shape::fail_axis(int axis) const {
  throw BuildError(rank_ == 0 ? fmt::format("a scalar's shape has no axis {}", axis)
                              : fmt::format("{} has no axis {}: those are {} to {}", to_string(),
                                            axis, -rank_, rank_ - 1));
}

bool Shape::fully_known() const {
  return std::none_of(begin(), end(), [](std::int64_t dim) { return dim == any; });
}

std::int64_t Shape::num_elements(SourceLocation where) const {
  std::int64_t count = 1;
  bool overflow = false;
  for (const std::int64_t dim : *this) {
    if (dim == any)
      throw BuildError("the number of elements of " + to_string() + " is not known", where);
    overflow |= __builtin_mul_overflow(count, dim, &count);
  }
  if (std::find(begin(), end(), 0) != end()) return 0;
  if (overflow) throw BuildError(to_string() + " has too many elements", where);
  return count;
}

bool Shape::compatible_with(const Shape& other) const {
  return std::equal(
      begin(), end(), other.begin(), other.end(),
      [](std::int64_t a, std::int64_t b) { return a == b || a == any || b == any; });
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ',';
    text += (*this)[i] == any ? "?" : std::to_string((*this)[i]);
  }
  return text + "]";
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(begin(), end(), other.begin(), other.end());
}

std::ostream& operator<<(std::ostream& stream, const Shape& shape) {
  return stream << shape.to_string();
}

bool broadcast_shapes(const Shape& a, const Shape& b, Shape& result) {
  const int rank = std::max(a.rank(), b.rank());
  Shape both;  // `result` may be one of the two
  for (int axis = 0; axis < rank; ++axis) {
    const int in_a = axis - (rank - a.rank()), in_b = axis - (rank - b.rank());
    const std::int64_t dim_a = in_a < 0 ? 1 : a[in_a], dim_b = in_b < 0 ? 1 : b[in_b];
    if (dim_a == dim_b || dim_b == 1)
      both.append(dim_a);
    else if (dim_a == 1)
      both.append(dim_b);
    else if (dim_a == any || dim_b == any)
      both.append(std::max(dim_a, dim_b));
    else
      return false;
  }
  result = both;
  return true;
}

}  // namespace gradgraph
