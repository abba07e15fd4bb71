#include <algorithm>
#include <limits>

#include "device/cuda/convolution/implicit_gemm.h"
#include "device/cuda/kernels.h"
#include "device/shared/elements.h"
#include "ops/nn/window.h"

/// Convolution and both gradients as products of matrices that are looked up in place. Rows and
/// columns are pixels, taps and filters; all sizes fit an int, or the node is declined.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

/// How images lie in memory.
struct Steps {
  int64_t image, row, column, channel;

  Steps(const Shape& shape, Layout layout) {
    const ImageAxes axes = axes_of(layout);
    const auto step = [&](int axis) { return extent(shape, axis + 1, 4); };
    image = step(0);
    row = step(axes.height);
    column = step(axes.width);
    channel = step(axes.channels);
  }
};

struct Axis {
  int input, output, window, stride, dilation, before;

  explicit Axis(const WindowAxis& axis)
      : input(static_cast<int>(axis.input)),
        output(static_cast<int>(axis.output)),
        window(static_cast<int>(axis.window)),
        stride(static_cast<int>(axis.stride)),
        dilation(static_cast<int>(axis.dilation)),
        before(static_cast<int>(axis.before)) {}
};

/// What the three products have in common. Filters are [height, width, channels of a group,
/// filters of all groups].
struct Convolution {
  Axis height, width;
  Steps x_steps, y_steps;
  int images, groups, channels, filters;  ///< channels and filters of one group

  static Windows windows(const KernelSite& site, const Shape& x, const Shape& filter) {
    return windows_of(site.node().attributes(), x, {filter[0], filter[1]},
                      pair_attribute(site.node().attributes(), "dilations"));
  }
  static Layout layout(const KernelSite& site) {
    return layout_attribute(site.node().attributes());
  }

  Convolution(const KernelSite& site, const Shape& x, const Shape& filter)
      : Convolution(site, x, filter, windows(site, x, filter)) {}
  Convolution(const KernelSite& site, const Shape& x, const Shape& filter, const Windows& windows)
      : height(windows.height),
        width(windows.width),
        x_steps(x, layout(site)),
        y_steps(image_shape(layout(site), x[0], windows, filter[3]), layout(site)),
        images(static_cast<int>(x[0])),
        groups(static_cast<int>(site.attribute<int64_t>("groups"))),
        channels(static_cast<int>(filter[2])),
        filters(static_cast<int>(filter[3]) / groups) {}

  /// Whether every matrix' sizes, and every place in a padded image, fit an int.
  static bool fits(const KernelSite& site, const Shape& x, const Shape& filter) {
    const Windows w = windows(site, x, filter);
    const Shape y = image_shape(layout(site), x[0], w, filter[3]);
    constexpr auto most = static_cast<double>(std::numeric_limits<int>::max() / 4);
    const auto reach = [](const WindowAxis& axis) {
      return static_cast<double>(axis.output) * static_cast<double>(axis.stride) +
             static_cast<double>(axis.span()) + static_cast<double>(axis.before);
    };
    return static_cast<double>(x.num_elements()) < most &&
           static_cast<double>(y.num_elements()) < most &&
           static_cast<double>(filter.num_elements()) < most && reach(w.height) < most &&
           reach(w.width) < most;
  }

  int taps() const { return height.window * width.window; }
  int outputs() const { return images * height.output * width.output; }
  int inputs() const { return images * height.input * width.input; }
  bool is_empty() const { return inputs() * channels == 0 || outputs() * filters == 0; }

