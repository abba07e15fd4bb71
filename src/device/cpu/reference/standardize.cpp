#include <algorithm>
#include <array>
#include <cmath>

#include "device/cpu/kernels.h"
#include "device/cpu/reference/expressions.h"
#include "device/cpu/reference/kernels.h"
#include "device/shared/axis_view.h"

namespace gradgraph {
namespace {

using std::int64_t;

// The arithmetic of an element in float64, as functions of what is known of its row: expressions
// of function pointers of one type are compiled once.

template <class T>
double value(T x, T, double, double, double, double, double) {
  return double{x};
}
template <class T>
double grad_value(T, T grad, double, double, double, double, double) {
  return double{grad};
}
template <class T>
double distance(T x, T, double mean, double rest, double, double, double) {
  return (double{x} - mean) - rest;
}
template <class T>
double squared_distance(T x, T grad, double mean, double rest, double, double, double) {
  const double from_mean = distance(x, grad, mean, rest, 0, 0, 0);
  return from_mean * from_mean;
}
template <class T>
double standardized(T x, T grad, double mean, double rest, double scale, double, double) {
  return distance(x, grad, mean, rest, 0, 0, 0) * scale;
}
template <class T>
double product(T x, T grad, double mean, double rest, double scale, double, double) {
  return double{grad} * standardized(x, grad, mean, rest, scale, 0, 0);
}
template <class T>
double gradient(T x, T grad, double mean, double rest, double scale, double mean_grad,
                double mean_product) {
  const double y = standardized(x, grad, mean, rest, scale, 0, 0);
  return scale * (double{grad} - mean_grad - y * mean_product);
}

/// Numbers of a row. The rest is what the mean lacks, as it is rounded.
enum Number : std::uint8_t { kMean, kRest, kScale, kMeanGrad, kMeanProduct, kNumbers };

/// [outer, size], of which each row is looked at for itself.
template <class T>
class MomentRows : public AxisView {
 public:
  explicit MomentRows(const KernelSite& site)
      : AxisView(site.input_shape(0), site.input_shape(0).rank() - 1),
        epsilon_(site.attribute<double>("epsilon")) {}

  std::size_t workspace_bytes() const {
    return static_cast<std::size_t>(kNumbers * outer) * sizeof(double);
  }

  /// `grad` may be x again, where nobody looks at it.
  void find_moments(const KernelArgs& args, const T* grad) const {
    std::fill_n(numbers(args, kMean), kNumbers * outer, 0);
    mean_of(value<T>, args, grad, kMean);
    mean_of(distance<T>, args, grad, kRest);
    mean_of(squared_distance<T>, args, grad, kScale);
    double* scales = numbers(args, kScale);
    for (int64_t row = 0; row < outer; ++row) scales[row] = 1 / std::sqrt(scales[row] + epsilon_);
  }
  using Function = double (*)(T, T, double, double, double, double, double);
  void mean_of(Function function, const KernelArgs& args, const T* grad, Number to) const {
    auto means = strided<double, 1>(numbers(args, to), {outer}, {1});
    xt::noalias(means) =
        sum_in_double<double>(apply(function, args, grad), kAlong) / static_cast<double>(size);
  }
  void write(Function function, const KernelArgs& args, const T* grad) const {
    auto y = matrix(args.output<T>(), outer, size);
    xt::noalias(y) = apply(function, args, grad);
  }

 private:
  static constexpr std::array<std::size_t, 1> kAlong = {1};

  double* numbers(const KernelArgs& args, Number number) const {
    return static_cast<double*>(args.workspace) + number * outer;
  }
  auto apply(Function function, const KernelArgs& args, const T* grad) const {
    const auto repeated = [&](Number number) {
      return strided<const double, 2>(numbers(args, number), {outer, size}, {1, 0});
    };
    return xt::vectorize(function)(matrix(args.input<T>(0), outer, size),
                                   matrix(grad, outer, size), repeated(kMean), repeated(kRest),
                                   repeated(kScale), repeated(kMeanGrad), repeated(kMeanProduct));
  }

  double epsilon_;
};

template <class T>
Kernel make_standardize(const KernelSite& site) {
  const MomentRows<T> rows(site);
  return {[=](const KernelArgs& args) {
            if (rows.outer * rows.size == 0) return;
            rows.find_moments(args, args.input<T>(0));
            rows.write(standardized<T>, args, args.input<T>(0));
          },
          rows.workspace_bytes()};
}

template <class T>
Kernel make_standardize_grad(const KernelSite& site) {
  const MomentRows<T> rows(site);
  return {[=](const KernelArgs& args) {
            if (rows.outer * rows.size == 0) return;
            const T* grad = args.input<T>(1);
            rows.find_moments(args, grad);
            rows.mean_of(grad_value<T>, args, grad, kMeanGrad);
            rows.mean_of(product<T>, args, grad, kMeanProduct);
            rows.write(gradient<T>, args, grad);
          },
          rows.workspace_bytes()};
}

template <class T>
void register_for(KernelRegistry& registry) {
  registry.add("standardize", kCpu, {dtype_of<T>}, make_standardize<T>);
  registry.add("standardize_grad", kCpu, {dtype_of<T>}, make_standardize_grad<T>);
}

}  // namespace

void register_reference_standardize(KernelRegistry& registry) {
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph
