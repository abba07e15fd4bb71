#pragma once

#include <algorithm>

#include "device/cpu/convolution/line_loops.h"
#include "device/cpu/isa/upper_halves.h"
#include "device/cpu/isa/vectors.h"

/// Windows over channels that are each a group of its own: along the channels, with the sums of
/// several pixels, or of several taps, in registers. Included by one file per level of the
/// instruction set, as loops_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

/// Calls body(c, load, store) for the vectors of channels; the last may be a part of one.
template <class Body>
void for_each_vector(std::int64_t channels, const Body& body) {
  std::int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes)
    body(
        c, [](const float* p) { return load(p); }, [](float* p, Vector x) { store(p, x); });
  if (c == channels) return;
  const Mask lanes = first_lanes(channels - c);
  body(
      c, [lanes](const float* p) { return load(p, lanes); },
      [lanes](float* p, Vector x) { store(p, x, lanes); });
}

template <int Pixels>
void depthwise_pixels(const DepthwiseRun& run, const float* x, const float* filter, float* y) {
  for_each_vector(run.channels, [&](std::int64_t c, const auto& read, const auto& write) {
    Vector sum[Pixels] = {};
    for (std::int64_t i = 0; i < run.rows; ++i)
      for (std::int64_t j = 0; j < run.columns; ++j) {
        const Vector tap = read(filter + i * run.filter_row + j * run.filter_column + c);
        const float* first = x + i * run.x_row + j * run.x_column + c;
        GRADGRAPH_UNROLL
        for (int p = 0; p < Pixels; ++p)
          sum[p] = multiply_add(read(first + p * run.x_pixel), tap, sum[p]);
      }
    GRADGRAPH_UNROLL
    for (int p = 0; p < Pixels; ++p) write(y + p * run.y_pixel + c, sum[p]);
  });
}

template <int Pixels>
void depthwise_up_to(const DepthwiseRun& run, std::int64_t pixels, const float* x,
                     const float* filter, float* y) {
  if constexpr (Pixels > 1) {
    if (pixels < Pixels) return depthwise_up_to<Pixels - 1>(run, pixels, x, filter, y);
  }
  if (pixels > 0) depthwise_pixels<Pixels>(run, x, filter, y);
}

/// The row behind those of these windows, in the order of lines: the next line has it, without
/// dilation. Pixels that are not neighbours are nothing that hardware foresees.
inline void fetch_next_row(const DepthwiseRun& run, const float* x, std::int64_t pixels) {
  const float* row = x + std::max(run.rows * run.x_row, -run.x_row);
  for (std::int64_t p = 0; p < pixels; ++p, row += run.x_pixel)
    for (std::int64_t c = 0; c < run.channels; c += 16) __builtin_prefetch(row + c);
}

inline void depthwise(const DepthwiseRun& run, const float* x, const float* filter, float* y) {
  constexpr std::int64_t kPixels = 8;
  for (std::int64_t p = 0; p < run.pixels; p += kPixels) {
    const std::int64_t pixels = std::min(kPixels, run.pixels - p);
    fetch_next_row(run, x + p * run.x_pixel, pixels);
    depthwise_up_to<kPixels>(run, pixels, x + p * run.x_pixel, filter, y + p * run.y_pixel);
  }
  clear_upper_halves();
}

template <int Rows, int Columns>
void depthwise_taps(const DepthwiseRun& run, const float* x, const float* grad, float* filter) {
  for_each_vector(run.channels, [&](std::int64_t c, const auto& read, const auto& write) {
    Vector sum[Rows][Columns];
    GRADGRAPH_UNROLL
    for (int i = 0; i < Rows; ++i) GRADGRAPH_UNROLL
    for (int j = 0; j < Columns; ++j)
      sum[i][j] = read(filter + i * run.filter_row + j * run.filter_column + c);
    const float* pixel = x + c;
    const float* factor = grad + c;
    for (std::int64_t p = 0; p < run.pixels; ++p, pixel += run.x_pixel, factor += run.y_pixel) {
      const Vector other = read(factor);
      GRADGRAPH_UNROLL
      for (int i = 0; i < Rows; ++i) GRADGRAPH_UNROLL
      for (int j = 0; j < Columns; ++j)
        sum[i][j] =
            multiply_add(read(pixel + i * run.x_row + j * run.x_column), other, sum[i][j]);
    }
    GRADGRAPH_UNROLL
    for (int i = 0; i < Rows; ++i) GRADGRAPH_UNROLL
    for (int j = 0; j < Columns; ++j)
      write(filter + i * run.filter_row + j * run.filter_column + c, sum[i][j]);
  });
}

template <int Rows>
void depthwise_tap_rows(const DepthwiseRun& run, const float* x, const float* grad,
                        float* filter) {
  for (std::int64_t j = 0; j < run.columns; j += 3, x += 3 * run.x_column) {
    float* const taps = filter + j * run.filter_column;
    switch (std::min<std::int64_t>(run.columns - j, 3)) {
      case 1: depthwise_taps<Rows, 1>(run, x, grad, taps); break;
      case 2: depthwise_taps<Rows, 2>(run, x, grad, taps); break;
      default: depthwise_taps<Rows, 3>(run, x, grad, taps); break;
    }
  }
}

inline void depthwise_filter_grad(const DepthwiseRun& run, const float* x, const float* grad,
                                  float* filter) {
  for (std::int64_t i = 0; i < run.rows; i += 3, x += 3 * run.x_row) {
    float* const taps = filter + i * run.filter_row;
    switch (std::min<std::int64_t>(run.rows - i, 3)) {
      case 1: depthwise_tap_rows<1>(run, x, grad, taps); break;
      case 2: depthwise_tap_rows<2>(run, x, grad, taps); break;
      default: depthwise_tap_rows<3>(run, x, grad, taps); break;
    }
  }
  clear_upper_halves();
}

}  // namespace gradgraph::GRADGRAPH_ISA