  /// Where the image is that output pixel `pixel` sees at tap (i, j); -1 where there is none.
  __device__ int64_t input_place(int pixel, int i, int j) const {
    const int line = pixel / width.output;
    const int row = line % height.output * height.stride - height.before + i * height.dilation;
    const int column = pixel % width.output * width.stride - width.before + j * width.dilation;
    if (row < 0 || row >= height.input || column < 0 || column >= width.input) return -1;
    return line / height.output * x_steps.image + row * x_steps.row + column * x_steps.column;
  }
  /// Where the output is that sees input pixel `pixel` at tap (i, j); -1 where there is none.
  __device__ int64_t output_place(int pixel, int i, int j) const {
    const int line = pixel / width.input;
    const int row = line % height.input + height.before - i * height.dilation;
    const int column = pixel % width.input + width.before - j * width.dilation;
    if (row < 0 || row % height.stride != 0 || row / height.stride >= height.output) return -1;
    if (column < 0 || column % width.stride != 0 || column / width.stride >= width.output)
      return -1;
    return line / height.input * y_steps.image + row / height.stride * y_steps.row +
           column / width.stride * y_steps.column;
  }
  __device__ int64_t output_start(int pixel) const {
    const int line = pixel / width.output;
    return line / height.output * y_steps.image + line % height.output * y_steps.row +
           pixel % width.output * y_steps.column;
  }
  __device__ int64_t filter_place(int group, int tap, int channel, int filter) const {
    return (static_cast<int64_t>(tap) * channels + channel) * filters * groups + group * filters +
           filter;
  }
};

/// y[pixel, filter] = the sum over taps and channels of x * filter.
template <class T>
struct Forward {
  Convolution conv;
  const T *x, *filter;
  T* y;
  int rows = 0, columns = 0, inner = 0, groups = 1, parts = 1;

  explicit Forward(const Convolution& c)
      : conv(c),
        rows(c.outputs()),
        columns(c.filters),
        inner(c.taps() * c.channels),
        groups(c.groups) {}
  __device__ T a(int group, int row, int k) const {
    const int tap = k / conv.channels, channel = group * conv.channels + k % conv.channels;
    const int64_t place = conv.input_place(row, tap / conv.width.window, tap % conv.width.window);
    return place < 0 ? T{0} : x[place + channel * conv.x_steps.channel];
  }
  __device__ T b(int group, int k, int column) const {
    return filter[conv.filter_place(group, k / conv.channels, k % conv.channels, column)];
  }
  __device__ void store(int, int group, int row, int column, T sum) const {
    y[conv.output_start(row) + (group * conv.filters + column) * conv.y_steps.channel] = sum;
  }
};

/// x[pixel, channel] = the sum over taps and filters of y * filter.
template <class T>
struct InputGrad {
  Convolution conv;
  const T *y, *filter;
  T* x;
  int rows = 0, columns = 0, inner = 0, groups = 1, parts = 1;

  explicit InputGrad(const Convolution& c)
      : conv(c),
        rows(c.inputs()),
        columns(c.channels),
        inner(c.taps() * c.filters),
        groups(c.groups) {}
  __device__ T a(int group, int row, int k) const {
    const int tap = k / conv.filters, one = group * conv.filters + k % conv.filters;
    const int64_t place =
        conv.output_place(row, tap / conv.width.window, tap % conv.width.window);
    return place < 0 ? T{0} : y[place + one * conv.y_steps.channel];
  }
  __device__ T b(int group, int k, int column) const {
    return filter[conv.filter_place(group, k / conv.filters, column, k % conv.filters)];
  }
  __device__ void store(int, int group, int row, int column, T sum) const {
    const int line = row / conv.width.input;
    x[line / conv.height.input * conv.x_steps.image +
      line % conv.height.input * conv.x_steps.row + row % conv.width.input * conv.x_steps.column +
      (group * conv.channels + column) * conv.x_steps.channel] = sum;
  }
};

/// filter[tap and channel, filter] = the sum over pixels of x * y, in parts.
template <class T>
struct FilterGrad {
  Convolution conv;
  const T *x, *y;
  T* sums;  ///< [part, group, row, column]
  int rows = 0, columns = 0, inner = 0, groups = 1, parts = 1;

