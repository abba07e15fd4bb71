#include <algorithm>
#include <cstddef>

#include "core/index.h"
#include "device/cpu/convolution/depthwise/depthwise.h"
#include "device/cpu/kernels.h"
#include "device/cpu/matmul/blas.h"
#include "device/parallel.h"
#include "ops/nn/window.h"

/// Convolution as matrix products. The pixels that a window sees make one row of a matrix of
/// patches [output pixels, window height * window width * channels]; with the filter as a matrix
/// [that, filters], the output is patches x filter, and both gradients follow. Patches are made
/// tile by tile, so that they stay in cache and the workspace is bounded.
namespace gradgraph {
namespace {

/// Elements of patches in a tile, as far as whole output lines allow.
constexpr std::int64_t kTileElements = 1 << 16;
/// Elements that partial filter gradients may take altogether.
constexpr std::int64_t kMaxPartialElements = 1 << 21;

/// Some output lines of one image, or all lines of some images.
struct Tile {
  std::int64_t image, images, line, lines;
};

struct Convolution {
  Windows windows;
  std::int64_t batch, channels, filters, groups;
  bool nhwc;
  int threads;
  std::int64_t group_channels = channels / groups, group_filters = filters / groups;
  std::int64_t image_pixels = windows.height.input * windows.width.input;
  std::int64_t output_pixels = windows.height.output * windows.width.output;
  /// Columns of the matrix of patches.
  std::int64_t depth = windows.height.window * windows.width.window * group_channels;
  /// Windows of one pixel: the image itself is the matrix of patches.
  bool direct = windows.are_pixels();
  /// Neighbours along a line are neighbours in memory.
  bool planar = !nhwc || channels == 1;
  std::int64_t lines_per_tile = 1, images_per_tile = 1;

  void choose_tiles() {
    const std::int64_t line = std::max<std::int64_t>(windows.width.output, 1);
    const std::int64_t all_lines = windows.height.output * batch;
    // Enough tiles for many threads, whatever their number: BLAS may round otherwise in others.
    const std::int64_t lines = std::clamp<std::int64_t>(
        kTileElements / std::max<std::int64_t>(depth * line, 1), 1,
        std::max<std::int64_t>((all_lines + kMaxParts - 1) / kMaxParts, 1));
    const std::int64_t height = std::max<std::int64_t>(windows.height.output, 1);
    lines_per_tile = std::min(lines, height);
    if (nhwc) images_per_tile = std::max<std::int64_t>(lines / height, 1);
  }

  std::int64_t tiles_per_image() const {
    return (windows.height.output + lines_per_tile - 1) / lines_per_tile;
  }
  /// Groups of images that one tile, or several after each other, cover.
  std::int64_t image_groups() const { return (batch + images_per_tile - 1) / images_per_tile; }
  std::int64_t tiles() const { return image_groups() * tiles_per_image(); }
  Tile tile(std::int64_t index) const {
    const std::int64_t image = index / tiles_per_image() * images_per_tile;
    const std::int64_t line = index % tiles_per_image() * lines_per_tile;
    return {image, std::min(images_per_tile, batch - image), line,
            std::min(lines_per_tile, windows.height.output - line)};
  }
  std::int64_t rows(const Tile& tile) const {
    return tile.images * tile.lines * windows.width.output;
  }
  std::int64_t tile_elements() const {
    return direct ? 0 : images_per_tile * lines_per_tile * windows.width.output * depth;
  }

  /// Work that is not in parts, because there is one image or a huge filter, is in blocks of c.
  template <class T>
  void product(std::int64_t parts, Matrix<const T> a, Matrix<const T> b, Matrix<T> c,
               bool add = false) const {
    if (parts > 1)
      multiply(a, b, c, add);
    else
      multiply_on(threads, a, b, c, add);
  }

