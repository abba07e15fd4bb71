#pragma once

#include <cstdint>
#include <string>

#include "placement/costs.h"

namespace gradgraph {

/// Large enough for what is measured to take much longer than a call.
struct MeasuringSizes {
  std::int64_t rows;      ///< of the matrices of a product
  std::int64_t elements;  ///< of arrays, beyond all caches
  std::int64_t bytes;     ///< of a copy
};
MeasuringSizes sizes_for(const std::string& device);

/// Operations per second of a product of two float32 matrices, in a session.
double measure_product_flops(const std::string& device, std::int64_t rows, int threads);
/// Bytes per second of a = b + s * c, in a session.
double measure_bandwidth(const std::string& device, std::int64_t elements, int threads);

DeviceCosts measure_costs(const std::string& device, const MeasuringSizes& sizes, int threads);

}  // namespace gradgraph
