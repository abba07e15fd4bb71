#pragma once

#include <cstdint>
#include <limits>

#include "device/cuda/fast_divisor.h"
#include "device/cuda/launch.h"
#include "device/kernel.h"
#include "device/shared/elements.h"
#include "ops/nn/window.h"

/// Where the elements of images, outputs and filters are, for kernels that look them up as parts
/// of matrices. All places fit an int, or a node is declined.
namespace gradgraph::cuda {

/// How images lie in memory.
struct Steps {
  int image, row, column, channel;

  Steps(const Shape& shape, Layout layout) {
    const ImageAxes axes = axes_of(layout);
    const auto step = [&](int axis) { return static_cast<int>(extent(shape, axis + 1, 4)); };
    image = step(0);
    row = step(axes.height);
    column = step(axes.width);
    channel = step(axes.channels);
  }
};

struct Axis {
  int input, output, stride, dilation, before;

  explicit Axis(const WindowAxis& axis)
      : input(static_cast<int>(axis.input)),
        output(static_cast<int>(axis.output)),
        stride(static_cast<int>(axis.stride)),
        dilation(static_cast<int>(axis.dilation)),
        before(static_cast<int>(axis.before)) {}
};

/// A pixel of many images.
struct Pixel {
  int image, row, column;
};
/// What is outside of all images, whatever a window adds.
inline constexpr int kOutside = std::numeric_limits<int>::min() / 2;

/// Numbers the pixels of images.
struct Pixels {
  FastDivisor height, width;

  Pixels(int height_, int width_) : height(height_), width(width_) {}
  __device__ Pixel operator()(int number) const {
    const auto [line, column] = width(number);
    const auto [image, row] = height(line);
    return {image, row, column};
  }
};

/// What the three products of a convolution have in common. Filters are [height, width, channels
/// of a group, filters of all groups].
struct Convolution {
  Axis height, width;
  Steps x_steps, y_steps;
  int taps;
  int images, groups, channels, filters;  ///< channels and filters of one group
  FastDivisor by_width, by_channels, by_filters;
  bool has_quads_of_channels, has_quads_of_filters;  ///< four lie together

  Convolution(const Windows& windows, Layout layout, const Shape& x, const Shape& filter,
              int groups_)
      : height(windows.height),
        width(windows.width),
        x_steps(x, layout),
        y_steps(image_shape(layout, x[0], windows, filter[3]), layout),
        taps(static_cast<int>(filter[0] * filter[1])),
        images(static_cast<int>(x[0])),
        groups(groups_),
        channels(static_cast<int>(filter[2])),
        filters(static_cast<int>(filter[3]) / groups_),
        by_width(static_cast<int>(filter[1])),
        by_channels(channels),
        by_filters(filters),
        has_quads_of_channels(layout == Layout::nhwc && channels % 4 == 0),
        has_quads_of_filters(layout == Layout::nhwc && filters % 4 == 0) {}

  /// Whether there is anything to do, and every matrix' sizes, and every place in a padded image,
  /// fit an int.
  static bool is_empty(const Windows& windows, Layout layout, const Shape& x,
                       const Shape& filter) {
    return x.num_elements() == 0 || filter.num_elements() == 0 ||
           image_shape(layout, x[0], windows, filter[3]).num_elements() == 0;
  }
  static bool fits(const Windows& windows, Layout layout, const Shape& x, const Shape& filter) {
    const Shape y = image_shape(layout, x[0], windows, filter[3]);
    constexpr auto most = static_cast<double>(std::numeric_limits<int>::max() / 4);
    const auto reach = [](const WindowAxis& axis) {
      return static_cast<double>(axis.output) * static_cast<double>(axis.stride) +
             static_cast<double>(axis.span()) + static_cast<double>(axis.before);
    };
    return static_cast<double>(x.num_elements()) < most &&
           static_cast<double>(y.num_elements()) < most &&
           static_cast<double>(filter.num_elements()) < most && reach(windows.height) < most &&
           reach(windows.width) < most;
  }

  int outputs() const { return images * height.output * width.output; }
  int inputs() const { return images * height.input * width.input; }
};

}  // namespace gradgraph::cuda
