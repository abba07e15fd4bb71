#include "device/cpu/convolution/depthwise/depthwise.h"

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "device/cpu/convolution/depthwise/depthwise_lines.h"
#include "device/parallel.h"
#include "ops/nn/window.h"

namespace gradgraph {
namespace {

struct Depthwise {
  Windows windows;
  std::int64_t batch, channels, multiplier;
  int threads;
  std::int64_t filters = channels * multiplier;
  std::int64_t image_size = windows.height.input * windows.width.input * channels;
  std::int64_t output_size = windows.height.output * windows.width.output * filters;
  std::int64_t filter_size = windows.height.window * windows.width.window * filters;
  std::int64_t parts = parts_for(batch);

  /// Calls body(input, tap, output) for each pixel of output line `line` and each tap of its
  /// window: the indices of the first channel in the image, the filter and the output image.
  template <class Body>
  void visit_line(std::int64_t line, const Body& body) const {
    const WindowAxis &height = windows.height, &width = windows.width;
    const auto rows = height.taps(line);
    for (std::int64_t x = 0; x < width.output; ++x) {
      const auto columns = width.taps(x);
      const std::int64_t output = (line * width.output + x) * filters;
      for (std::int64_t i = rows.begin; i < rows.end; ++i)
        for (std::int64_t j = columns.begin; j < columns.end; ++j)
          body((height.at(line, i) * width.input + width.at(x, j)) * channels,
               (i * width.window + j) * filters, output);
    }
  }
};

Depthwise depthwise_of(const KernelSite& site, const Shape& image, const Shape& filter) {
  const Attributes& attributes = site.node().attributes();
  return {windows_of(attributes, image, {filter[0], filter[1]},
                     pair_attribute(attributes, "dilations")),
          image[0], image[3], filter[3] / std::max<std::int64_t>(image[3], 1), site.threads()};
}

/// Whether it goes by lines, which have vector code.
template <class T>
bool goes_by_lines(const Depthwise& d) {
  return std::is_same_v<T, float> && d.multiplier == 1;
}
DepthwiseImages images_of(const Depthwise& d) {
  return {.windows = d.windows, .batch = d.batch, .channels = d.channels, .threads = d.threads};
}

// Loops over the channels of one pixel. Each has `multiplier` filters, side by side.

template <class T>
void add_products(const T* __restrict x, const T* __restrict filter, T* __restrict y,
                  std::int64_t channels, std::int64_t multiplier) {
  if (multiplier == 1)
    for (std::int64_t c = 0; c < channels; ++c) y[c] += x[c] * filter[c];
  else
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t f = c * multiplier; f < (c + 1) * multiplier; ++f)
        y[f] += x[c] * filter[f];
}

template <class T>
void add_dot_products(const T* __restrict grad, const T* __restrict filter, T* __restrict x_grad,
                      std::int64_t channels, std::int64_t multiplier) {
  if (multiplier == 1)
    for (std::int64_t c = 0; c < channels; ++c) x_grad[c] += grad[c] * filter[c];
  else
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t f = c * multiplier; f < (c + 1) * multiplier; ++f)
        x_grad[c] += grad[f] * filter[f];
}

}  // namespace

bool is_depthwise(const KernelSite& site, const Shape& image, const Shape& filter) {
  return layout_attribute(site.node().attributes()) == Layout::nhwc && filter[2] == 1 &&
         image[3] > 1;
}

template <class T>
Kernel make_depthwise_conv2d(const KernelSite& site) {
  const Depthwise d = depthwise_of(site, site.input_shape(0), site.input_shape(1));
  if (goes_by_lines<T>(d)) return make_depthwise_lines(images_of(d));
  return {[d](const KernelArgs& args) {
    const std::int64_t lines = d.windows.height.output;
    const std::int64_t line_size = d.windows.width.output * d.filters;
    const T* filter = args.input<T>(1);
    parallel_for(d.batch * lines, grain_of(line_size), d.threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const T* x = args.input<T>(0) + i / lines * d.image_size;
                     T* y = args.output<T>() + i / lines * d.output_size;
                     std::fill_n(y + i % lines * line_size, line_size, T{0});
                     d.visit_line(i % lines,
                                  [&](std::int64_t input, std::int64_t tap, std::int64_t output) {
                                    add_products(x + input, filter + tap, y + output, d.channels,
                                                 d.multiplier);
                                  });
                   }
                 });
  }};
}

template <class T>
Kernel make_depthwise_input_grad(const KernelSite& site) {
  const Depthwise d = depthwise_of(site, site.output_shape(), site.input_shape(1));
  if (goes_by_lines<T>(d)) return make_depthwise_lines_input_grad(images_of(d));
  return {[d](const KernelArgs& args) {
    const T* filter = args.input<T>(1);
    parallel_for(d.batch, 1, d.threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const T* grad = args.input<T>(2) + n * d.output_size;
        T* x_grad = args.output<T>() + n * d.image_size;
        std::fill_n(x_grad, d.image_size, T{0});
        for (std::int64_t line = 0; line < d.windows.height.output; ++line)
          d.visit_line(line, [&](std::int64_t input, std::int64_t tap, std::int64_t output) {
            add_dot_products(grad + output, filter + tap, x_grad + input, d.channels,
                             d.multiplier);
          });
      }
    });
  }};
}

/// As for other convolutions: sums of fixed parts of the batch, added in their order.
template <class T>
Kernel make_depthwise_filter_grad(const KernelSite& site) {
  const Depthwise d = depthwise_of(site, site.input_shape(0), site.output_shape());
  if (goes_by_lines<T>(d)) return make_depthwise_lines_filter_grad(images_of(d));
  const auto run = [d](const KernelArgs& args) {
    T* total = args.output<T>();
    T* partial = static_cast<T*>(args.workspace);
    parallel_tasks(
        d.parts, workers_for(d.parts, d.threads), [&](std::int64_t part, std::int64_t) {
          T* sum = part == 0 ? total : partial + (part - 1) * d.filter_size;
          std::fill_n(sum, d.filter_size, T{0});
          for (std::int64_t n = d.batch * part / d.parts; n < d.batch * (part + 1) / d.parts;
               ++n) {
            const T* x = args.input<T>(0) + n * d.image_size;
            const T* grad = args.input<T>(2) + n * d.output_size;
            for (std::int64_t line = 0; line < d.windows.height.output; ++line)
              d.visit_line(line, [&](std::int64_t input, std::int64_t tap, std::int64_t output) {
                add_products(x + input, grad + output, sum + tap, d.channels, d.multiplier);
              });
          }
        });
    add_parts(partial, d.parts - 1, d.filter_size, d.threads, total);
  };
  return {run, static_cast<std::size_t>((d.parts - 1) * d.filter_size) * sizeof(T)};
}

template Kernel make_depthwise_conv2d<float>(const KernelSite&);
template Kernel make_depthwise_conv2d<double>(const KernelSite&);
template Kernel make_depthwise_input_grad<float>(const KernelSite&);
template Kernel make_depthwise_input_grad<double>(const KernelSite&);
template Kernel make_depthwise_filter_grad<float>(const KernelSite&);
template Kernel make_depthwise_filter_grad<double>(const KernelSite&);

}  // namespace gradgraph
