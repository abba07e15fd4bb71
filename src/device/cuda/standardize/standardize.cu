#include "device/cuda/kernels.h"
#include "device/cuda/row_grid.h"
#include "device/shared/axis_view.h"
#include "device/shared/math_functions.h"
#include "device/shared/scalar_functors.h"

namespace gradgraph::cuda {
namespace {

using std::int64_t;

/// As on the CPU: the mean is rounded, and what it lacks, the rest, is taken off as well.
template <class T>
struct Moments {
  T mean, rest, scale;
  __device__ T centred(T x) const { return (x - mean) - rest; }
  __device__ T standardized(T x) const { return centred(x) * scale; }
};

/// The mean of f(i) for elements i of a row.
template <int kLanes, class A, class F>
__device__ A mean_of(int64_t size, const F& f) {
  A sum = 0;
  for (int64_t i = RowGrid<kLanes>::lane(); i < size; i += kLanes) sum += static_cast<A>(f(i));
  return row_reduce<kLanes>(sum, size, functors::Add{}) / static_cast<A>(size);
}

/// Squares are added in float64, which has room for those of all floats.
template <int kLanes, class T>
__device__ Moments<T> moments_of(const T* x, int64_t size, double epsilon) {
  Moments<T> moments{};
  moments.mean = mean_of<kLanes, T>(size, [=](int64_t i) { return x[i]; });
  moments.rest = mean_of<kLanes, T>(size, [=](int64_t i) { return x[i] - moments.mean; });
  const double variance = mean_of<kLanes, double>(size, [=](int64_t i) {
    const double distance = moments.centred(x[i]);
    return distance * distance;
  });
  moments.scale = static_cast<T>(1 / std::sqrt(variance + epsilon));
  return moments;
}

template <int kLanes, class T>
__global__ void __launch_bounds__(kRowThreads)
    standardize_rows(const T* x, T* y, int64_t rows, int64_t size, double epsilon) {
  using Grid = RowGrid<kLanes>;
  for (int64_t row = Grid::first(); row < rows; row += Grid::step()) {
    const T* from = x + row * size;
    const Moments<T> moments = moments_of<kLanes>(from, size, epsilon);
    for (int64_t i = Grid::lane(); i < size; i += kLanes)
      y[row * size + i] = moments.standardized(from[i]);
  }
}

template <int kLanes, class T>
__global__ void __launch_bounds__(kRowThreads)
    standardize_grad_rows(const T* x, const T* grad, T* y, int64_t rows, int64_t size,
                          double epsilon) {
  using Grid = RowGrid<kLanes>;
  for (int64_t row = Grid::first(); row < rows; row += Grid::step()) {
    const T *from = x + row * size, *g = grad + row * size;
    const Moments<T> moments = moments_of<kLanes>(from, size, epsilon);
    const T mean_grad = mean_of<kLanes, T>(size, [=](int64_t i) { return g[i]; });
    const T mean_product =
        mean_of<kLanes, T>(size, [=](int64_t i) { return g[i] * moments.standardized(from[i]); });
    for (int64_t i = Grid::lane(); i < size; i += kLanes)
      y[row * size + i] =
          moments.scale * (g[i] - mean_grad - moments.standardized(from[i]) * mean_product);
  }
}

template <class T>
Kernel make_standardize(const KernelSite& site) {
  const AxisView view(site.input_shape(0), site.input_shape(0).rank() - 1);
  if (view.outer * view.size == 0) return {[](const KernelArgs&) {}};
  return {[view, epsilon = site.attribute<double>("epsilon")](const KernelArgs& args) {
    with_lanes(view.size, 1, [&]<int kLanes>() {
      issue(args, standardize_rows<kLanes, T>, RowGrid<kLanes>::blocks(view.outer), kRowThreads,
            0, args.input<T>(0), args.output<T>(), view.outer, view.size, epsilon);
    });
  }};
}

template <class T>
Kernel make_standardize_grad(const KernelSite& site) {
  const AxisView view(site.input_shape(0), site.input_shape(0).rank() - 1);
  if (view.outer * view.size == 0) return {[](const KernelArgs&) {}};
  return {[view, epsilon = site.attribute<double>("epsilon")](const KernelArgs& args) {
    with_lanes(view.size, 1, [&]<int kLanes>() {
      issue(args, standardize_grad_rows<kLanes, T>, RowGrid<kLanes>::blocks(view.outer),
            kRowThreads, 0, args.input<T>(0), args.input<T>(1), args.output<T>(), view.outer,
            view.size, epsilon);
    });
  }};
}

template <class T>
void register_for(KernelRegistry& registry) {
  registry.add("standardize", kCuda, {dtype_of<T>}, make_standardize<T>);
  registry.add("standardize_grad", kCuda, {dtype_of<T>}, make_standardize_grad<T>);
}

}  // namespace

void register_standardize_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph::cuda
