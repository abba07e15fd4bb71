#include <algorithm>
#include <xtensor/xbuilder.hpp>

#include "device/cpu/general/indexing.h"
#include "device/cpu/kernels.h"
#include "device/cpu/reference/expressions.h"
#include "device/cpu/reference/kernels.h"
#include "device/parallel.h"
#include "device/shared/axis_view.h"
#include "device/shared/scans.h"

/// What goes along one axis: orders, picks, running sums and products, and ranges.
namespace gradgraph {
namespace {

using std::int64_t;

/// NaN is larger than all numbers.
template <class T>
bool is_less(T a, T b) {
  return a < b || (a == a && b != b);
}

/// A tensor's rows, and layers across them, as expressions.
struct Rows : AxisView {
  using AxisView::AxisView;

  /// The elements along the axis in one of the rows.
  template <class T>
  auto row(T* data, int64_t row) const {
    return strided<T, 1>(data + start(row), {size}, {inner});
  }
  /// Element `i` along the axis in all rows.
  template <class T>
  auto layer(T* data, int64_t i) const {
    return strided<T, 2>(data + i * inner, {outer, inner}, {size * inner, 1});
  }
};

/// Sorts a row's indices in work space of the thread; of equal elements the first comes first, so
/// the order is one whatever the algorithm.
template <class T>
Kernel make_argsort(const KernelSite& site) {
  const Rows from(site.input_shape(0), axis_of(site)), to(site.output_shape(), axis_of(site));
  const bool descending = site.attribute<bool>("descending");
  if (to.size > from.size)
    throw KernelError("there are fewer elements along the axis than are wanted");
  const int64_t workers = workers_for(from.rows(), site.threads());
  const auto run = [=](const KernelArgs& args) {
    parallel_tasks(from.rows(), workers, [&](int64_t row, int64_t worker) {
      int64_t* order = static_cast<int64_t*>(args.workspace) + worker * from.size;
      auto all = strided<int64_t, 1>(order, {from.size}, {1});
      xt::noalias(all) = xt::arange<int64_t>(from.size);
      const T* x = args.input<T>(0) + from.start(row);
      const auto before = [&, inner = from.inner](int64_t i, int64_t j) {
        const T a = x[i * inner], b = x[j * inner];
        if (is_less(a, b)) return !descending;
        return is_less(b, a) ? descending : i < j;
      };
      if (to.size < from.size)
        std::partial_sort(order, order + to.size, order + from.size, before);
      else
        std::sort(order, order + from.size, before);
      auto y = to.row(args.output<int64_t>(), row);
      xt::noalias(y) = strided<int64_t, 1>(order, {to.size}, {1});
    });
  };
  return {run, static_cast<std::size_t>(workers * from.size) * sizeof(int64_t)};
}

/// Calls body(row, index) for each index in each row, after all were checked.
template <class Body>
void for_indices(const Rows& at, int64_t size, IndexReader read, const void* indices,
                 const Body& body) {
  for (int64_t i = 0; i < at.rows() * at.size; ++i)
    if (const int64_t index = read(indices, i); index < 0 || index >= size)
      throw index_error(index, i, size);
  for (int64_t row = 0; row < at.rows(); ++row)
    for (int64_t i = 0; i < at.size; ++i)
      body(row, i, read(indices, at.start(row) + i * at.inner));
}

Kernel make_take(const KernelSite& site) {
  const Rows from(site.input_shape(0), axis_of(site)), to(site.output_shape(), axis_of(site));
  return dispatch_size(site.output_dtype(), [&]<class T>() -> Kernel {
    return {[=, read = index_reader(site.input_dtype(1))](const KernelArgs& args) {
      for_indices(to, from.size, read, args.inputs[1],
                  [&](int64_t row, int64_t i, int64_t index) {
                    to.row(args.output<T>(), row)(i) = from.row(args.input<T>(0), row)(index);
                  });
    }};
  });
}

Kernel make_add(const KernelSite& site) {
  const Rows from(site.input_shape(2), axis_of(site)), to(site.output_shape(), axis_of(site));
  return dispatch_sum(site.output_dtype(), [&]<class T>() -> Kernel {
    return {[=, read = index_reader(site.input_dtype(1))](const KernelArgs& args) {
      std::fill_n(args.output<T>(), to.rows() * to.size, T{0});
      for_indices(
          from, to.size, read, args.inputs[1], [&](int64_t row, int64_t i, int64_t index) {
            auto sums = to.row(args.output<T>(), row);
            sums(index) = static_cast<T>(sums(index) + from.row(args.input<T>(2), row)(i));
          });
    }};
  });
}

template <class Scan, class T>
Kernel make_scan(const KernelSite& site) {
  using State = functors::State<T>;
  const Rows at(site.input_shape(0), axis_of(site));
  const bool exclusive = site.attribute<bool>("exclusive");
  const bool reverse = site.attribute<bool>("reverse");
  const auto run = [=](const KernelArgs& args) {
    auto states = strided<State, 2>(static_cast<State*>(args.workspace), {at.outer, at.inner},
                                    {at.inner, 1});
    states.fill(State{Scan::kStart});
    for (int64_t step = 0; step < at.size && at.rows() > 0; ++step) {
      const int64_t i = reverse ? at.size - 1 - step : step;
      const auto x = at.layer(args.input<T>(0), i);
      const auto other = at.layer(args.input<T>(Scan::kInputs - 1), i);
      auto y = at.layer(args.output<T>(), i);
      if (exclusive) xt::noalias(y) = xt::cast<T>(states);
      xt::noalias(states) = xt::vectorize(&Scan::template next<State, T>)(states, x, other);
      if (!exclusive) xt::noalias(y) = xt::cast<T>(states);
    }
  };
  return {run, static_cast<std::size_t>(at.rows()) * sizeof(State)};
}

template <class Scan, class... T>
void add_scan(KernelRegistry& registry, functors::List<T...>) {
  (registry.add(Scan::op, kCpu, {dtype_of<T>}, make_scan<Scan, T>), ...);
}
template <class... Scan>
void add_scans(KernelRegistry& registry, functors::List<Scan...>) {
  (add_scan<Scan>(registry, typename Scan::Types{}), ...);
}

template <class T>
Kernel make_range(const KernelSite& site) {
  using Exact = typename Progression<T>::Exact;
  const Progression<T> numbers(site);
  const int64_t count = site.output_shape().num_elements();
  return {[=](const KernelArgs& args) {
    auto y = strided<T, 1>(args.output<T>(), {count}, {1});
    xt::noalias(y) =
        xt::cast<T>(numbers.start + numbers.step * xt::cast<Exact>(xt::arange<int64_t>(count)));
  }};
}

}  // namespace

void register_reference_sorting(KernelRegistry& registry) {
  for (const DType dtype : kNumberDTypes) {
    registry.add("argsort", kCpu, {dtype}, [dtype](const KernelSite& site) {
      return dispatch<float, double, std::int32_t, int64_t, std::uint8_t>(
          dtype, [&]<class T>() { return make_argsort<T>(site); });
    });
    registry.add("range", kCpu, {dtype}, [dtype](const KernelSite& site) {
      return dispatch<float, double, std::int32_t, int64_t, std::uint8_t>(
          dtype, [&]<class T>() { return make_range<T>(site); });
    });
  }
  registry.add("take_along_axis", kCpu, kAllDTypes, make_take);
  registry.add("add_along_axis", kCpu, kNumberDTypes, make_add);
  add_scans(registry, functors::Scan{});
}

}  // namespace gradgraph