  explicit FilterGrad(const Convolution& c)
      : conv(c),
        rows(c.taps() * c.channels),
        columns(c.filters),
        inner(c.outputs()),
        groups(c.groups) {
    // Enough for a large GPU, of a thousand products at least, and not more than memory is good
    // for.
    const int64_t tiles = (static_cast<int64_t>(rows) + kGemmTile - 1) / kGemmTile *
                          ((columns + kGemmTile - 1) / kGemmTile) * groups;
    parts = static_cast<int>(
        std::clamp<int64_t>(std::min<int64_t>(512 / tiles, inner / 1024), 1, 128));
  }
  int64_t elements() const { return static_cast<int64_t>(groups) * rows * columns; }
  __device__ T a(int group, int row, int k) const {
    const int tap = row / conv.channels, channel = group * conv.channels + row % conv.channels;
    const int64_t place = conv.input_place(k, tap / conv.width.window, tap % conv.width.window);
    return place < 0 ? T{0} : x[place + channel * conv.x_steps.channel];
  }
  __device__ T b(int group, int k, int column) const {
    return y[conv.output_start(k) + (group * conv.filters + column) * conv.y_steps.channel];
  }
  __device__ void store(int part, int group, int row, int column, T sum) const {
    sums[((static_cast<int64_t>(part) * groups + group) * rows + row) * columns + column] = sum;
  }
};

constexpr int kThreads = 128;

/// The parts' sums in their order, from [part, group, row, column] to [row, group, column].
template <class T>
__global__ void __launch_bounds__(kThreads)
    add_parts(const T* sums, T* filter, int parts, int groups, int rows, int columns) {
  const int64_t count = static_cast<int64_t>(groups) * rows * columns;
  for (int64_t i = thread_number(); i < count; i += num_threads()) {
    T total = sums[i];
    for (int part = 1; part < parts; ++part) total += sums[part * count + i];
    const int64_t row = i / columns % rows, group = i / columns / rows;
    filter[(row * groups + group) * columns + i % columns] = total;
  }
}

/// What is not written by any product is 0.
Kernel make_zeros(const KernelSite& site) {
  const std::size_t bytes = output_bytes(site);
  return {[bytes](const KernelArgs& args) {
    if (bytes > 0) stream_of(args).clear(args.outputs[0], bytes);
  }};
}

template <class T>
Kernel make_conv2d(const KernelSite& site) {
  const Shape &x = site.input_shape(0), &filter = site.input_shape(1);
  if (!Convolution::fits(site, x, filter)) return {};
  const Convolution conv(site, x, filter);
  if (conv.is_empty() || conv.taps() == 0) return make_zeros(site);
  return {[given = Forward<T>(conv)](const KernelArgs& args) {
    Forward<T> problem = given;
    problem.x = args.input<T>(0);
    problem.filter = args.input<T>(1);
    problem.y = args.output<T>();
    issue_gemm<T>(args, problem);
  }};
}

template <class T>
Kernel make_input_grad(const KernelSite& site) {
  const Shape &x = site.output_shape(), &filter = site.input_shape(1);
  if (!Convolution::fits(site, x, filter)) return {};
  const Convolution conv(site, x, filter);
  if (conv.is_empty() || conv.taps() == 0) return make_zeros(site);
  return {[given = InputGrad<T>(conv)](const KernelArgs& args) {
    InputGrad<T> problem = given;
    problem.filter = args.input<T>(1);
    problem.y = args.input<T>(2);
    problem.x = args.output<T>();
    issue_gemm<T>(args, problem);
  }};
}

template <class T>
Kernel make_filter_grad(const KernelSite& site) {
  const Shape &x = site.input_shape(0), &filter = site.output_shape();
  if (!Convolution::fits(site, x, filter)) return {};
  const Convolution conv(site, x, filter);
  if (conv.is_empty() || conv.taps() == 0) return make_zeros(site);
  const FilterGrad<T> given(conv);
  return {[given](const KernelArgs& args) {
            FilterGrad<T> problem = given;
            problem.x = args.input<T>(0);
            problem.y = args.input<T>(2);
            problem.sums = static_cast<T*>(args.workspace);
            issue_gemm<T>(args, problem);
            issue(args, add_parts<T>, blocks_for(problem.elements(), kThreads), kThreads, 0,
                  static_cast<const T*>(problem.sums), args.output<T>(), problem.parts,
                  problem.groups, problem.rows, problem.columns);
          },
          static_cast<std::size_t>(given.elements() * given.parts) * sizeof(T)};
}

template <class T>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add_faster("conv2d", kCuda, dtype, make_conv2d<T>);
  registry.add_faster("conv2d_input_grad", kCuda, dtype, make_input_grad<T>);
  registry.add_faster("conv2d_filter_grad", kCuda, dtype, make_filter_grad<T>);
}

}  // namespace

void register_convolution_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph::cuda
