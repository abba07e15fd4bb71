#include "device/cpu/kernels.h"
#include "device/cpu/reference/expressions.h"
#include "device/cpu/reference/kernels.h"
#include "device/shared/axis_view.h"
#include "device/shared/index_error.h"
#include "device/shared/scalar_functors.h"
#include "ops/nn/window.h"

/// As the loops of our own do it: relative to the largest element, whose own exponential, 1, is
/// never added to the others' (softmax_rows.h).
namespace gradgraph {
namespace {

using std::int64_t;

// The arithmetic of an element in float64, as functions: expressions of function pointers of one
// type are compiled once.

template <class T>
T larger(T a, T b) {
  return functors::Maximum{}(a, b);
}
template <class T>
double is_largest(T x, T top) {
  return x == top ? 1 : 0;
}
template <class T>
double exponential_of_others(T x, T top) {
  return x < top ? std::exp(double{x} - double{top}) : 0;
}
template <class T>
double softmax(T x, T top, T rest) {
  return std::exp(double{x} - double{top}) / (1 + double{rest});
}
template <class T>
double log_softmax(T x, T top, T rest) {
  return (double{x} - double{top}) - std::log1p(double{rest});
}
/// A class without a share of the label adds nothing, however unlikely it is.
template <class T>
double loss(T x, T top, T rest, T label) {
  return label == 0 ? 0 : double{label} * (std::log1p(double{rest}) + (double{top} - double{x}));
}

constexpr std::array<std::size_t, 1> kAlong = {1};

/// [outer, size, inner], in which softmax goes along the middle axis.
template <class T>
struct LogitRows : AxisView {
  using AxisView::AxisView;

  int64_t count() const { return rows(); }
  bool is_empty() const { return count() * size == 0; }
  /// For the largest element and the rest of each row.
  std::size_t workspace_bytes() const {
    return static_cast<std::size_t>(2 * count()) * sizeof(T);
  }

  auto elements(const T* x) const {
    return strided<const T, 3>(x, {outer, size, inner}, {size * inner, inner, 1});
  }
  auto elements(T* x) const {
    return strided<T, 3>(x, {outer, size, inner}, {size * inner, inner, 1});
  }
  /// One number a row, for each of its elements.
  auto repeated(const T* x) const {
    return strided<const T, 3>(x, {outer, size, inner}, {inner, 0, 1});
  }
  auto one_each(T* x) const { return strided<T, 2>(x, {outer, inner}, {inner, 1}); }

  T* largest(const KernelArgs& args) const { return static_cast<T*>(args.workspace); }
  T* rest(const KernelArgs& args) const { return largest(args) + count(); }