  /// Where a tile's first output pixel is, for `channels` in all and a group's first `channel`.
  std::int64_t output_offset(const Tile& tile, std::int64_t channel, std::int64_t all) const {
    const std::int64_t pixel = tile.line * windows.width.output;
    return nhwc ? (tile.image * output_pixels + pixel) * all + channel
                : (tile.image * all + channel) * output_pixels + pixel;
  }
  /// Pixels of a tile as rows, channels of a group as columns.
  template <class T>
  Matrix<T> pixels(T* image, const Tile& tile, std::int64_t group, std::int64_t columns) const {
    const std::int64_t all = columns * groups;
    return {image + output_offset(tile, group * columns, all), rows(tile), columns,
            nhwc ? all : output_pixels, !nhwc};
  }
  template <class T>
  Matrix<T> outputs(T* y, const Tile& tile, std::int64_t group) const {
    return pixels(y, tile, group, group_filters);
  }
  template <class T>
  Matrix<T> filter_of(T* filter, std::int64_t group) const {
    return {filter + group * group_filters, depth, group_filters, filters};
  }
  /// The matrix of patches, in `buffer` unless the image itself can serve.
  template <class T>
  Matrix<T> patches(T* image, T* buffer, const Tile& tile, std::int64_t group) const {
    if (direct) return pixels(image, tile, group, group_channels);
    return {buffer, rows(tile), depth, planar ? rows(tile) : depth, planar};
  }

  /// Goes through a tile's patches in the order of their memory. Calls run(patch, image, count,
  /// step) for `count` elements from index `patch`, whose values are in the image from index
  /// `image`, `step` apart; and pad(patch, count) for those that are padding.
  template <class Run, class Pad>
  void visit(const Tile& tile, std::int64_t group, const Run& run, const Pad& pad) const {
    if (planar)
      visit_planes(tile, group, run, pad);
    else
      visit_pixels(tile, group, run, pad);
  }

  template <class Run, class Pad>
  void visit_pixels(const Tile& tile, std::int64_t group, const Run& run, const Pad& pad) const {
    const WindowAxis &height = windows.height, &width = windows.width;
    const std::int64_t row_size = width.window * group_channels;
    const bool whole_rows = width.dilation == 1 && groups == 1;
    std::int64_t patch = 0;
    for (std::int64_t n = tile.image; n < tile.image + tile.images; ++n)
      for (std::int64_t y = tile.line; y < tile.line + tile.lines; ++y)
        for (std::int64_t x = 0; x < width.output; ++x) {
          const auto taps = width.taps(x);
          for (std::int64_t i = 0; i < height.window; ++i, patch += row_size) {
            const std::int64_t line = height.at(y, i);
            if (line < 0 || line >= height.input || taps.begin == taps.end) {
              pad(patch, row_size);
              continue;
            }
            const auto image_index = [&](std::int64_t tap) {
              return (n * image_pixels + line * width.input + width.at(x, tap)) * channels +
                     group * group_channels;
            };
            pad(patch, taps.begin * group_channels);
            if (whole_rows)
              run(patch + taps.begin * channels, image_index(taps.begin),
                  (taps.end - taps.begin) * channels, 1);
            else
              for (std::int64_t tap = taps.begin; tap < taps.end; ++tap)
                run(patch + tap * group_channels, image_index(tap), group_channels, 1);
            pad(patch + taps.end * group_channels, (width.window - taps.end) * group_channels);
          }
        }
  }

