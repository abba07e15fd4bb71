#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gradgraph/op.h"
#include "gradgraph/ops.h"

/// What convolution and pooling share: windows that slide over images.
namespace gradgraph {

/// How a window slides along one axis of an image.
struct WindowAxis {
  std::int64_t input = 1, output = 1;  ///< extents; `any` as long as the image's is
  std::int64_t window = 1, stride = 1, dilation = 1;
  std::int64_t before = 0;  ///< padding before the first element

  /// Elements from the window's first to its last, both included.
  std::int64_t span() const;
  /// The taps of the window at output `position` that meet the image; the others are padding.
  struct Taps {
    std::int64_t begin, end;
  };
  constexpr Taps taps(std::int64_t position) const {
    const std::int64_t start = position * stride - before;
    const std::int64_t end = std::clamp<std::int64_t>(ceiling(input - start), 0, window);
    return {std::clamp<std::int64_t>(ceiling(-start), 0, end), end};
  }
  /// Where tap `tap` of the window at output `position` lies in the image.
  constexpr std::int64_t at(std::int64_t position, std::int64_t tap) const {
    return position * stride - before + tap * dilation;
  }

  /// Whether each position sees one element, its own.
  constexpr bool is_pixel() const { return window == 1 && stride == 1 && input == output; }

 private:
  /// The first tap that is at least `distance` away from the window's start.
  constexpr std::int64_t ceiling(std::int64_t distance) const {
    return distance <= 0 ? 0 : (distance - 1) / dilation + 1;
  }
};
struct Windows {
  WindowAxis height, width;

  /// The image itself is what they see.
  constexpr bool are_pixels() const { return height.is_pixel() && width.is_pixel(); }
};

/// Which axis of a rank 4 image is which.
struct ImageAxes {
  int height, width, channels;
};
constexpr ImageAxes axes_of(Layout layout) {
  return layout == Layout::nhwc ? ImageAxes{1, 2, 3} : ImageAxes{2, 3, 1};
}

/// Enumerators and pairs as the attributes keep them.
std::string to_attribute(Layout layout);
std::string to_attribute(Padding padding);
std::vector<std::int64_t> to_attribute(Pair pair);
std::vector<std::int64_t> to_attribute(const Border& border);
/// Refuses a border that would not be read.
void require_border(std::string_view op, Padding padding, const Border& border,
                    SourceLocation where);
Layout layout_attribute(const Attributes& attributes);
Padding padding_attribute(const Attributes& attributes);
Pair pair_attribute(const Attributes& attributes, std::string_view name);
Border border_attribute(const Attributes& attributes);
/// None where the padding is another than explicit.
Border border_if_read(const Attributes& attributes);

/// The windows that slide over an image of shape `image` as the attributes "strides", "padding",
/// "border" and "layout" say. An output extent is 0 where no window fits.
Windows windows_of(const Attributes& attributes, const Shape& image, Pair window, Pair dilations);

/// The same while a node is built; throws when an attribute makes no sense or no window fits.
Windows checked_windows(const InferContext& context, const Shape& image, Pair window,
                        Pair dilations);

/// The shape of the windows' results: [batch, output height, output width, channels] in `layout`.
Shape image_shape(Layout layout, std::int64_t batch, const Windows& windows,
                  std::int64_t channels);

/// To the schemas of convolutions, and of pools.
OpDef& with_convolution_attributes(OpDef& op);
OpDef& with_pool_attributes(OpDef& op);

}  // namespace gradgraph
