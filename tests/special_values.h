#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

/// The numbers that arithmetic treats in a way of its own, and how results are compared that may
/// hold them.
namespace gradgraph::tests {

/// Zeros of both signs, ones, small and huge numbers, infinities, NaN, denormal numbers and some
/// ordinary ones; of integers what is at the ends of their range. A vector.
Tensor special_values(DType dtype);
/// A tensor whose element i is element index(i) of a vector, taken around its end.
Tensor arrange(const Tensor& vector, const Shape& shape,
               const std::function<std::int64_t(std::int64_t)>& index);
/// Element i of a vector, everywhere.
inline Tensor repeat(const Tensor& vector, std::int64_t i, const Shape& shape = {}) {
  return arrange(vector, shape, [i](std::int64_t) { return i; });
}

/// Where two results differ, in words; empty where they agree. NaN, infinities and the signs of
/// zero are the same where they agree, and other numbers apart from each other by no more than
/// `tolerance` times the number, or times `scale` where that is larger. So a tolerance of 0
/// means the same bits, but for what kind of NaN there is.
std::string find_difference(const Tensor& actual, const Tensor& expected, double tolerance = 0,
                            double scale = 0);

}  // namespace gradgraph::tests