  template <class Run, class Pad>
  void visit_planes(const Tile& tile, std::int64_t group, const Run& run, const Pad& pad) const {
    const WindowAxis &height = windows.height, &width = windows.width;
    std::int64_t patch = 0;
    for (std::int64_t i = 0; i < height.window; ++i)
      for (std::int64_t j = 0; j < width.window; ++j) {
        // Outputs [begin, end) of a line see the image at this tap.
        const std::int64_t offset = width.before - j * width.dilation;
        const auto outputs_before = [&](std::int64_t distance) {
          return distance <= 0 ? std::int64_t{0}
                               : std::min((distance - 1) / width.stride + 1, width.output);
        };
        const std::int64_t end = outputs_before(width.input + offset);
        const std::int64_t begin = std::min(outputs_before(offset), end);
        for (std::int64_t c = group * group_channels; c < (group + 1) * group_channels; ++c)
          for (std::int64_t n = tile.image; n < tile.image + tile.images; ++n)
            for (std::int64_t y = tile.line; y < tile.line + tile.lines;
                 ++y, patch += width.output) {
              const std::int64_t line = height.at(y, i);
              if (line < 0 || line >= height.input || begin == end) {
                pad(patch, width.output);
                continue;
              }
              pad(patch, begin);
              run(patch + begin,
                  (n * channels + c) * image_pixels + line * width.input + begin * width.stride -
                      offset,
                  end - begin, width.stride);
              pad(patch + end, width.output - end);
            }
      }
  }
};

template <class T>
void gather(const Convolution& conv, const Tile& tile, std::int64_t group, const T* image,
            T* patches) {
  conv.visit(
      tile, group,
      [=](std::int64_t patch, std::int64_t from, std::int64_t count, std::int64_t step) {
        if (step == 1)
          std::copy_n(image + from, count, patches + patch);
        else
          for (std::int64_t i = 0; i < count; ++i) patches[patch + i] = image[from + i * step];
      },
      [=](std::int64_t patch, std::int64_t count) { std::fill_n(patches + patch, count, T{0}); });
}

template <class T>
void scatter_add(const Convolution& conv, const Tile& tile, std::int64_t group, const T* patches,
                 T* image) {
  conv.visit(
      tile, group,
      [=](std::int64_t patch, std::int64_t to, std::int64_t count, std::int64_t step) {
        for (std::int64_t i = 0; i < count; ++i) image[to + i * step] += patches[patch + i];
      },
      [](std::int64_t, std::int64_t) {});
}

Convolution convolution_of(const KernelSite& site, const Shape& x, const Shape& filter) {
  const Attributes& attributes = site.node().attributes();
  const Layout layout = layout_attribute(attributes);
  Convolution conv{.windows = windows_of(attributes, x, {filter[0], filter[1]},
                                         pair_attribute(attributes, "dilations")),
                   .batch = x[0],
                   .channels = x[axes_of(layout).channels],
                   .filters = filter[3],
                   .groups = site.attribute<std::int64_t>("groups"),
                   .nhwc = layout == Layout::nhwc,
                   .threads = site.threads()};
  conv.choose_tiles();
  if (!fits_blas(conv.images_per_tile * conv.output_pixels, conv.depth) ||
      !fits_blas(conv.channels, conv.filters))
    throw KernelError("a dimension is beyond the 32 bits of BLAS");
  return conv;
}

template <class T>
Kernel make_conv2d(const KernelSite& site) {
  if (is_depthwise(site, site.input_shape(0), site.input_shape(1)))
    return make_depthwise_conv2d<T>(site);
  const Convolution conv = convolution_of(site, site.input_shape(0), site.input_shape(1));
  const std::int64_t workers = workers_for(conv.tiles(), conv.threads);
  const auto run = [conv, workers](const KernelArgs& args) {
    parallel_tasks(conv.tiles(), workers, [&](std::int64_t i, std::int64_t worker) {
      T* buffer = static_cast<T*>(args.workspace) + worker * conv.tile_elements();
      const Tile tile = conv.tile(i);
      const T* x = args.input<T>(0);
      for (std::int64_t group = 0; group < conv.groups; ++group) {
        if (!conv.direct) gather(conv, tile, group, x, buffer);
        conv.product<T>(conv.tiles(), conv.patches(x, static_cast<const T*>(buffer), tile, group),
                        conv.filter_of(args.input<T>(1), group),
                        conv.outputs(args.output<T>(), tile, group));
      }
    });
  };
  return {run, bytes_of<T>(workers * conv.tile_elements())};
}

/// Several windows may meet in a pixel, so the tiles of an image stay on one thread.
template <class T>
Kernel make_input_grad(const KernelSite& site) {
  if (is_depthwise(site, site.output_shape(), site.input_shape(1)))
    return make_depthwise_input_grad<T>(site);
  const Convolution conv = convolution_of(site, site.output_shape(), site.input_shape(1));
  const std::int64_t workers = workers_for(conv.image_groups(), conv.threads);
  const auto run = [conv, workers](const KernelArgs& args) {
    const std::int64_t steps = conv.tiles_per_image();
    const std::int64_t size = conv.image_pixels * conv.channels;
    T* x_grad = args.output<T>();
    parallel_tasks(conv.image_groups(), workers, [&](std::int64_t images, std::int64_t worker) {
      T* buffer = static_cast<T*>(args.workspace) + worker * conv.tile_elements();
      for (std::int64_t i = images * steps; i < (images + 1) * steps; ++i) {
        const Tile tile = conv.tile(i);
        if (!conv.direct && tile.line == 0)
          std::fill_n(x_grad + tile.image * size, tile.images * size, T{0});
        for (std::int64_t group = 0; group < conv.groups; ++group) {
          const Matrix<T> patches = conv.patches(x_grad, buffer, tile, group);
          conv.product<T>(conv.image_groups(), conv.outputs(args.input<T>(2), tile, group),
                          conv.filter_of(args.input<T>(1), group).flip(), patches);
          if (!conv.direct) scatter_add<T>(conv, tile, group, buffer, x_grad);
        }
      }
    });
  };
  return {run, bytes_of<T>(workers * conv.tile_elements())};
}

/// Each part adds up the tiles of its own; then the parts' sums are added in their order.
template <class T>
Kernel make_filter_grad(const KernelSite& site) {
  if (is_depthwise(site, site.input_shape(0), site.output_shape()))
    return make_depthwise_filter_grad<T>(site);
  const Convolution conv = convolution_of(site, site.input_shape(0), site.output_shape());
  const std::int64_t size = conv.depth * conv.filters;
  const std::int64_t parts =
      parts_for(std::min(conv.tiles(), kMaxPartialElements / std::max<std::int64_t>(size, 1)));
  const std::int64_t workers = workers_for(parts, conv.threads);
  const auto some_tiles = [conv, parts](const KernelArgs& args, T* buffer, T* sum,
                                        std::int64_t begin, std::int64_t end) {
    const T* x = args.input<T>(0);
    for (std::int64_t i = begin; i < end; ++i)
      for (std::int64_t group = 0; group < conv.groups; ++group) {
        const Tile tile = conv.tile(i);
        if (!conv.direct) gather(conv, tile, group, x, buffer);
        conv.product<T>(parts, conv.patches(x, static_cast<const T*>(buffer), tile, group).flip(),
                        conv.outputs(args.input<T>(2), tile, group), conv.filter_of(sum, group),
                        i > begin);
      }
  };
  const auto run = [conv, parts, workers, size, some_tiles](const KernelArgs& args) {
    T* total = args.output<T>();
    T* partial = static_cast<T*>(args.workspace) + workers * conv.tile_elements();
    if (conv.tiles() == 0) std::fill_n(total, size, T{0});
    parallel_tasks(parts, workers, [&](std::int64_t part, std::int64_t worker) {
      some_tiles(args, static_cast<T*>(args.workspace) + worker * conv.tile_elements(),
                 part == 0 ? total : partial + (part - 1) * size, conv.tiles() * part / parts,
                 conv.tiles() * (part + 1) / parts);
    });
    add_parts(partial, parts - 1, size, conv.threads, total);
  };
  return {run, bytes_of<T>(workers * conv.tile_elements() + (parts - 1) * size)};
}

template <class T>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add_faster("conv2d", kCpu, dtype, make_conv2d<T>);
  registry.add_faster("conv2d_input_grad", kCpu, dtype, make_input_grad<T>);
  registry.add_faster("conv2d_filter_grad", kCpu, dtype, make_filter_grad<T>);
}

}  // namespace

void register_convolution_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph
