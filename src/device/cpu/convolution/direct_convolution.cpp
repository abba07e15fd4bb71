#include "device/cpu/convolution/direct_convolution.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "core/index.h"
#include "device/cpu/convolution/depthwise/depthwise.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"

/// Convolution of float32 NHWC images as sums of matrix products of whole lines, without a matrix
/// of patches. A window's row covers neighbouring pixels, so that what it sees of a line of the
/// image is one run of `row` = window width * channels elements: with rows of that length that
/// overlap, a line of the image is a matrix [output width, row], and
///
///     output line       = sum over window rows i of   image line(i) x filter[i]
///     filter gradient i = sum over output lines of    image line(i)^T x output line gradient
///     image line        = overlapping sum over i of   output line gradient x filter[i]^T
///
/// With dilation, or several groups, the same holds of each tap and group by itself: `row` is as
/// long as a group has channels then.
namespace gradgraph {

namespace {

std::int64_t padded(const WindowAxis& axis) {
  return (axis.output - 1) * axis.stride + axis.span();
}

/// Whether an image with its border can be made at all: attributes choose how wide that is.
bool fits_padded(const Windows& windows, std::int64_t channels) {
  constexpr std::int64_t kMost = std::int64_t{1} << 32;
  if (std::max(windows.height.span(), windows.width.span()) > kMost) return false;
  std::int64_t elements = 0;
  return !__builtin_mul_overflow(padded(windows.height), padded(windows.width), &elements) &&
         !__builtin_mul_overflow(elements, channels, &elements) && elements <= kMost;
}

Windows windows_at(const KernelSite& site, const Shape& image, const Shape& filter) {
  const Attributes& attributes = site.node().attributes();
  return windows_of(attributes, image, {filter[0], filter[1]},
                    pair_attribute(attributes, "dilations"));
}

/// Whether the axes have changed places: of an image one pixel wide, which lies in memory as one
/// that is one pixel high, and then is one long line.
bool turn_to_lines(Windows& windows) {
  const WindowAxis& width = windows.width;
  if (width.input != 1 || width.output != 1 || width.window != 1) return false;
  std::swap(windows.height, windows.width);
  return true;
}

}  // namespace

std::int64_t filter_grad_parts(std::int64_t batch, std::int64_t size) {
  constexpr std::int64_t kHuge = 1 << 22;
  const std::int64_t most = size > kHuge ? 1 : std::max<std::int64_t>(kElementsInCache / size, 2);
  return parts_for(std::min(batch, most));
}

std::int64_t filter_grad_blocks(std::int64_t parts, std::int64_t most, int threads) {
  if (parts == kMaxParts || parts % std::max(threads, 1) == 0) return 1;
  return std::clamp<std::int64_t>(most, 1, kMaxParts / parts);
}

bool DirectConvolution::takes(const KernelSite& site, const Shape& image, const Shape& filter) {
  const Attributes& attributes = site.node().attributes();
  return layout_attribute(attributes) == Layout::nhwc && !is_depthwise(site, image, filter) &&
         image.num_elements() > 0 && filter.num_elements() > 0 &&
         fits_padded(windows_at(site, image, filter), image[3]);
}

DirectConvolution::DirectConvolution(const KernelSite& site, const Shape& image,
                                     const Shape& filter)
    : windows(windows_at(site, image, filter)),
      is_turned(turn_to_lines(windows)),
      batch(image[0]),
      channels(image[3]),
      filters(filter[3]),
      groups(site.attribute<std::int64_t>("groups")),
      threads(site.threads()),
      loops(best_line_loops()),
      row(windows.width.window * group_channels),
      by_taps(groups > 1 || windows.height.dilation > 1 || windows.width.dilation > 1),
      blocks(by_taps ? 0 : windows.height.window * row, filters) {
  WindowAxis &height = windows.height, &width = windows.width;
  // One window goes nowhere, so a stride beyond any image must not be multiplied by.
  if (height.output == 1) height.stride = height.window;
  if (width.output == 1) width.stride = width.window;
  padded_height = padded(height);
  padded_width = padded(width);
  is_padded = height.before > 0 || width.before > 0 || padded_height > height.input ||
              padded_width > width.input;
  if (!is_padded) padded_width = width.input;
  line = padded_width * channels;
}

const float* DirectConvolution::padded_image(const float* images, std::int64_t n,
                                             float* buffer) const {
  const WindowAxis &height = windows.height, &width = windows.width;
  const float* image = images + n * height.input * width.input * channels;
  if (!is_padded) return image;
  const std::int64_t copied = std::min(width.input, padded_width - width.before) * channels;
  const std::int64_t left = width.before * channels;
  for (std::int64_t y = 0; y < padded_height; ++y, buffer += line) {
    const std::int64_t from = y - height.before;
    if (from < 0 || from >= height.input || copied <= 0) {
      std::fill_n(buffer, line, 0.f);
      continue;
    }
    std::fill_n(buffer, left, 0.f);
    std::copy_n(image + from * width.input * channels, copied, buffer + left);
    std::fill_n(buffer + left + copied, line - left - copied, 0.f);
  }
  return buffer - padded_height * line;
}

void DirectConvolution::copy_line_from_padded(const float* padded_line, float* image_line) const {
  const WindowAxis& width = windows.width;
  const std::int64_t copied =
      std::clamp<std::int64_t>(padded_width - width.before, 0, width.input) * channels;
  std::copy_n(padded_line + width.before * channels, copied, image_line);
  std::fill_n(image_line + copied, width.input * channels - copied, 0.f);
}

void DirectConvolution::copy_from_padded(const float* padded, float* image) const {
  const WindowAxis& height = windows.height;
  const std::int64_t image_line = windows.width.input * channels;
  for (std::int64_t y = 0; y < height.input; ++y, image += image_line)
    if (const std::int64_t from = y + height.before; from < padded_height)
      copy_line_from_padded(padded + from * line, image);
    else
      std::fill_n(image, image_line, 0.f);
}

void DirectConvolution::convolve_lines(const float* image, std::int64_t y, std::int64_t count,
                                       const float* packed_filter, float* output) const {
  const std::int64_t step = windows.height.stride * line;
  if (by_taps) {
    for (std::int64_t i = 0; i < count; ++i)
      convolve_line_by_taps(image + (y + i) * step, packed_filter, output + i * output_line());
    return;
  }
  blocks.for_each(packed_filter,
                  [&](const float* block, std::int64_t column, std::int64_t width) {
                    for (std::int64_t i = 0; i < count; ++i)
                      loops.product_sum({.a = image + (y + i) * step,
                                         .a_next = line,
                                         .a_row = windows.width.stride * channels,
                                         .a_inner = 1,
                                         .b = block,
                                         .b_next = row * width,
                                         .b_inner = width,
                                         .c = output + i * output_line() + column,
                                         .c_row = filters,
                                         .rows = windows.width.output,
                                         .columns = width,
                                         .inner = row,
                                         .products = windows.height.window});
                  });
}

void DirectConvolution::convolve_line_by_taps(const float* image, const float* filter,
                                              float* output) const {
  const WindowAxis &height = windows.height, &width = windows.width;
  for (std::int64_t group = 0; group < groups; ++group)
    for (std::int64_t tap = 0; tap < height.window; ++tap)
      loops.product_sum({.a = image + tap * height.dilation * line + group * group_channels,
                         .a_next = width.dilation * channels,
                         .a_row = width.stride * channels,
                         .a_inner = 1,
                         .b = filter + tap * row * filters + group * group_filters,
                         .b_next = group_channels * filters,
                         .b_inner = filters,
                         .c = output + group * group_filters,
                         .c_row = filters,
                         .rows = width.output,
                         .columns = group_filters,
                         .inner = group_channels,
                         .products = width.window,
                         .add = tap > 0});
}

void DirectConvolution::add_to_filter_grad(const FilterRows& rows, const float* image,
                                           const float* output_grad, std::int64_t lines,
                                           float* filter_grad, bool is_first) const {
  loops.product_sum({.a = image + rows.tap * line + rows.begin,
                     .a_next = windows.height.stride * line,
                     .a_row = 1,
                     .a_inner = windows.width.stride * channels,
                     .b = output_grad,
                     .b_next = output_line(),
                     .b_inner = filters,
                     .c = filter_grad + (rows.tap * row + rows.begin) * filters,
                     .c_row = filters,
                     .rows = rows.end - rows.begin,
                     .columns = filters,
                     .inner = windows.width.output,
                     .products = lines,
                     .add = !is_first});
}

void DirectConvolution::add_to_filter_grad(const float* image, const float* output_grad,
                                           std::int64_t lines, float* filter_grad,
                                           bool is_first) const {
  for (std::int64_t tap = 0; tap < windows.height.window; ++tap)
    if (by_taps)
      add_to_filter_grad_by_taps(tap, image, output_grad, lines, filter_grad, is_first);
    else
      add_to_filter_grad({tap, 0, row}, image, output_grad, lines, filter_grad, is_first);
}

void DirectConvolution::add_to_filter_grad_by_taps(std::int64_t tap, const float* image,
                                                   const float* output_grad, std::int64_t lines,
                                                   float* filter_grad, bool is_first) const {
  const WindowAxis &height = windows.height, &width = windows.width;
  for (std::int64_t group = 0; group < groups; ++group)
    for (std::int64_t i = 0; i < width.window; ++i)
      loops.product_sum(
          {.a = image + tap * height.dilation * line + i * width.dilation * channels +
                group * group_channels,
           .a_next = height.stride * line,
           .a_row = 1,
           .a_inner = width.stride * channels,
           .b = output_grad + group * group_filters,
           .b_next = output_line(),
           .b_inner = filters,
           .c = filter_grad + (tap * row + i * group_channels) * filters + group * group_filters,
           .c_row = filters,
           .rows = group_channels,
           .columns = group_filters,
           .inner = width.output,
           .products = lines,
           .add = !is_first});
}

void DirectConvolution::flip_filter(const float* filter, std::int64_t step,
                                    float* flipped) const {
  // Squares of cache lines, of which a line is read and written once.
  constexpr std::int64_t kSide = 16;
  const std::int64_t sides = (filters + kSide - 1) / kSide;
  parallel_for(windows.height.window * sides, grain_of(row * kSide), threads,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   const std::int64_t tap = i / sides, first = i % sides * kSide;
                   const std::int64_t last = std::min(first + kSide, filters);
                   const float* from = filter + tap * row * filters;
                   float* to = flipped + tap * filters * step;
                   for (std::int64_t begin_k = 0; begin_k < row; begin_k += kSide)
                     for (std::int64_t f = first; f < last; ++f)
                       for (std::int64_t k = begin_k; k < std::min(begin_k + kSide, row); ++k)
                         to[f * step + k] = from[k * filters + f];
                 }
               });
}

