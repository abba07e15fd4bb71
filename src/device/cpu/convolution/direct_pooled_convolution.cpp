#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "core/index.h"
#include "device/cpu/convolution/direct_convolution.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "ops/nn/pooled_convolution.h"

/// Convolutions that are pooled right away: the convolution's output is never in memory. Forward,
/// a line of windows at a time is convolved into a buffer and pooled. The gradients go through
/// the elements that are not zero: one for each window and filter, if any.
namespace gradgraph {
namespace {

struct PooledDirectConvolution {
  PooledDirectConvolution(const KernelSite& site, const Shape& image, const Shape& filter)
      : direct(site, image, filter), pooled(site.node().attributes(), image, filter) {
    if (!direct.is_turned) return;
    std::swap(pooled.windows.height, pooled.windows.width);
    std::swap(pooled.pool.height, pooled.pool.width);
    std::swap(pooled.height, pooled.width);
  }

  static bool takes(const KernelSite& site, const Shape& image, const Shape& filter) {
    const PooledConvolution pooled(site.node().attributes(), image, filter);
    return DirectConvolution::takes(site, image, filter) &&
           pooled.pooled_shape().num_elements() > 0;
  }
  std::int64_t line() const { return pooled.width * pooled.filters; }  ///< of pooled elements
  std::int64_t taps() const { return pooled.pool.height * pooled.pool.width; }
  PoolLine pool_line() const {
    return {.window_height = pooled.pool.height,
            .window_width = pooled.pool.width,
            .width = pooled.width,
            .channels = pooled.filters,
            .line = direct.output_line()};
  }
  /// Where in a padded image that begins at line `y` of windows the convolution's window begins
  /// for tap `tap` of pool window (y, x).
  std::int64_t image_offset(std::int64_t y, std::int64_t x, std::int64_t tap) const {
    const Pair pool = pooled.pool;
    return (y * pool.height + tap / pool.width) * direct.windows.height.stride * direct.line +
           (x * pool.width + tap % pool.width) * direct.windows.width.stride * direct.channels;
  }
  /// Elements from a line of windows to the next in a padded image.
  std::int64_t image_step() const { return image_offset(1, 0, 0); }
  /// Rows of a flipped filter begin at multiples of vectors.
  std::int64_t flipped_row() const {
    return (direct.row + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
  }
  std::int64_t flipped_elements() const {
    return direct.windows.height.window * direct.filters * flipped_row();
  }

  DirectConvolution direct;
  PooledConvolution pooled;
};

Kernel make_forward(const KernelSite& site) {
  const Shape &image = site.input_shape(0), &filter = site.input_shape(1);
  if (!PooledDirectConvolution::takes(site, image, filter)) return {};
  const PooledDirectConvolution conv(site, image, filter);
  const std::int64_t lines = conv.pooled.batch * conv.pooled.height;
  const std::int64_t parts = std::clamp<std::int64_t>(lines, 1, site.threads());
  const std::int64_t convolved_size = conv.pooled.pool.height * conv.direct.output_line();
  const std::int64_t together =
      conv.direct.blocks.lines_together(convolved_size, conv.pooled.height);
  const std::int64_t buffer_size = conv.direct.padded_elements() + together * convolved_size;
  const auto run = [=](const KernelArgs& args) {
    const DirectConvolution& direct = conv.direct;
    const PooledConvolution& pooled = conv.pooled;
    auto* workspace = static_cast<float*>(args.workspace);
    const float* packed = direct.blocks.packed(args.input<float>(1), workspace, direct.threads);
    float* buffers = workspace + direct.blocks.packed_elements();
    parallel_parts(lines, parts, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
      float* buffer = buffers + part * buffer_size;
      float* convolved = buffer + direct.padded_elements();
      const float* x = nullptr;
      std::int64_t count = 0;
      for (std::int64_t i = begin; i < end; i += count) {
        const std::int64_t y = i % pooled.height;
        count = std::min({together, pooled.height - y, end - i});
        if (!x || y == 0)
          x = direct.padded_image(args.input<float>(0), i / pooled.height, buffer);
        direct.convolve_lines(x, y * pooled.pool.height, count * pooled.pool.height, packed,
                              convolved);
        for (std::int64_t l = 0; l < count; ++l)
          direct.loops.pool(conv.pool_line(), convolved + l * convolved_size,
                            args.input<float>(2), args.output<float>(0) + (i + l) * conv.line(),
                            args.output<std::uint8_t>(1) + (i + l) * conv.line());
      }
    });
  };
  return {run, bytes_of<float>(conv.direct.blocks.packed_elements() + parts * buffer_size)};
}

/// Pooled elements that gradients work on at once: their terms should stay in cache.
constexpr std::int64_t kBlockElements = 1 << 12;

/// The input's gradient is made of rows of the filter: each element of the pooled gradient adds
/// multiples of them to the lines that its window sees.
struct InputGrad {
  explicit InputGrad(const KernelSite& site, const PooledDirectConvolution& c)
      : conv(c),
        parts(std::clamp<std::int64_t>(c.pooled.batch, 1, site.threads())),
        lines(std::clamp<std::int64_t>(kBlockElements / c.line(), 1, c.pooled.height)),
        buffer_size(c.direct.padded_elements() + 2 * max_terms() + lists() + 1) {}

