#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gradgraph/weights.h"

namespace gradgraph {

/// One variable's share of a stored tensor.
struct Share {
  std::vector<std::string> variables;  ///< what its name may be, the likeliest first
  int third = -1;                      ///< of the rows; -1: all of them
  /// Which of the two tensors whose sum is the variable, 0 or 1; -1: it is the variable.
  int term = -1;
};
/// Of a tensor of this name in a graph with these variables; most have one.
std::vector<Share> shares_of(Convention convention, const std::string& stored,
                             const std::set<std::string>& variables);
/// Whether tensors of this name have no counterpart among variables.
bool is_dropped(Convention convention, const std::string& stored);

/// The shape that a variable takes its share of a stored one for; nothing where the rows do not
/// divide.
std::optional<Shape> shape_of_share(Convention convention, const std::string& variable,
                                    const Shape& stored, const Share& share);
/// The elements in that order.
Tensor take_share(Convention convention, const std::string& variable, const Tensor& stored,
                  const Share& share);
/// The sum of two tensors of one shape and floating dtypes.
Tensor added(const Tensor& a, const Tensor& b, DType dtype);

/// Variables' values as they are stored, with their names there. `all`: names of all variables,
/// also of those that are not stored.
std::vector<NamedTensor> to_stored(Convention convention,
                                   const std::vector<NamedTensor>& variables,
                                   const std::set<std::string>& all);

}  // namespace gradgraph
