#include "device/cuda/issue.h"
#include "device/cuda/kernels.h"
#include "device/shared/elements.h"
#include "ops/nn/window.h"

/// Pools: a thread for each element of the result. Gradients gather from the windows that see a
/// pixel, so nothing is added by atomic operations.
namespace gradgraph::cuda {
namespace {

using std::int64_t;

constexpr int kThreads = 128;

/// Images as [images, height, width, channels]. A channel of an NCHW image is an image of its
/// own.
struct Pool {
  Windows windows;
  int64_t images, channels;

  Pool(const KernelSite& site, const Shape& x)
      : windows(windows_of(site.node().attributes(), x,
                           pair_attribute(site.node().attributes(), "window"), 1)) {
    const bool nhwc = layout_attribute(site.node().attributes()) == Layout::nhwc;
    images = nhwc ? x[0] : x[0] * x[1];
    channels = nhwc ? x[3] : 1;
  }
  int64_t inputs() const {
    return images * windows.height.input * windows.width.input * channels;
  }
  int64_t outputs() const {
    return images * windows.height.output * windows.width.output * channels;
  }

  /// An element of [images, rows, columns, channels].
  struct Place {
    int64_t image, row, column, channel;
  };
  __device__ Place place(int64_t i, int64_t rows, int64_t columns) const {
    const int64_t pixel = i / channels, line = pixel / columns;
    return {line / rows, line % rows, pixel % columns, i % channels};
  }
  __device__ Place output(int64_t i) const {
    return place(i, windows.height.output, windows.width.output);
  }
  __device__ Place input(int64_t i) const {
    return place(i, windows.height.input, windows.width.input);
  }
  __device__ int64_t input_index(const Place& at, int64_t row, int64_t column) const {
    return ((at.image * windows.height.input + row) * windows.width.input + column) * channels +
           at.channel;
  }
  __device__ int64_t output_index(const Place& at, int64_t row, int64_t column) const {
    return ((at.image * windows.height.output + row) * windows.width.output + column) * channels +
           at.channel;
  }

  /// Calls body(input index) for the pixels of a window that meet the image.
  template <class Body>
  __device__ void for_pixels(const Place& at, const Body& body) const {
    const auto rows = windows.height.taps(at.row), columns = windows.width.taps(at.column);
    for (int64_t i = rows.begin; i < rows.end; ++i)
      for (int64_t j = columns.begin; j < columns.end; ++j)
        body(input_index(at, windows.height.at(at.row, i), windows.width.at(at.column, j)));
  }
  __device__ int64_t pixels(int64_t row, int64_t column) const {
    const auto rows = windows.height.taps(row), columns = windows.width.taps(column);
    return (rows.end - rows.begin) * (columns.end - columns.begin);
  }