namespace {

Kernel make_conv2d(const KernelSite& site) {
  const Shape &image = site.input_shape(0), &filter = site.input_shape(1);
  if (!DirectConvolution::takes(site, image, filter)) return {};
  const DirectConvolution conv(site, image, filter);
  const std::int64_t lines = conv.windows.height.output, all_lines = conv.batch * lines;
  const std::int64_t parts = std::clamp<std::int64_t>(all_lines, 1, conv.threads);
  const auto run = [conv, lines, all_lines, parts](const KernelArgs& args) {
    auto* workspace = static_cast<float*>(args.workspace);
    const float* packed = conv.blocks.packed(args.input<float>(1), workspace, conv.threads);
    float* buffers = workspace + conv.blocks.packed_elements();
    parallel_parts(
        all_lines, parts, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
          float* buffer = buffers + part * conv.padded_elements();
          std::int64_t count = 0;
          for (std::int64_t i = begin; i < end; i += count) {
            count = std::min(lines - i % lines, end - i);
            conv.convolve_lines(conv.padded_image(args.input<float>(0), i / lines, buffer),
                                i % lines, count, packed,
                                args.output<float>() + i * conv.output_line());
          }
        });
  };
  return {run, bytes_of<float>(conv.blocks.packed_elements() + parts * conv.padded_elements())};
}