  /// Fills in `largest` and `rest`, which is NaN where the largest element is NaN or infinite.
  void find_totals(const KernelArgs& args) const {
    const auto x = elements(args.input<T>(0));
    auto top = one_each(largest(args));
    xt::noalias(top) = reduced<T, T>(larger<T>, -std::numeric_limits<T>::infinity(), x, kAlong);
    const auto tops = repeated(largest(args));
    auto sum = one_each(rest(args));
    const auto add = [&](double (*term)(T, T)) {
      xt::noalias(sum) = sum + sum_in_double<double>(xt::vectorize(term)(x, tops), kAlong);
    };
    // Equal largest elements have 1 each, and one of them is left out.
    sum.fill(-1);
    add(is_largest<T>);
    add(exponential_of_others<T>);
    xt::noalias(sum) = sum + (top - top);
  }
};

template <class T>
Kernel make_softmax(const KernelSite& site, double (*function)(T x, T top, T rest)) {
  const Shape& shape = site.input_shape(0);
  const auto axis = site.attribute<int64_t>("axis");
  const LogitRows<T> rows(shape, static_cast<int>(axis < 0 ? axis + shape.rank() : axis));
  const auto run = [=](const KernelArgs& args) {
    if (rows.is_empty()) return;
    rows.find_totals(args);
    const auto x = rows.elements(args.input<T>(0));
    const auto top = rows.repeated(rows.largest(args)), rest = rows.repeated(rows.rest(args));
    auto y = rows.elements(args.output<T>());
    xt::noalias(y) = xt::vectorize(function)(x, top, rest);
  };
  return {run, rows.workspace_bytes()};
}

template <class T>
Kernel make_cross_entropy(const KernelSite& site) {
  const LogitRows<T> rows(site.input_shape(0), site.input_shape(0).rank() - 1);
  const auto run = [=](const KernelArgs& args) {
    std::fill_n(args.output<T>(), rows.count(), T{0});
    if (rows.is_empty()) return;
    rows.find_totals(args);
    const auto x = rows.elements(args.input<T>(0)), labels = rows.elements(args.input<T>(1));
    const auto top = rows.repeated(rows.largest(args)), rest = rows.repeated(rows.rest(args));
    auto losses = rows.one_each(args.output<T>());
    xt::noalias(losses) =
        sum_in_double<double>(xt::vectorize(loss<T>)(x, top, rest, labels), kAlong);
  };
  return {run, rows.workspace_bytes()};
}

template <class T>
Kernel make_sparse_cross_entropy(const KernelSite& site) {
  const LogitRows<T> rows(site.input_shape(0), site.input_shape(0).rank() - 1);
  const bool wide = site.input_dtype(1) == int64;
  const auto run = [=](const KernelArgs& args) {
    const auto label = [&](int64_t row) {
      return wide ? args.input<int64_t>(1)[row] : int64_t{args.input<std::int32_t>(1)[row]};
    };
    for (int64_t row = 0; row < rows.count(); ++row)
      if (label(row) < 0 || label(row) >= rows.size)
        throw index_error(label(row), row, rows.size);
    if (rows.is_empty()) return;
    rows.find_totals(args);
    const auto x = rows.elements(args.input<T>(0));
    const auto top = rows.one_each(rows.largest(args)), rest = rows.one_each(rows.rest(args));
    for (int64_t row = 0; row < rows.count(); ++row)
      args.output<T>()[row] =
          static_cast<T>(loss<T>(x(row, label(row), 0), top(row, 0), rest(row, 0), 1));
  };
  return {run, rows.workspace_bytes()};
}

template <class T>
Kernel make_bias_add(const KernelSite& site) {
  using Sum = functors::Wrap<T>;
  const Shape& shape = site.input_shape(0);
  const bool nhwc = layout_attribute(site.node().attributes()) == Layout::nhwc;
  const LogitRows<Sum> rows(shape, nhwc ? shape.rank() - 1 : 1);
  return {[rows](const KernelArgs& args) {
    if (rows.is_empty()) return;
    auto y = rows.elements(args.output<Sum>());
    xt::noalias(y) =
        rows.elements(args.input<Sum>(0)) +
        strided<const Sum, 3>(args.input<Sum>(1), {rows.outer, rows.size, rows.inner}, {0, 1, 0});
  }};
}

template <class T>
void register_softmax_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add("softmax", kCpu, dtype,
               [](const KernelSite& site) { return make_softmax<T>(site, softmax<T>); });
  registry.add("log_softmax", kCpu, dtype,
               [](const KernelSite& site) { return make_softmax<T>(site, log_softmax<T>); });
  registry.add("softmax_cross_entropy", kCpu, dtype, make_cross_entropy<T>);
  registry.add("sparse_softmax_cross_entropy", kCpu, dtype, make_sparse_cross_entropy<T>);
  registry.add("bias_add", kCpu, dtype, make_bias_add<T>);
}

}  // namespace

void register_reference_softmax(KernelRegistry& registry) {
  register_softmax_for<float>(registry);
  register_softmax_for<double>(registry);
  registry.add("bias_add", kCpu, {int32}, make_bias_add<std::int32_t>);
  registry.add("bias_add", kCpu, {int64}, make_bias_add<int64_t>);
}

}  // namespace gradgraph