  std::int64_t lists() const { return conv.taps() * lines * conv.pooled.width; }
  std::int64_t max_terms() const { return lines * conv.line() + kMaxLanes; }

  void operator()(const KernelArgs& args) const {
    float* flipped = static_cast<float*>(args.workspace);
    conv.direct.flip_filter(args.input<float>(1), conv.flipped_row(), flipped);
    parallel_parts(conv.pooled.batch, parts,
                   [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
                     float* buffer = flipped + conv.flipped_elements() + part * buffer_size;
                     for (std::int64_t n = begin; n < end; ++n)
                       one_image(args, n, flipped, buffer);
                   });
  }

  void one_image(const KernelArgs& args, std::int64_t n, const float* flipped,
                 float* buffer) const {
    const DirectConvolution& direct = conv.direct;
    const PooledConvolution& pooled = conv.pooled;
    const WindowAxis &height = direct.windows.height, &width = direct.windows.width;
    const std::int64_t image_size = height.input * width.input * direct.channels;
    float* x_grad = args.output<float>() + n * image_size;
    float* padded = direct.is_padded ? buffer : x_grad;
    std::fill_n(padded, direct.is_padded ? direct.padded_elements() : image_size, 0.f);
    for (std::int64_t y = 0; y < pooled.height; y += lines) {
      const std::int64_t first = (n * pooled.height + y) * conv.line();
      add_lines(args.input<float>(2) + first, args.input<std::uint8_t>(3) + first,
                std::min(lines, pooled.height - y), flipped, padded + y * conv.image_step(),
                buffer + direct.padded_elements());
    }
    if (direct.is_padded) direct.copy_from_padded(padded, x_grad);
  }

  void add_lines(const float* grad, const std::uint8_t* choice, std::int64_t count,
                 const float* flipped, float* padded, float* buffer) const {
    const DirectConvolution& direct = conv.direct;
    const PooledConvolution& pooled = conv.pooled;
    float* factors = buffer;
    auto* offsets = reinterpret_cast<std::int32_t*>(buffer + max_terms());
    std::int32_t* list_end = offsets + max_terms();
    const std::int64_t windows = count * pooled.width;
    const auto step = static_cast<std::int32_t>(conv.flipped_row());
    std::int64_t terms = 0, list = 0;
    for (int tap = 0; tap < conv.taps(); ++tap)
      for (std::int64_t w = 0; w < windows; ++w) {
        const std::int64_t at = w * pooled.filters;
        terms += direct.loops.gather_choice(grad + at, choice + at, tap, pooled.filters, step,
                                            factors + terms, offsets + terms);
        list_end[list++] = static_cast<std::int32_t>(terms);
      }
    // One row of the filter's windows at a time, which stays in the first-level cache.
    for (std::int64_t i = 0; i < direct.windows.height.window; ++i) {
      const float* rows = flipped + i * direct.filters * conv.flipped_row();
      std::int64_t begin = 0;
      list = 0;
      for (std::int64_t tap = 0; tap < conv.taps(); ++tap)
        for (std::int64_t y = 0; y < count; ++y)
          for (std::int64_t x = 0; x < pooled.width; ++x) {
            const std::int64_t end = list_end[list++];
            direct.loops.add_rows(rows, {factors + begin, offsets + begin, end - begin},
                                  padded + conv.image_offset(y, x, tap) + i * direct.line,
                                  direct.row);
            begin = end;
          }
    }
  }