/// Adds to line `y` of a padded image what flows back to the first `width` elements of each
/// window's row there. `flipped` is that much of the flipped filter.
void add_to_line(const DirectConvolution& conv, const float* output_grad, const float* flipped,
                 std::int64_t y, std::int64_t width, float* line) {
  const WindowAxis& height = conv.windows.height;
  const std::int64_t output = std::min(y / height.stride, height.output - 1);
  const std::int64_t tap = y - output * height.stride;
  const std::int64_t products =
      std::min((height.window - tap + height.stride - 1) / height.stride, output + 1);
  if (products <= 0) return;
  const std::int64_t size = width * conv.filters;
  conv.loops.product_sum({.a = output_grad + output * conv.output_line(),
                          .a_next = -conv.output_line(),
                          .a_row = conv.filters,
                          .a_inner = 1,
                          .b = flipped + tap * size,
                          .b_next = height.stride * size,
                          .b_inner = width,
                          .c = line,
                          .c_row = conv.windows.width.stride * conv.channels,
                          .rows = conv.windows.width.output,
                          .columns = width,
                          .inner = conv.filters,
                          .products = products,
                          .add = true});
}

/// The same, of a whole row and with the whole of the flipped filter, tap by tap.
void add_to_line_by_taps(const DirectConvolution& conv, const float* output_grad,
                         const float* flipped, std::int64_t y, float* line) {
  const WindowAxis &height = conv.windows.height, &width = conv.windows.width;
  for (std::int64_t tap = 0; tap < height.window; ++tap) {
    const std::int64_t start = y - tap * height.dilation;
    if (start < 0 || start % height.stride != 0 || start / height.stride >= height.output)
      continue;
    for (std::int64_t group = 0; group < conv.groups; ++group)
      for (std::int64_t i = 0; i < width.window; ++i)
        conv.loops.product_sum(
            {.a = output_grad + start / height.stride * conv.output_line() +
                  group * conv.group_filters,
             .a_row = conv.filters,
             .a_inner = 1,
             .b = flipped + (tap * conv.filters + group * conv.group_filters) * conv.row +
                  i * conv.group_channels,
             .b_inner = conv.row,
             .c = line + i * width.dilation * conv.channels + group * conv.group_channels,
             .c_row = width.stride * conv.channels,
             .rows = width.output,
             .columns = conv.group_channels,
             .inner = conv.group_filters,
             .products = 1,
             .add = true});
  }
}