  /// The windows along an axis that see the image's element `at`.
  struct Seers {
    int64_t begin, end;
  };
  __device__ static Seers seers(const WindowAxis& axis, int64_t at) {
    const int64_t last = (at + axis.before) / axis.stride;
    const int64_t behind = at + axis.before - axis.window;
    return {behind < 0 ? 0 : behind / axis.stride + 1,
            last + 1 < axis.output ? last + 1 : axis.output};
  }
  /// Calls body(row, column) for the windows that see an input.
  template <class Body>
  __device__ void for_windows(const Place& at, const Body& body) const {
    const Seers rows = seers(windows.height, at.row), columns = seers(windows.width, at.column);
    for (int64_t row = rows.begin; row < rows.end; ++row)
      for (int64_t column = columns.begin; column < columns.end; ++column) body(row, column);
  }
};

/// Where the largest pixel of a window is: ties go to the first, NaN wins.
template <class T>
__device__ int64_t place_of_largest(const Pool& pool, const Pool::Place& at, const T* x) {
  int64_t best = -1;
  pool.for_pixels(at, [&](int64_t i) {
    if (best < 0 || (!(x[i] <= x[best]) && x[best] == x[best])) best = i;
  });
  return best;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    pick_largest(const T* x, const T* values, T* y, Pool pool, int64_t count) {
  for (int64_t i = thread_number(); i < count; i += num_threads())
    y[i] = values[place_of_largest(pool, pool.output(i), x)];
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    find_largest(const T* x, int64_t* places, Pool pool, int64_t count) {
  for (int64_t i = thread_number(); i < count; i += num_threads())
    places[i] = place_of_largest(pool, pool.output(i), x);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    largest_grad(const int64_t* places, const T* grads, T* y, Pool pool, int64_t count) {
  for (int64_t i = thread_number(); i < count; i += num_threads()) {
    const Pool::Place at = pool.input(i);
    T sum = 0;
    pool.for_windows(at, [&](int64_t row, int64_t column) {
      const int64_t window = pool.output_index(at, row, column);
      if (places[window] == i) sum += grads[window];
    });
    y[i] = sum;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) average(const T* x, T* y, Pool pool, int64_t count) {
  for (int64_t i = thread_number(); i < count; i += num_threads()) {
    const Pool::Place at = pool.output(i);
    T sum = 0;
    pool.for_pixels(at, [&](int64_t pixel) { sum += x[pixel]; });
    y[i] = sum / static_cast<T>(pool.pixels(at.row, at.column));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    average_grad(const T* grads, T* y, Pool pool, int64_t count) {
  for (int64_t i = thread_number(); i < count; i += num_threads()) {
    const Pool::Place at = pool.input(i);
    T sum = 0;
    pool.for_windows(at, [&](int64_t row, int64_t column) {
      sum += grads[pool.output_index(at, row, column)] / static_cast<T>(pool.pixels(row, column));
    });
    y[i] = sum;
  }
}

template <class T>
Kernel make_max_pool(const KernelSite& site) {
  const Pool pool(site, site.input_shape(0));
  const int64_t count = pool.outputs();
  if (count == 0) return {[](const KernelArgs&) {}};
  return {[=](const KernelArgs& args) {
    issue(args, pick_largest<T>, blocks_for(count, kThreads), kThreads, 0, args.input<T>(0),
          args.inputs.size() > 1 ? args.input<T>(1) : args.input<T>(0), args.output<T>(), pool,
          count);
  }};
}

template <class T>
Kernel make_max_pool_grad(const KernelSite& site) {
  const Pool pool(site, site.input_shape(0));
  const int64_t inputs = pool.inputs(), outputs = pool.outputs();
  if (inputs == 0) return {[](const KernelArgs&) {}};
  return {[=](const KernelArgs& args) {
            auto* places = static_cast<int64_t*>(args.workspace);
            if (outputs > 0)
              issue(args, find_largest<T>, blocks_for(outputs, kThreads), kThreads, 0,
                    args.input<T>(0), places, pool, outputs);
            issue(args, largest_grad<T>, blocks_for(inputs, kThreads), kThreads, 0,
                  static_cast<const int64_t*>(places), args.input<T>(1), args.output<T>(), pool,
                  inputs);
          },
          static_cast<std::size_t>(outputs) * sizeof(int64_t)};
}

template <class T>
Kernel make_avg_pool(const KernelSite& site) {
  const Pool pool(site, site.input_shape(0));
  const int64_t count = pool.outputs();
  if (count == 0) return {[](const KernelArgs&) {}};
  return {[=](const KernelArgs& args) {
    issue(args, average<T>, blocks_for(count, kThreads), kThreads, 0, args.input<T>(0),
          args.output<T>(), pool, count);
  }};
}

template <class T>
Kernel make_avg_pool_grad(const KernelSite& site) {
  const Pool pool(site, site.output_shape());
  const int64_t count = pool.inputs();
  if (count == 0) return {[](const KernelArgs&) {}};
  return {[=](const KernelArgs& args) {
    issue(args, average_grad<T>, blocks_for(count, kThreads), kThreads, 0, args.input<T>(1),
          args.output<T>(), pool, count);
  }};
}

template <class T>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add("max_pool2d", kCuda, dtype, make_max_pool<T>);
  registry.add("max_pool2d_pick", kCuda, dtype, make_max_pool<T>);
  registry.add("max_pool2d_grad", kCuda, dtype, make_max_pool_grad<T>);
  registry.add("avg_pool2d", kCuda, dtype, make_avg_pool<T>);
  registry.add("avg_pool2d_grad", kCuda, dtype, make_avg_pool_grad<T>);
}

}  // namespace

void register_pooling_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph::cuda
