#pragma once

namespace gradgraph {

/// Float32 operations per second of products and sums that stay in registers.
double measure_peak_flops(int threads);
/// Bytes per second of a = b + s * c (McCalpin's triad) in memory.
double measure_triad_bandwidth(int threads);

}  // namespace gradgraph
