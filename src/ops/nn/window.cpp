#include "ops/nn/window.h"

#include <algorithm>

#include "core/checked.h"
#include "core/text.h"

namespace gradgraph {

std::int64_t WindowAxis::span() const {
  return checked_add<std::int64_t>(checked_mul(window - 1, dilation), 1);
}

namespace {

WindowAxis slide(std::int64_t input, std::int64_t window, std::int64_t stride,
                 std::int64_t dilation, Padding padding, std::int64_t before,
                 std::int64_t after) {
  WindowAxis axis{.input = input, .window = window, .stride = stride, .dilation = dilation};
  if (input == any || window == any) {
    axis.output = any;
    return axis;
  }
  const std::int64_t span = axis.span();
  if (padding == Padding::same) {
    axis.output = input / stride + (input % stride > 0 ? 1 : 0);
    const std::int64_t last = (axis.output - 1) * stride;  // less than the input
    axis.before = std::max<std::int64_t>(span - (input - last), 0) / 2;
    return axis;
  }
  if (padding == Padding::valid) before = after = 0;
  const std::int64_t padded = checked_add(checked_add(input, before), after);
  axis.output = padded < span ? 0 : (padded - span) / stride + 1;
  axis.before = before;
  return axis;
}

}  // namespace

std::string to_attribute(Layout layout) { return layout == Layout::nhwc ? "nhwc" : "nchw"; }

std::string to_attribute(Padding padding) {
  switch (padding) {
    case Padding::valid: return "valid";
    case Padding::same: return "same";
    case Padding::explicit_: return "explicit";
  }
  throw BuildError("there is no such padding");
}

std::vector<std::int64_t> to_attribute(Pair pair) { return {pair.height, pair.width}; }

std::vector<std::int64_t> to_attribute(const Border& border) {
  return {border.top, border.bottom, border.left, border.right};
}

void require_border(std::string_view op, Padding padding, const Border& border,
                    SourceLocation where) {
  if (padding != Padding::explicit_ && border != Border{})
    throw BuildError(fmt::format("[{}]: a border needs Padding::explicit_; padding is {}", op,
                                 to_attribute(padding)),
                     where);
}

Layout layout_attribute(const Attributes& attributes) {
  const std::string& layout = attributes.get<std::string>("layout");
  if (layout == "nhwc") return Layout::nhwc;
  if (layout == "nchw") return Layout::nchw;
  throw BuildError(fmt::format("layout must be nhwc or nchw, not '{}'", layout));
}

Padding padding_attribute(const Attributes& attributes) {
  const std::string& padding = attributes.get<std::string>("padding");
  if (padding == "valid") return Padding::valid;
  if (padding == "same") return Padding::same;
  if (padding == "explicit") return Padding::explicit_;
  throw BuildError(fmt::format("padding must be valid, same or explicit, not '{}'", padding));
}

Pair pair_attribute(const Attributes& attributes, std::string_view name) {
  const auto& values = attributes.get<std::vector<std::int64_t>>(name);
  if (values.size() != 2) throw BuildError(fmt::format("{} must be two numbers", name));
  return {values[0], values[1]};
}

Border border_attribute(const Attributes& attributes) {
  const auto& values = attributes.get<std::vector<std::int64_t>>("border");
  if (values.size() != 4) throw BuildError("border must be four numbers");
  return {values[0], values[1], values[2], values[3]};
}

Border border_if_read(const Attributes& attributes) {
  return padding_attribute(attributes) == Padding::explicit_ ? border_attribute(attributes)
                                                             : Border{};
}

Windows windows_of(const Attributes& attributes, const Shape& image, Pair window,
                   Pair dilations) {
  const ImageAxes axes = axes_of(layout_attribute(attributes));
  const Padding padding = padding_attribute(attributes);
  const Border border = border_attribute(attributes);
  const Pair strides = pair_attribute(attributes, "strides");
  return {slide(image[axes.height], window.height, strides.height, dilations.height, padding,
                border.top, border.bottom),
          slide(image[axes.width], window.width, strides.width, dilations.width, padding,
                border.left, border.right)};
}

Windows checked_windows(const InferContext& context, const Shape& image, Pair window,
                        Pair dilations) {
  const auto positive = [](Pair pair) { return pair.height >= 1 && pair.width >= 1; };
  const auto known_positive = [](std::int64_t extent) { return extent == any || extent >= 1; };
  const Pair strides = pair_attribute(context.attributes(), "strides");
  const Border border = border_attribute(context.attributes());
  context.require(positive(strides), "strides must be at least 1");
  context.require(positive(dilations), "dilations must be at least 1");
  context.require(known_positive(window.height) && known_positive(window.width),
                  "a window must be at least 1 high and wide");
  context.require(std::min({border.top, border.bottom, border.left, border.right}) >= 0,
                  "a border must not be negative");
  const Windows windows = windows_of(context.attributes(), image, window, dilations);
  for (const auto& [axis, unit] : {std::pair{windows.height, "rows"}, {windows.width, "columns"}})
    if (axis.output == 0 && padding_attribute(context.attributes()) != Padding::same)
      context.fail(
          fmt::format("a window over {} {} does not fit into an image of {} with padding",
                      axis.span(), unit, axis.input));
  return windows;
}

Shape image_shape(Layout layout, std::int64_t batch, const Windows& windows,
                  std::int64_t channels) {
  if (layout == Layout::nhwc)
    return {batch, windows.height.output, windows.width.output, channels};
  return {batch, channels, windows.height.output, windows.width.output};
}

namespace {
OpDef& with_padding(OpDef& op) {
  return op.attribute("padding", std::string("valid"), "valid, same or explicit")
      .attribute("border", std::vector<std::int64_t>{},
                 "where it is explicit: above, below, left, right");
}
OpDef& with_layout(OpDef& op) {
  return op.attribute("layout", std::string("nhwc"), "of images: nhwc or nchw");
}
}  // namespace

OpDef& with_convolution_attributes(OpDef& op) {
  const std::vector<std::int64_t> ones = {1, 1};
  op.attribute("strides", ones, "from window to window, down and right");
  with_padding(op)
      .attribute("dilations", ones, "from element to element of a window")
      .attribute("groups", std::int64_t{1}, "of channels that have filters of their own");
  return with_layout(op);
}

OpDef& with_pool_attributes(OpDef& op) {
  using Extents = std::vector<std::int64_t>;
  op.required_attribute<Extents>("window", "height and width of a window")
      .required_attribute<Extents>("strides", "from window to window, down and right");
  return with_layout(with_padding(op));
}

}  // namespace gradgraph
