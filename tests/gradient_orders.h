#pragma once

#include <vector>

#include "gradgraph/gradgraph.h"

namespace gradgraph::tests {

/// What two ways to y must agree in: gradients of a function of y by x, scale and offset, those
/// of a function of these, and y. `value` is of y's shape.
inline std::vector<Output> gradients_of_two_orders(const Output& y, const Tensor& value,
                                                   const std::vector<Output>& by) {
  std::vector<Output> result = gradients({sum(sin(y * 1.5) * value)}, by);
  Output again = sum(square(result[0]) * value);
  for (const Output& first : {result[1], result[2]}) again = again + sum(exp(first));
  for (const Output& second : gradients({again}, by)) result.push_back(second);
  result.push_back(y);
  return result;
}

}  // namespace gradgraph::tests