  PooledDirectConvolution conv;
  std::int64_t parts, lines, buffer_size;
};

Kernel make_input_grad(const KernelSite& site) {
  const Shape &image = site.output_shape(), &filter = site.input_shape(1);
  if (!PooledDirectConvolution::takes(site, image, filter)) return {};
  const PooledDirectConvolution conv(site, image, filter);
  const InputGrad kernel(site, conv);
  return {kernel, bytes_of<float>(conv.flipped_elements() + kernel.parts * kernel.buffer_size)};
}

/// Elements of images that should stay in the first-level cache.
constexpr std::int64_t kImageElements = 1 << 13;
/// A window's row of at least so many elements fills vectors.
constexpr std::int64_t kLongRow = 12;

/// Filters that a block should at least have.
constexpr std::int64_t kLeastFilters = 8;

/// The filter's gradient, flipped, is made of rows of the image: each element of the pooled
/// gradient adds multiples of those that its window sees to the rows of its filter. Where these
/// are too short for vectors, the gradient of the convolution's output is made line by line.
/// Parts of the batch are summed up by themselves, and then in their order.
struct FilterGrad {
  FilterGrad(const KernelSite& site, const PooledDirectConvolution& c)
      : conv(c),
        sparse(c.direct.row >= kLongRow),
        size(sparse ? c.flipped_elements() : c.direct.filter_elements()),
        parts(filter_grad_parts(c.pooled.batch, size)),
        blocks(filter_grad_blocks(parts, sparse ? c.pooled.filters / kLeastFilters : 1,
                                  site.threads())),
        workers(workers_for(parts * blocks, site.threads())),
        lines(std::clamp<std::int64_t>(
            kBlockElements / (sparse ? c.line() : c.pooled.pool.height * c.direct.output_line()),
            1, c.pooled.height)),
        images(sparse && lines == c.pooled.height ? images_in_cache(c.direct) : 1),
        sum_size(size + c.pooled.filters),
        buffer_size(images * c.direct.padded_elements() +
                    (sparse ? (2 * max_terms() + 1) * most_filters()
                            : lines * c.pooled.pool.height * c.direct.output_line())) {}

  /// Images that terms are gathered from before their rows are added.
  static std::int64_t images_in_cache(const DirectConvolution& direct) {
    return std::clamp<std::int64_t>(kImageElements / direct.image_elements(), 1, 8);
  }
  /// Of one filter.
  std::int64_t max_terms() const { return images * lines * conv.pooled.width + 1; }
  /// Of a block.
  std::int64_t most_filters() const { return (conv.pooled.filters + blocks - 1) / blocks; }

  std::int64_t workspace() const { return parts * sum_size + workers * buffer_size; }

  /// A part of the batch and filters [first, last) of it, whose sum for all filters is at `sum`.
  struct Task {
    float* sum;
    std::int64_t first, last;
  };

  void operator()(const KernelArgs& args) const {
    auto* sums = static_cast<float*>(args.workspace);
    float* buffers = sums + parts * sum_size;
    parallel_tasks(parts * blocks, workers, [&](std::int64_t index, std::int64_t worker) {
      const std::int64_t part = index / blocks, block = index % blocks;
      const std::int64_t filters = conv.pooled.filters, batch = conv.pooled.batch;
      const Task task = {sums + part * sum_size, filters * block / blocks,
                         filters * (block + 1) / blocks};
      clear(task);
      const std::int64_t end = batch * (part + 1) / parts;
      for (std::int64_t n = batch * part / parts; n < end; n += images)
        add_images(args, n, std::min(images, end - n), task, buffers + worker * buffer_size);
    });
    add_up(sums, args.output<float>(0), args.output<float>(1));
  }

  void clear(const Task& task) const {
    if (blocks == 1) {
      std::fill_n(task.sum, sum_size, 0.f);
      return;
    }
    const std::int64_t row = conv.flipped_row(), count = task.last - task.first;
    for (std::int64_t i = 0; i < conv.direct.windows.height.window; ++i)
      std::fill_n(task.sum + (i * conv.pooled.filters + task.first) * row, count * row, 0.f);
    std::fill_n(task.sum + size + task.first, count, 0.f);
  }

  void add_images(const KernelArgs& args, std::int64_t n, std::int64_t count, const Task& task,
                  float* padded) const {
    const DirectConvolution& direct = conv.direct;
    const PooledConvolution& pooled = conv.pooled;
    float* buffer = padded + images * direct.padded_elements();
    const float* image = direct.padded_image(args.input<float>(0), n, padded);
    for (std::int64_t i = 1; i < count; ++i)
      direct.padded_image(args.input<float>(0), n + i, padded + i * direct.padded_elements());
    for (std::int64_t y = 0; y < pooled.height; y += lines) {
      const std::int64_t first = (n * pooled.height + y) * conv.line();
      const float* grad = args.input<float>(2) + first;
      const auto* choice = args.input<std::uint8_t>(3) + first;
      const std::int64_t all_lines = std::min(lines, pooled.height - y) * count;
      if (sparse)
        add_terms(grad, choice, all_lines, image + y * conv.image_step(), task, buffer);
      else
        add_lines(grad, choice, all_lines, image + y * conv.image_step(), task, buffer);
    }
  }

