#include "device/cuda/general/indices.h"
#include "device/cuda/kernels.h"
#include "device/cuda/softmax/softmax_rows.h"
#include "device/shared/axis_view.h"

namespace gradgraph::cuda {
namespace {

using std::int64_t;

struct Softmax {
  template <class T>
  __device__ static T of(T x, const RowTotals<T>& row) {
    return math::exp(x - row.largest) / (1 + row.rest);
  }
};
struct LogSoftmax {
  template <class T>
  __device__ static T of(T x, const RowTotals<T>& row) {
    return (x - row.largest) - math::log1p(row.rest);
  }
};

template <class F, int kLanes, class T>
__global__ void __launch_bounds__(kRowThreads) softmax_rows(const T* x, T* y, AxisView rows) {
  using Grid = RowGrid<kLanes>;
  for (int64_t row = Grid::first(); row < rows.rows(); row += Grid::step()) {
    const int64_t start = rows.start(row);
    const RowTotals<T> totals = totals_of<kLanes>(x + start, rows.size, rows.inner);
    for (int64_t i = Grid::lane(); i < rows.size; i += kLanes)
      y[start + i * rows.inner] = F::of(x[start + i * rows.inner], totals);
  }
}

template <class F, class T>
Kernel make_softmax(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const auto axis = site.attribute<int64_t>("axis");
  const AxisView rows(shape, static_cast<int>(axis < 0 ? axis + shape.rank() : axis));
  if (rows.rows() * rows.size == 0) return {[](const KernelArgs&) {}};
  return {[=](const KernelArgs& args) {
    with_lanes(rows.size, rows.inner, [&]<int kLanes>() {
      issue(args, softmax_rows<F, kLanes, T>, RowGrid<kLanes>::blocks(rows.rows()), kRowThreads,
            0, args.input<T>(0), args.output<T>(), rows);
    });
  }};
}

/// What labels are in a row: a class, or a share for each class.
template <class Label>
struct SparseLabels {
  const Label* labels;
  template <int kLanes, class T>
  __device__ T loss(const T* x, int64_t row, int64_t size, const RowTotals<T>& totals) const {
    const auto label = static_cast<int64_t>(labels[row]);
    if (label < 0 || label >= size) return 0;
    return loss_of(x[label], totals.largest, math::log1p(totals.rest));
  }
};
/// A class without a share of the label adds nothing, however unlikely the logits make it.
template <class T>
struct DenseLabels {
  const T* labels;
  template <int kLanes>
  __device__ T loss(const T* x, int64_t row, int64_t size, const RowTotals<T>& totals) const {
    const T log_rest = math::log1p(totals.rest);
    double loss = 0;
    for (int64_t i = RowGrid<kLanes>::lane(); i < size; i += kLanes)
      if (const T label = labels[row * size + i]; label != 0)
        loss += static_cast<double>(label * loss_of(x[i], totals.largest, log_rest));
    return static_cast<T>(row_reduce<kLanes>(loss, size, functors::Add{}));
  }
};

template <int kLanes, class T, class Labels>
__global__ void __launch_bounds__(kRowThreads)
    losses_of(const T* x, Labels labels, T* y, int64_t rows, int64_t size) {
  using Grid = RowGrid<kLanes>;
  for (int64_t row = Grid::first(); row < rows; row += Grid::step()) {
    const T* own = x + row * size;
    const RowTotals<T> totals = totals_of<kLanes>(own, size, int64_t{1});
    const T loss = labels.template loss<kLanes>(own, row, size, totals);
    if (Grid::lane() == 0) y[row] = loss;
  }
}

template <class T, class Labels>
void issue_losses(const KernelArgs& args, const Labels& labels, int64_t rows, int64_t size) {
  if (rows == 0) return;
  if (size == 0) {
    stream_of(args).clear(args.outputs[0], static_cast<std::size_t>(rows) * sizeof(T));
    return;
  }
  with_lanes(size, 1, [&]<int kLanes>() {
    issue(args, losses_of<kLanes, T, Labels>, RowGrid<kLanes>::blocks(rows), kRowThreads, 0,
          args.input<T>(0), labels, args.output<T>(), rows, size);
  });
}

template <class T>
Kernel make_cross_entropy(const KernelSite& site) {
  const AxisView rows(site.input_shape(0), site.input_shape(0).rank() - 1);
  return {[=](const KernelArgs& args) {
    issue_losses<T>(args, DenseLabels<T>{args.input<T>(1)}, rows.rows(), rows.size);
  }};
}

template <class T>
Kernel make_sparse_cross_entropy(const KernelSite& site) {
  const AxisView rows(site.input_shape(0), site.input_shape(0).rank() - 1);
  return {[=, dtype = site.input_dtype(1)](const KernelArgs& args) {
    check_indices(args, args.inputs[1], dtype, rows.rows(), rows.size);
    if (dtype == int64)
      issue_losses<T>(args, SparseLabels<int64_t>{args.input<int64_t>(1)}, rows.rows(),
                      rows.size);
    else
      issue_losses<T>(args, SparseLabels<std::int32_t>{args.input<std::int32_t>(1)}, rows.rows(),
                      rows.size);
  }};
}

template <class T>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add("softmax", kCuda, dtype, make_softmax<Softmax, T>);
  registry.add("log_softmax", kCuda, dtype, make_softmax<LogSoftmax, T>);
  registry.add("softmax_cross_entropy", kCuda, dtype, make_cross_entropy<T>);
  registry.add("sparse_softmax_cross_entropy", kCuda, dtype, make_sparse_cross_entropy<T>);
}

}  // namespace

void register_softmax_kernels(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph::cuda