/// Lines of the image's gradient are made by themselves, or so many together that a filter in
/// blocks is not gone through for each.
struct InputGrad {
  InputGrad(const KernelSite& site, const Shape& image, const Shape& filter)
      : conv(site, image, filter),
        blocks(conv.by_taps ? 0 : conv.windows.height.window * conv.filters, conv.row),
        all_lines(conv.batch * conv.windows.height.input),
        parts(std::clamp<std::int64_t>(all_lines, 1, conv.threads)),
        together(blocks.lines_together(conv.line, conv.windows.height.input)) {}

  std::int64_t workspace() const {
    return conv.filter_elements() + blocks.packed_elements() + parts * together * conv.line;
  }

  void operator()(const KernelArgs& args) const {
    float* flipped = static_cast<float*>(args.workspace);
    conv.flip_filter(args.input<float>(1), conv.row, flipped);
    float* rest = flipped + conv.filter_elements();
    const float* filter = blocks.packed(flipped, rest, conv.threads);
    rest += blocks.packed_elements();
    parallel_parts(all_lines, parts,
                   [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
                     float* lines = rest + part * together * conv.line;
                     std::int64_t count = 0;
                     for (std::int64_t i = begin; i < end; i += count) {
                       const std::int64_t height = conv.windows.height.input;
                       count = std::min({together, height - i % height, end - i});
                       make_lines(args, i, count, filter, lines);
                     }
                   });
  }

  /// Lines [first, first + count), which are of one image.
  void make_lines(const KernelArgs& args, std::int64_t first, std::int64_t count,
                  const float* filter, float* lines) const {
    const WindowAxis &height = conv.windows.height, &width = conv.windows.width;
    const float* output_grad =
        args.input<float>(2) + first / height.input * height.output * conv.output_line();
    const std::int64_t y = first % height.input + height.before;
    std::fill_n(lines, count * conv.line, 0.f);
    const std::int64_t seen = std::min(count, conv.padded_height - y);
    if (conv.by_taps)
      for (std::int64_t i = 0; i < seen; ++i)
        add_to_line_by_taps(conv, output_grad, filter, y + i, lines + i * conv.line);
    else
      blocks.for_each(filter, [&](const float* block, std::int64_t column, std::int64_t columns) {
        for (std::int64_t i = 0; i < seen; ++i)
          add_to_line(conv, output_grad, block, y + i, columns, lines + i * conv.line + column);
      });
    float* image_line = args.output<float>() + first * width.input * conv.channels;
    for (std::int64_t i = 0; i < count; ++i)
      conv.copy_line_from_padded(lines + i * conv.line,
                                 image_line + i * width.input * conv.channels);
  }

  DirectConvolution conv;
  FilterBlocks blocks;  ///< of the flipped filter as [window height * filters, row]
  std::int64_t all_lines, parts, together;
};

