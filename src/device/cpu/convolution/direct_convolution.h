#pragma once

#include <cstdint>

#include "device/cpu/convolution/filter_blocks.h"
#include "device/cpu/convolution/line_loops.h"
#include "device/kernel.h"
#include "ops/nn/window.h"

namespace gradgraph {

/// Parts of a batch whose gradients of a filter of `size` elements are summed up by themselves.
/// Partial sums should stay in the second-level cache, but two are worth their memory.
std::int64_t filter_grad_parts(std::int64_t batch, std::int64_t size);
/// Blocks of the filter, at most `most`, that each of `parts` is done in where the parts alone
/// would leave threads without work. Every element's sum is the same whatever their number.
std::int64_t filter_grad_blocks(std::int64_t parts, std::int64_t most, int threads);

/// A convolution of float32 NHWC images. Where windows reach beyond the image, it is copied into
/// one with a border of zeros first.
struct DirectConvolution {
  static bool takes(const KernelSite& site, const Shape& image, const Shape& filter);
  DirectConvolution(const KernelSite& site, const Shape& image, const Shape& filter);

  /// Image `n` with its border, in `buffer` where it has one.
  const float* padded_image(const float* images, std::int64_t n, float* buffer) const;
  /// An image without the border of `padded`.
  void copy_line_from_padded(const float* padded_line, float* image_line) const;
  void copy_from_padded(const float* padded, float* image) const;
  /// `count` lines of the output from line `y` on, for one such image: [count, output width,
  /// filters]. The filter is packed by `blocks`.
  void convolve_lines(const float* image, std::int64_t y, std::int64_t count,
                      const float* packed_filter, float* output) const;
  /// Some rows of a filter as [window height, row, filters]: elements [begin, end) of row `tap`
  /// of its windows.
  struct FilterRows {
    std::int64_t tap, begin, end;
  };
  /// Adds to `rows` of the filter's gradient what `lines` lines of the output's gradient give;
  /// `image` begins where the windows of the first of them do. The first call writes instead of
  /// adding.
  void add_to_filter_grad(const FilterRows& rows, const float* image, const float* output_grad,
                          std::int64_t lines, float* filter_grad, bool is_first) const;
  /// To all of it.
  void add_to_filter_grad(const float* image, const float* output_grad, std::int64_t lines,
                          float* filter_grad, bool is_first) const;
  /// The filter as [window height, filters, row], its rows `step` elements apart.
  void flip_filter(const float* filter, std::int64_t step, float* flipped) const;

  std::int64_t padded_elements() const { return is_padded ? padded_height * line : 0; }
  /// Of an image as padded_image gives it.
  std::int64_t image_elements() const {
    return (is_padded ? padded_height : windows.height.input) * line;
  }
  std::int64_t filter_elements() const { return windows.height.window * row * filters; }
  std::int64_t output_line() const { return windows.width.output * filters; }

  Windows windows;
  bool is_turned;  ///< height and width have changed places
  std::int64_t batch, channels, filters, groups;
  std::int64_t group_channels = channels / groups, group_filters = filters / groups;
  int threads;
  const LineLoops& loops;
  bool is_padded = false;
  std::int64_t padded_height = 0, padded_width = 0;
  std::int64_t row;  ///< elements of a filter's row
  /// A window's row is no run of elements: there are gaps, or channels of other groups.
  bool by_taps;
  std::int64_t line = 0;  ///< elements of a padded image's line
  /// Of the filter as [window height * row, filters]; by taps it is read as it lies.
  FilterBlocks blocks;

 private:
  void convolve_line_by_taps(const float* image, const float* filter, float* output) const;
  /// To row `tap` of the filter's windows.
  void add_to_filter_grad_by_taps(std::int64_t tap, const float* image, const float* output_grad,
                                  std::int64_t lines, float* filter_grad, bool is_first) const;
};

}  // namespace gradgraph