  void add_lines(const float* grad, const std::uint8_t* choice, std::int64_t count,
                 const float* image, const Task& task, float* lines_grad) const {
    const DirectConvolution& direct = conv.direct;
    const PooledConvolution& pooled = conv.pooled;
    const std::int64_t step = pooled.pool.height * direct.output_line();
    if (pooled.width * pooled.pool.width < direct.windows.width.output)
      std::fill_n(lines_grad, count * step, 0.f);
    for (std::int64_t y = 0; y < count; ++y)
      direct.loops.unpool(conv.pool_line(), grad + y * conv.line(), choice + y * conv.line(),
                          lines_grad + y * step, task.sum + size);
    direct.add_to_filter_grad(image, lines_grad, count * pooled.pool.height, task.sum, false);
  }

  /// `count` lines of windows: some of one image, or all of several.
  void add_terms(const float* grad, const std::uint8_t* choice, std::int64_t count,
                 const float* image, const Task& task, float* buffer) const {
    const DirectConvolution& direct = conv.direct;
    const PooledConvolution& pooled = conv.pooled;
    const std::int64_t filters = task.last - task.first;
    float* bias_grad = task.sum + size + task.first;
    float* factors = buffer;
    auto* offsets = reinterpret_cast<std::int32_t*>(factors + filters * max_terms());
    std::int32_t* terms = offsets + filters * max_terms();
    std::fill_n(terms, filters, 0);
    std::array<std::int32_t, 256> tap_offset{};
    for (std::int64_t tap = 0; tap < conv.taps(); ++tap)
      tap_offset[static_cast<std::size_t>(tap)] =
          static_cast<std::int32_t>(conv.image_offset(0, 0, tap));
    grad += task.first;
    choice += task.first;
    for (std::int64_t y = 0; y < count; ++y)
      for (std::int64_t x = 0; x < pooled.width;
           ++x, grad += pooled.filters, choice += pooled.filters) {
        const auto first = static_cast<std::int32_t>(y / pooled.height * direct.image_elements() +
                                                     conv.image_offset(y % pooled.height, x, 0));
        for (std::int64_t f = 0; f < filters; ++f) {
          const std::int64_t at = f * max_terms() + terms[f];
          factors[at] = grad[f];
          offsets[at] = first + tap_offset[choice[f]];
          // One that does not count is overwritten by the next.
          terms[f] += choice[f] == kNoChoice ? 0 : 1;
          bias_grad[f] += choice[f] == kNoChoice ? 0 : grad[f];
        }
      }
    for (std::int64_t f = 0; f < filters; ++f)
      for (std::int64_t i = 0; i < direct.windows.height.window; ++i)
        direct.loops.add_rows(
            image + i * direct.line,
            {factors + f * max_terms(), offsets + f * max_terms(), terms[f]},
            task.sum + (i * pooled.filters + task.first + f) * conv.flipped_row(), direct.row);
  }

  void add_up(float* sums, float* filter_grad, float* bias_grad) const {
    const DirectConvolution& direct = conv.direct;
    const std::int64_t filters = conv.pooled.filters, row = direct.row;
    add_parts(sums + sum_size, parts - 1, sum_size, direct.threads, sums);
    std::copy_n(sums + size, filters, bias_grad);
    parallel_for(direct.windows.height.window * row, grain_of(filters), direct.threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   if (!sparse) {
                     std::copy(sums + begin * filters, sums + end * filters,
                               filter_grad + begin * filters);
                     return;
                   }
                   for (std::int64_t k = begin; k < end; ++k)
                     for (std::int64_t f = 0; f < filters; ++f)
                       filter_grad[k * filters + f] =
                           sums[(k / row * filters + f) * conv.flipped_row() + k % row];
                 });
  }

  PooledDirectConvolution conv;
  bool sparse;
  std::int64_t size;  ///< of a filter's gradient
  std::int64_t parts, blocks, workers;
  std::int64_t lines, images;
  std::int64_t sum_size, buffer_size;  ///< of a part, and of a worker
};

Kernel make_filter_grad(const KernelSite& site) {
  const Shape &image = site.input_shape(0), &filter = site.output_shape();
  if (!PooledDirectConvolution::takes(site, image, filter)) return {};
  const FilterGrad kernel(site, PooledDirectConvolution(site, image, filter));
  return {kernel, bytes_of<float>(kernel.workspace())};
}

}  // namespace

void register_direct_pooled_convolution_kernels(KernelRegistry& registry) {
  registry.add_faster("conv2d_relu_pool", kCpu, {float32}, make_forward);
  registry.add_faster("conv2d_relu_pool_input_grad", kCpu, {float32}, make_input_grad);
  registry.add_faster("conv2d_relu_pool_filter_grad", kCpu, {float32}, make_filter_grad);
}

}  // namespace gradgraph
