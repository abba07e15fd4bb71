#pragma once

#include <cstdint>

#include "ops/nn/window.h"

namespace gradgraph {

/// The shapes behind "conv2d_relu_pool" and its gradients: a convolution whose output is pooled
/// by windows that neither overlap nor reach beyond it.
struct PooledConvolution {
  /// Of a node that has conv2d's attributes and the pool's "window".
  PooledConvolution(const Attributes& attributes, const Shape& image, const Shape& filter);

  Windows windows;  ///< of the convolution
  Pair pool;        ///< of the pool, which are also its strides
  std::int64_t batch, channels, filters;
  std::int64_t height, width;  ///< of what comes out of the pool

  Shape pooled_shape() const { return {batch, height, width, filters}; }
};

/// The choice where the maximum was not above zero, so that nothing flows back.
inline constexpr std::uint8_t kNoChoice = 255;

}  // namespace gradgraph
