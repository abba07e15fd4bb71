#pragma once

#include <cstdint>

#include "gradgraph/api.h"

namespace gradgraph GRADGRAPH_API {

/// How a session calculates products of matrices, convolutions, and their gradients, where a
/// graph says float32. Variables, their updates, sums, losses and results stay float32.
enum class Precision : std::uint8_t {
  /// As the graph says.
  fp32,
  /// What is multiplied is rounded to 11 significant bits, where a device has fast products of
  /// such numbers, as NVIDIA GPUs have. Elsewhere as fp32.
  tf32,
  /// What is multiplied, and what only follows it, is stored in 16 bits; sums are float32's.
  /// bfloat16 has float32's range. In float16 small gradients vanish: see LossScale.
  bf16,
  fp16,
};

}  // namespace gradgraph
