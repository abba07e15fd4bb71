#include <algorithm>
#include <bit>
#include <compare>
#include <limits>
#include <span>
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

/// An element of a row, as integers: so sorting is compiled once for all dtypes.
struct Ranked {
  int64_t key, index;
  /// Of equal elements the first comes first: so the order is one whatever the algorithm.
  auto operator<=>(const Ranked&) const = default;
};

/// Keys are in the order of the elements. NaN is larger than all numbers, and zeros are equal.
template <class T>
int64_t key_of(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    if (x != x) return std::numeric_limits<int64_t>::max();
    const auto bits = std::bit_cast<int64_t>(double{x} + 0.0);
    return bits < 0 ? bits ^ std::numeric_limits<int64_t>::max() : bits;
  } else {
    return x;
  }
}
template <class T>
void rank_row(const void* data, int64_t start, int64_t step, bool descending,
              std::span<Ranked> row) {
  const T* x = static_cast<const T*>(data) + start;
  for (std::size_t i = 0; i < row.size(); ++i, x += step)
    row[i] = {descending ? ~key_of(*x) : key_of(*x), static_cast<int64_t>(i)};
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

/// Sorts a row's elements in work space of the thread.
Kernel argsort(const KernelSite& site, decltype(&rank_row<float>) rank) {
  const Rows from(site.input_shape(0), axis_of(site)), to(site.output_shape(), axis_of(site));
  const bool descending = site.attribute<bool>("descending");
  if (to.size > from.size)
    throw KernelError("there are fewer elements along the axis than are wanted");
  const int64_t workers = workers_for(from.rows(), site.threads());
  const auto run = [=](const KernelArgs& args) {
    parallel_tasks(from.rows(), workers, [&](int64_t row, int64_t worker) {
      const std::span all(static_cast<Ranked*>(args.workspace) + worker * from.size,
                          static_cast<std::size_t>(from.size));
      rank(args.inputs[0], from.start(row), from.inner, descending, all);
      if (to.size < from.size)
        std::partial_sort(all.begin(), all.begin() + to.size, all.end());
      else
        std::sort(all.begin(), all.end());
      auto y = to.row(args.output<int64_t>(), row);
      xt::noalias(y) = strided<int64_t, 1>(&all.data()->index, {to.size}, {2});
    });
  };
  return {run, static_cast<std::size_t>(workers * from.size) * sizeof(Ranked)};
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

/// Of all scans of a type: `next` is one's own.
template <class T, class State>
Kernel scan(const KernelSite& site, State (*next)(State, T, T), State start) {
  const Rows at(site.input_shape(0), axis_of(site));
  const bool exclusive = site.attribute<bool>("exclusive");
  const bool reverse = site.attribute<bool>("reverse");
  const auto run =
      [=, last = static_cast<std::size_t>(site.num_inputs() - 1)](const KernelArgs& args) {
        auto states = strided<State, 2>(static_cast<State*>(args.workspace), {at.outer, at.inner},
                                        {at.inner, 1});
        states.fill(start);
        for (int64_t step = 0; step < at.size && at.rows() > 0; ++step) {
          const int64_t i = reverse ? at.size - 1 - step : step;
          auto y = at.layer(args.output<T>(), i);
          const auto advance = [&] {
            xt::noalias(states) = xt::vectorize(next)(states, at.layer(args.input<T>(0), i),
                                                      at.layer(args.input<T>(last), i));
          };
          if (!exclusive) advance();
          xt::noalias(y) = states;
          if (exclusive) advance();
        }
      };
  return {run, static_cast<std::size_t>(at.rows()) * sizeof(State)};
}

template <class Scan, class T>
Kernel make_scan(const KernelSite& site) {
  using State = functors::State<T>;
  return scan<T, State>(site, &Scan::template next<State, T>, State{Scan::kStart});
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
  const Progression<T> numbers(site);
  const int64_t count = site.output_shape().num_elements();
  return {[=](const KernelArgs& args) {
    const auto number = [numbers](int64_t i) {
      return static_cast<T>(numbers.start +
                            numbers.step * static_cast<decltype(numbers.step)>(i));
    };
    auto y = strided<T, 1>(args.output<T>(), {count}, {1});
    xt::noalias(y) = xt::vectorize(number)(xt::arange<int64_t>(count));
  }};
}

}  // namespace

void register_reference_sorting(KernelRegistry& registry) {
  for (const DType dtype : kNumberDTypes) {
    registry.add("argsort", kCpu, {dtype}, [dtype](const KernelSite& site) {
      return dispatch<float, double, std::int32_t, int64_t, std::uint8_t>(
          dtype, [&]<class T>() { return argsort(site, rank_row<T>); });
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
