#pragma once

#include <cstdint>

/// The inner loops of convolution and pooling of float32 NHWC images, compiled for each level of
/// the instruction set.
namespace gradgraph {

/// A sum of matrix products, c = sum over r of a[r] b[r] (c += where `add`), read in place: what
/// a convolution of whole lines comes down to. Rows of `a` may overlap, and so may rows of c
/// where `add`: they are added one after the other. Steps are in elements.
struct ProductSum {
  const float* a = nullptr;  ///< (row m, inner k) of a[r]: r * a_next + m * a_row + k * a_inner
  std::int64_t a_next = 0, a_row = 0, a_inner = 0;  ///< one of a_row and a_inner is 1
  const float* b = nullptr;  ///< (inner k, column n) of b[r]: r * b_next + k * b_inner + n
  std::int64_t b_next = 0, b_inner = 0;
  float* c = nullptr;  ///< (row m, column n): m * c_row + n
  std::int64_t c_row = 0;
  std::int64_t rows = 0, columns = 0, inner = 0, products = 0;
  bool add = false;
};

/// One row of windows over some lines of an image: `width` windows side by side.
struct PoolLine {
  std::int64_t window_height = 0, window_width = 0;
  std::int64_t width = 0, channels = 0;
  std::int64_t line = 0;  ///< elements from one line of the image to the next
};

/// Windows of a depthwise convolution over pixels side by side, each of as many taps. Steps are
/// in elements.
struct DepthwiseRun {
  std::int64_t pixels = 0, rows = 0, columns = 0, channels = 0;
  std::int64_t x_pixel = 0, x_row = 0, x_column = 0;
  std::int64_t filter_row = 0, filter_column = 0, y_pixel = 0;
};

/// Multiples of rows: `count` of them.
struct RowTerms {
  const float* factors = nullptr;
  const std::int32_t* offsets = nullptr;  ///< of the rows
  std::int64_t count = 0;
};

struct LineLoops {
  void (*product_sum)(const ProductSum&);

  /// The maxima of relu(lines + bias) and the taps where they are: the first, or NaN's; kNoChoice
  /// where the maximum is not above zero.
  void (*pool)(const PoolLine&, const float* lines, const float* bias, float* pooled,
               std::uint8_t* choice);
  /// The gradient of `lines`: what `grad` says where `choice` says, else zero. Adds what it puts
  /// into each channel to `total`.
  void (*unpool)(const PoolLine&, const float* grad, const std::uint8_t* choice, float* lines,
                 float* total);

  /// y[pixel] = sum over taps of x[pixel, tap] * filter[tap], for each channel.
  void (*depthwise)(const DepthwiseRun&, const float* x, const float* filter, float* y);
  /// filter[tap] += sum over pixels of x[pixel, tap] * grad[pixel], for each channel.
  void (*depthwise_filter_grad)(const DepthwiseRun&, const float* x, const float* grad,
                                float* filter);

  /// Gathers the elements of `grad` whose choice is `tap`: their values, and their indices times
  /// `step`. Returns their number; writes up to kMaxLanes elements beyond.
  std::int64_t (*gather_choice)(const float* grad, const std::uint8_t* choice, int tap,
                                std::int64_t count, std::int32_t step, float* factors,
                                std::int32_t* offsets);
  /// target[0, length) += sum over terms of factor * rows[offset, offset + length)
  void (*add_rows)(const float* rows, const RowTerms& terms, float* target, std::int64_t length);
};

inline constexpr std::int64_t kMaxLanes = 16;

/// In the fastest form that this processor runs.
const LineLoops& best_line_loops();

}  // namespace gradgraph
