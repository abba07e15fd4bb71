#include <algorithm>
#include <type_traits>
#include <xtensor/xbuilder.hpp>

#include "device/cpu/kernels.h"
#include "device/cpu/reference/expressions.h"
#include "device/cpu/reference/kernels.h"
#include "device/shared/elements.h"
#include "device/shared/scalar_functors.h"

namespace gradgraph {
namespace {

using std::int64_t;

/// Axes that are kept first, then those that are reduced, neighbours of one kind merged: so half
/// of each kind is the most.
constexpr std::size_t kHalf = Shape::kMaxRank / 2;

struct ReducedAxes {
  Extents<2 * kHalf> extents, steps;
  int64_t results = 1, elements_each = 1;

  ReducedAxes(const Shape& shape, std::uint32_t reduced_axes) {
    extents.fill(1);
    steps.fill(0);
    std::size_t kept = kHalf, reduced = 2 * kHalf;
    int64_t stride = 1;
    for (int axis = shape.rank() - 1; axis >= 0;) {
      const auto is_reduced = [&](int a) { return (reduced_axes >> a & 1u) != 0; };
      const bool group_reduced = is_reduced(axis);
      int64_t extent = 1;
      for (; axis >= 0 && is_reduced(axis) == group_reduced; --axis) extent *= shape[axis];
      const std::size_t to = group_reduced ? --reduced : --kept;
      extents[to] = extent;
      steps[to] = stride;
      (group_reduced ? elements_each : results) *= extent;
      stride *= extent;
    }
  }
};

/// What T is calculated in: float32 in float64, so that no order of adding matters.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double, T>;

template <class R, class T>
Wide<T> combine(Wide<T> total, T x) {
  return static_cast<Wide<T>>(typename R::Combine{}(total, static_cast<Wide<T>>(x)));
}

/// `divisor` is 1 for integers, which have no means.
template <class T>
Kernel reduction(const ReducedAxes& layout, Wide<T> (*combine)(Wide<T>, T), Wide<T> start,
                 Wide<T> divisor) {
  return {[=](const KernelArgs& args) {
    Extents<kHalf> extents, steps;
    int64_t step = 1;
    for (std::size_t axis = kHalf; axis-- > 0; step *= extents[axis]) {
      extents[axis] = layout.extents[axis];
      steps[axis] = step;
    }
    auto y = strided(args.output<T>(), extents, steps);
    constexpr std::array<std::size_t, kHalf> kReduced = {kHalf, kHalf + 1, kHalf + 2, kHalf + 3};
    const auto totals = reduced(
        combine, start, strided(args.input<T>(0), layout.extents, layout.steps), kReduced);
    if constexpr (std::is_floating_point_v<T>)
      xt::noalias(y) = totals / divisor;
    else
      xt::noalias(y) = totals;
  }};
}

template <class T>
Kernel filled(int64_t count, T value) {
  return {[=](const KernelArgs& args) { std::fill_n(args.output<T>(), count, value); }};
}

template <class R, class T>
Kernel make_over(const Shape& shape, std::uint32_t axes) {
  const ReducedAxes layout(shape, axes);
  if (layout.results == 0) return {[](const KernelArgs&) {}};
  if (layout.elements_each == 0) {
    if (std::is_base_of_v<functors::Max, R>)
      throw KernelError("there is no largest or smallest of no elements");
    return filled<T>(layout.results, static_cast<T>(R::finish(R::template start<T>(), 0)));
  }
  // Truths are the bytes 0 and 1.
  using Element = std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>;
  Wide<Element> start = R::template start<T>();
  // A sum of negative zeros is one.
  if (std::is_same_v<typename R::Combine, functors::Add>) start = -start;
  const bool divides = std::is_same_v<R, functors::Mean>;
  return reduction<Element>(layout, combine<R, Element>, start,
                            static_cast<Wide<Element>>(divides ? layout.elements_each : 1));
}

/// Whether element `i` of `x` takes the place of element `best`.
template <class R, class T>
bool is_better(const void* x, int64_t i, int64_t best) {
  return R::better(static_cast<const T*>(x)[i], static_cast<const T*>(x)[best]);
}

/// One step along the axis of [outer, length, inner]: the better of a result's best index so far
/// and of index i.
struct Choice {
  bool (*is_better)(const void*, int64_t, int64_t);
  const void* x = nullptr;
  int64_t length, inner, i = 0;

  int64_t operator()(int64_t best, int64_t result) const {
    const int64_t first = result / inner * length * inner + result % inner;
    return is_better(x, first + i * inner, first + best * inner) ? i : best;
  }
};

Kernel index_of_best(const KernelSite& site, decltype(Choice::is_better) is_better) {
  const Shape& shape = site.input_shape(0);
  const int axis = static_cast<int>(site.attribute<int64_t>("axis"));
  const int64_t inner = extent(shape, axis + 1, shape.rank());
  const int64_t results = extent(shape, 0, axis) * inner;
  const Choice choice{.is_better = is_better, .length = shape[axis], .inner = inner};
  if (results == 0) return {[](const KernelArgs&) {}};
  if (choice.length == 0) throw KernelError("there is no largest or smallest of no elements");
  return {[=](const KernelArgs& args) {
    auto index = strided<int64_t, 1>(args.output<int64_t>(), {results}, {1});
    index.fill(0);
    Choice next = choice;
    next.x = args.inputs[0];
    for (next.i = 1; next.i < next.length; ++next.i)
      xt::noalias(index) = xt::vectorize(next)(index, xt::arange<int64_t>(results));
  }};
}

template <class R, class T>
Kernel make_index(const KernelSite& site) {
  return index_of_best(site, is_better<R, T>);
}

template <class R, class... T>
void add_reduction(KernelRegistry& registry, functors::List<T...>) {
  (registry.add(R::op, kCpu, {dtype_of<T>},
                [](const KernelSite& site) {
                  return make_over<R, T>(site.input_shape(0), axes_attribute(site));
                }),
   ...);
}
template <class... R>
void add_reductions(KernelRegistry& registry, functors::List<R...>) {
  (add_reduction<R>(registry, typename R::Types{}), ...);
}

template <class... T>
void add_sum_to(KernelRegistry& registry, functors::List<T...>) {
  (registry.add("sum_to", kCpu, {dtype_of<T>},
                [](const KernelSite& site) {
                  const Shape& x = site.input_shape(0);
                  return make_over<functors::Sum, T>(x, broadcast_axes(x, site.output_shape()));
                }),
   ...);
}

template <class R, class... T>
void add_index_reduction(KernelRegistry& registry, functors::List<T...>) {
  (registry.add(R::op, kCpu, {dtype_of<T>}, make_index<R, T>), ...);
}
template <class... R>
void add_index_reductions(KernelRegistry& registry, functors::List<R...>) {
  (add_index_reduction<R>(registry, typename R::Types{}), ...);
}

}  // namespace

void register_reference_reductions(KernelRegistry& registry) {
  add_reductions(registry, functors::Reduction{});
  add_index_reductions(registry, functors::IndexReduction{});
  add_sum_to(registry, functors::Numbers{});
}

}  // namespace gradgraph
