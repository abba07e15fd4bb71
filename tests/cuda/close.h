#pragma once

#include <vector>

#include "gradgraph/gradgraph.h"

namespace gradgraph::tests {

/// CHECKs that elements are within `tolerance` of the CPU's, relative to these where they are
/// larger than 1.
void check_close(const Tensor& actual, const Tensor& expected, double tolerance);
void check_close(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected,
                 double tolerance);

/// Whether two tensors are alike to the last bit.
bool same_bits(const Tensor& a, const Tensor& b);

}  // namespace gradgraph::tests
