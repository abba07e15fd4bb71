#include "device/cuda/convolution/depthwise.h"

#include <algorithm>
#include <cmath>

#include "device/cuda/convolution/products.h"
#include "device/cuda/kernels.h"

namespace gradgraph::cuda {

/// The elements of images in the order in which they lie in memory.
struct DepthwiseElements {
  FastDivisor height, width, channels;
  int channels_last;  ///< 0 or 1: without padding bytes

  struct Place {
    int image, row, column, channel;
  };
  __device__ Place operator()(int number) const {
    if (channels_last) {
      const auto [pixel, channel] = channels(number);
      const auto [line, column] = width(pixel);
      const auto [image, row] = height(line);
      return {image, row, column, channel};
    }
    const auto [line, column] = width(number);
    const auto [plane, row] = height(line);
    const auto [image, channel] = channels(plane);
    return {image, row, column, channel};
  }
};

struct Depthwise {
  Axis height, width;
  Steps x_steps, y_steps;
  int rows, columns;        ///< of a filter
  int filters, multiplier;  ///< of all channels, and of one
  FastDivisor by_row_stride, by_column_stride, by_multiplier;
  DepthwiseElements inputs, outputs;
  Pixels pixels;  ///< of the outputs
  int num_inputs, num_outputs, num_pixels;

  Depthwise(const Convolution& conv, int channels_last)
      : height(conv.height),
        width(conv.width),
        x_steps(conv.x_steps),
        y_steps(conv.y_steps),
        rows(conv.taps / conv.by_width.divisor()),
        columns(conv.by_width.divisor()),
        filters(conv.groups * conv.filters),
        multiplier(conv.filters),
        by_row_stride(conv.height.stride),
        by_column_stride(conv.width.stride),
        by_multiplier(conv.filters),
        inputs{FastDivisor(height.input), FastDivisor(width.input), FastDivisor(conv.groups),
               channels_last},
        outputs{FastDivisor(height.output), FastDivisor(width.output), FastDivisor(filters),
                channels_last},
        pixels(height.output, width.output),
        num_inputs(conv.inputs() * conv.groups),
        num_outputs(conv.outputs() * filters),
        num_pixels(conv.outputs()) {}