Kernel make_input_grad(const KernelSite& site) {
  const Shape &image = site.output_shape(), &filter = site.input_shape(1);
  if (!DirectConvolution::takes(site, image, filter)) return {};
  const InputGrad kernel(site, image, filter);
  return {kernel, bytes_of<float>(kernel.workspace())};
}

/// Multiplications from which it pays to go by blocks.
constexpr std::int64_t kLeastProducts = 1 << 20;

/// Parts of the batch are summed up by themselves, and then in their order.
struct FilterGrad {
  FilterGrad(const KernelSite& site, const Shape& image, const Shape& filter)
      : conv(site, image, filter),
        size(conv.filter_elements()),
        parts(filter_grad_parts(conv.batch, size)),
        lines(std::clamp<std::int64_t>(
            kElementsInCache / (conv.output_line() + conv.windows.height.stride * conv.line), 1,
            conv.windows.height.output)) {
    const std::int64_t pixels =
        conv.batch * conv.windows.height.output * conv.windows.width.output;
    if (size * pixels < kLeastProducts) return;
    // Some elements of one row of windows, or all. Each block makes the border around an image
    // again.
    if (conv.by_taps) return;
    const std::int64_t taps = conv.windows.height.window, least = conv.is_padded ? 256 : 64;
    const std::int64_t wanted = filter_grad_blocks(
        parts, taps * std::max<std::int64_t>(conv.row / least, 1), conv.threads);
    if (wanted == 1) return;
    row_blocks = std::max<std::int64_t>(wanted / taps, 1);
    blocks = taps * row_blocks;
  }

  std::int64_t workers() const { return workers_for(parts * blocks, conv.threads); }
  std::int64_t workspace() const {
    return (parts - 1) * size + workers() * conv.padded_elements();
  }

  void operator()(const KernelArgs& args) const {
    float* total = args.output<float>();
    float* partial = static_cast<float*>(args.workspace);
    float* buffers = partial + (parts - 1) * size;
    parallel_tasks(parts * blocks, workers(), [&](std::int64_t task, std::int64_t worker) {
      const std::int64_t part = task / blocks;
      add_images(args, conv.batch * part / parts, conv.batch * (part + 1) / parts, task % blocks,
                 part == 0 ? total : partial + (part - 1) * size,
                 buffers + worker * conv.padded_elements());
    });
    add_parts(partial, parts - 1, size, conv.threads, total);
  }

  void add_images(const KernelArgs& args, std::int64_t begin, std::int64_t end,
                  std::int64_t block, float* sum, float* buffer) const {
    const WindowAxis& height = conv.windows.height;
    for (std::int64_t n = begin; n < end; ++n) {
      const float* image = conv.padded_image(args.input<float>(0), n, buffer);
      const float* grad = args.input<float>(2) + n * height.output * conv.output_line();
      for (std::int64_t y = 0; y < height.output; y += lines)
        add_lines(image + y * height.stride * conv.line, grad + y * conv.output_line(),
                  std::min(lines, height.output - y), block, sum, n == begin && y == 0);
    }
  }

  void add_lines(const float* image, const float* grad, std::int64_t count, std::int64_t block,
                 float* sum, bool is_first) const {
    if (blocks == 1) {
      conv.add_to_filter_grad(image, grad, count, sum, is_first);
      return;
    }
    const std::int64_t i = block % row_blocks;
    conv.add_to_filter_grad({.tap = block / row_blocks,
                             .begin = conv.row * i / row_blocks,
                             .end = conv.row * (i + 1) / row_blocks},
                            image, grad, count, sum, is_first);
  }

  DirectConvolution conv;
  std::int64_t size, parts;
  std::int64_t lines;  ///< of the output's gradient that one product takes
  std::int64_t row_blocks = 1, blocks = 1;
};

Kernel make_filter_grad(const KernelSite& site) {
  const Shape &image = site.input_shape(0), &filter = site.output_shape();
  if (!DirectConvolution::takes(site, image, filter)) return {};
  const FilterGrad kernel(site, image, filter);
  return {kernel, bytes_of<float>(kernel.workspace())};
}

}  // namespace

void register_direct_convolution_kernels(KernelRegistry& registry) {
  registry.add_faster("conv2d", kCpu, {float32}, make_conv2d);
  registry.add_faster("conv2d_input_grad", kCpu, {float32}, make_input_grad);
  registry.add_faster("conv2d_filter_grad", kCpu, {float32}, make_filter_grad);
}

}  // namespace gradgraph
