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

/// Float32 numbers of a normal distribution, the same for the same seed.
inline Tensor normal_noise(const Shape& shape, std::uint64_t seed) {
  Tensor tensor(float32, shape);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> draw;
  for (float& x : tensor.span<float>()) x = draw(random);
  return tensor;
}

}  // namespace gradgraph::tests