  /// The pixel of x that a tap of an output's window meets, along an axis; below 0 outside.
  __device__ static int input_of(const Axis& axis, int output, int tap) {
    const int at = output * axis.stride - axis.before + tap * axis.dilation;
    return at < axis.input ? at : -1;
  }
  /// The output whose window meets a pixel of x with a tap; below 0 where there is none.
  __device__ static int output_of(const Axis& axis, const FastDivisor& by_stride, int input,
                                  int tap) {
    const int start = input + axis.before - tap * axis.dilation;
    if (start < 0) return -1;
    const auto [output, rest] = by_stride(start);
    return rest == 0 && output < axis.output ? output : -1;
  }
};

namespace {

constexpr int kThreads = 128;
/// Of the gradient by the filter: threads that share a filter's pixels.
constexpr int kRows = 8;

template <class S>
__global__ void __launch_bounds__(kThreads)
    depthwise(const S* x, const S* filter, S* y, Depthwise d) {
  using T = Calculated<S>;
  for (std::int64_t i = thread_number(); i < d.num_outputs; i += num_threads()) {
    const auto at = d.outputs(static_cast<int>(i));
    const S* own =
        x + static_cast<std::int64_t>(at.image) * d.x_steps.image +
        static_cast<std::int64_t>(d.by_multiplier(at.channel).quotient) * d.x_steps.channel;
    T sum = 0;
    for (int a = 0; a < d.rows; ++a) {
      const int row = Depthwise::input_of(d.height, at.row, a);
      if (row < 0) continue;
      for (int b = 0; b < d.columns; ++b) {
        const int column = Depthwise::input_of(d.width, at.column, b);
        if (column < 0) continue;
        sum = std::fma(static_cast<T>(own[row * d.x_steps.row + column * d.x_steps.column]),
                       static_cast<T>(filter[(a * d.columns + b) * d.filters + at.channel]), sum);
      }
    }
    y[i] = static_cast<S>(sum);
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    depthwise_input_grad(const S* filter, const S* grad, S* x, Depthwise d) {
  using T = Calculated<S>;
  for (std::int64_t i = thread_number(); i < d.num_inputs; i += num_threads()) {
    const auto at = d.inputs(static_cast<int>(i));
    const int first = at.channel * d.multiplier;
    const S* own = grad + static_cast<std::int64_t>(at.image) * d.y_steps.image +
                   static_cast<std::int64_t>(first) * d.y_steps.channel;
    T sum = 0;
    for (int a = 0; a < d.rows; ++a) {
      const int row = Depthwise::output_of(d.height, d.by_row_stride, at.row, a);
      if (row < 0) continue;
      for (int b = 0; b < d.columns; ++b) {
        const int column = Depthwise::output_of(d.width, d.by_column_stride, at.column, b);
        if (column < 0) continue;
        const S* from = own + row * d.y_steps.row + column * d.y_steps.column;
        const S* taps = filter + (a * d.columns + b) * d.filters + first;
        for (int m = 0; m < d.multiplier; ++m)
          sum =
              std::fma(static_cast<T>(from[m * d.y_steps.channel]), static_cast<T>(taps[m]), sum);
      }
    }
    x[i] = static_cast<S>(sum);
  }
}

/// The sums of some of the pixels, [part, tap, filter]. A block has a tap of some filters.
template <class S>
__global__ void __launch_bounds__(kWarp* kRows)
    depthwise_filter_grad(const S* x, const S* grad, Calculated<S>* sums, Depthwise d, int tiles,
                          int parts) {
  using T = Calculated<S>;
  __shared__ T shared[kRows][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int own = static_cast<int>(threadIdx.x) / kWarp;
  const int taps = d.rows * d.columns;
  const std::int64_t tasks = static_cast<std::int64_t>(parts) * taps * tiles;
  for (std::int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int tile = static_cast<int>(task % tiles);
    const int tap = static_cast<int>(task / tiles % taps);
    const auto part = task / tiles / taps;
    const int filter = tile * kWarp + lane;
    const auto begin = static_cast<int>(part * d.num_pixels / parts);
    const auto end = static_cast<int>((part + 1) * d.num_pixels / parts);
    T sum = 0;
    if (filter < d.filters) {
      const int channel = d.by_multiplier(filter).quotient;
      for (int i = begin + own; i < end; i += kRows) {
        const Pixel at = d.pixels(i);
        const int row = Depthwise::input_of(d.height, at.row, tap / d.columns);
        const int column = Depthwise::input_of(d.width, at.column, tap % d.columns);
        if (row < 0 || column < 0) continue;
        const std::int64_t from = static_cast<std::int64_t>(at.image) * d.x_steps.image +
                                  row * d.x_steps.row + column * d.x_steps.column +
                                  channel * d.x_steps.channel;
        const std::int64_t to = static_cast<std::int64_t>(at.image) * d.y_steps.image +
                                at.row * d.y_steps.row + at.column * d.y_steps.column +
                                filter * d.y_steps.channel;
        sum = std::fma(static_cast<T>(x[from]), static_cast<T>(grad[to]), sum);
      }
    }
    shared[own][lane] = sum;
    for (int width = kRows / 2; width > 0; width /= 2) {
      __syncthreads();
      if (own < width) shared[own][lane] += shared[own + width][lane];
    }
    if (own == 0 && filter < d.filters)
      sums[(part * taps + tap) * d.filters + filter] = shared[0][lane];
    __syncthreads();
  }
}

Depthwise depthwise_of(const KernelSite& site, const Convolution& conv) {
  return {conv, layout_attribute(site.node().attributes()) == Layout::nhwc ? 1 : 0};
}

}  // namespace

template <class S>
Kernel make_depthwise_conv2d(const KernelSite& site, const Convolution& conv) {
  return {[d = depthwise_of(site, conv)](const KernelArgs& args) {
    issue(args, depthwise<S>, blocks_for(d.num_outputs, kThreads), kThreads, 0, args.input<S>(0),
          args.input<S>(1), args.output<S>(), d);
  }};
}

template <class S>
Kernel make_depthwise_input_grad(const KernelSite& site, const Convolution& conv) {
  return {[d = depthwise_of(site, conv)](const KernelArgs& args) {
    issue(args, depthwise_input_grad<S>, blocks_for(d.num_inputs, kThreads), kThreads, 0,
          args.input<S>(1), args.input<S>(2), args.output<S>(), d);
  }};
}

template <class S>
Kernel make_depthwise_filter_grad(const KernelSite& site, const Convolution& conv) {
  using T = Calculated<S>;
  // So many that blocks are busy side by side, and each sum is of some hundred pixels.
  constexpr int kPixels = 512, kMostParts = 64;
  const Depthwise d = depthwise_of(site, conv);
  const int tiles = (d.filters + kWarp - 1) / kWarp, taps = conv.taps;
  const int enough = std::clamp(kGoodBlocks / (taps * tiles), 1, kMostParts);
  const int parts = std::clamp(d.num_pixels / kPixels, 1, enough);
  const std::int64_t count = static_cast<std::int64_t>(taps) * d.filters;
  const auto run = [=](const KernelArgs& args) {
    auto* sums = static_cast<T*>(args.workspace);
    issue(args, depthwise_filter_grad<S>,
          blocks_for(static_cast<std::int64_t>(parts) * taps * tiles, 1),
          static_cast<unsigned>(kWarp * kRows), 0, args.input<S>(0), args.input<S>(2), sums, d,
          tiles, parts);
    issue(args, add_parts<T, S>, blocks_for(count, kWarp),
          static_cast<unsigned>(kWarp * part_lanes(parts)), 0, static_cast<const T*>(sums),
          args.output<S>(), static_cast<T*>(nullptr), parts, 1, taps, d.filters, taps);
  };
  return {run, static_cast<std::size_t>(parts * count) * sizeof(T)};
}

template Kernel make_depthwise_conv2d<float>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_conv2d<double>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_conv2d<Half>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_conv2d<BFloat16>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_input_grad<float>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_input_grad<double>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_input_grad<Half>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_input_grad<BFloat16>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_filter_grad<float>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_filter_grad<double>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_filter_grad<Half>(const KernelSite&, const Convolution&);
template Kernel make_depthwise_filter_grad<BFloat16>(const KernelSite&, const Convolution&);

}  // namespace gradgraph::cuda
