#pragma once

#include <cstdint>
#include <random>

#include "gradgraph/dtype.h"
#include "gradgraph/tensor.h"

namespace gradgraph::tests {

/// Uniform in [-1, 1), the same for the same seed.
inline Tensor noise(const Shape& shape, std::uint32_t seed, DType dtype = float64) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> uniform(-1, 1);
  Tensor tensor(float64, shape);
  for (double& value : tensor.span<double>()) value = uniform(generator);
  return tensor.cast(dtype);
}

}  // namespace gradgraph::tests
