#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "device/cpu/kernels.h"
#include "device/cpu/softmax_rows.h"
#include "device/parallel.h"
#include "device/scalar_functors.h"
#include "ops/window.h"

namespace gradgraph {
namespace {

using functors::Add;

/// A shape as seen from one axis: [outer, size, inner].
struct AxisView {
  std::int64_t outer = 1, size = 1, inner = 1;

  AxisView(const Shape& shape, int axis) : size(shape[axis]) {
    for (int i = 0; i < shape.rank(); ++i) (i < axis ? outer : inner) *= i == axis ? 1 : shape[i];
  }
  std::int64_t rows_per_thread() const {
    return std::max<std::int64_t>(kParallelGrain / std::max<std::int64_t>(size * inner, 1), 1);
  }
};

template <class T>
Kernel make_bias_add(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const bool nhwc = layout_attribute(site.node().attributes()) == Layout::nhwc;
  const AxisView view(shape, nhwc ? shape.rank() - 1 : 1);
  return {[view, threads = site.threads()](const KernelArgs& args) {
    const T* bias = args.input<T>(1);
    parallel_for(view.outer, view.rows_per_thread(), threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   const T* x = args.input<T>(0) + begin * view.size * view.inner;
                   T* y = args.output<T>() + begin * view.size * view.inner;
                   for (std::int64_t row = begin; row < end; ++row) {
                     if (view.inner == 1) {
                       for (std::int64_t c = 0; c < view.size; ++c) y[c] = Add{}(x[c], bias[c]);
                     } else {
                       for (std::int64_t c = 0; c < view.size; ++c)
                         for (std::int64_t i = 0; i < view.inner; ++i)
                           y[c * view.inner + i] = Add{}(x[c * view.inner + i], bias[c]);
                     }
                     x += view.size * view.inner;
                     y += view.size * view.inner;
                   }
                 });
  }};
}

/// The sum of `exponential(i)`, which is exp(x_i - largest), over all elements but the largest.
template <class T, class Exponential>
T rest_of(std::int64_t count, const Largest<T>& largest, const Exponential& exponential) {
  constexpr std::int64_t kBlock = 64;
  T block[kBlock];
  double rest = 0;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, count - begin);
    for (std::int64_t i = 0; i < size; ++i) block[i] = exponential(begin + i);
    // Nothing is left of the largest one, unless it is NaN.
    if (const std::int64_t i = largest.place - begin; i >= 0 && i < size) block[i] -= block[i];
    rest += static_cast<double>(sum_of(block, size));
  }
  return static_cast<T>(rest);
}

/// A row's part in each of its elements' loss.
template <class T>
struct LogRest {
  Largest<T> largest;
  T value;  ///< log1p of the rest

  LogRest(const T* x, std::int64_t count, std::int64_t step)
      : largest(largest_of(x, count, step)) {
    const auto exponential = [&](std::int64_t i) {
      return std::exp(x[i * step] - largest.value);
    };
    T rest = rest_of(count, largest, exponential);
    if (rest < kSmallRest<T>)
      rest = rest_of(count, largest, [&](std::int64_t i) {
        return refined(exponential(i), x[i * step], largest.value);
      });
    value = std::log1p(rest);
  }
  T loss(T x) const { return (largest.value - x) + value; }
  T log_probability(T x) const { return (x - largest.value) - value; }
};

template <class T>
void softmax_row(const T* x, T* y, std::int64_t count, std::int64_t step) {
  const Largest<T> largest = largest_of(x, count, step);
  T rest = rest_of(count, largest, [&](std::int64_t i) {
    return y[i * step] = std::exp(x[i * step] - largest.value);
  });
  if (rest < kSmallRest<T>)
    rest = rest_of(count, largest, [&](std::int64_t i) {
      return y[i * step] = refined(y[i * step], x[i * step], largest.value);
    });
  for (std::int64_t i = 0; i < count; ++i) y[i * step] /= 1 + rest;
}

template <class T>
void log_softmax_row(const T* x, T* y, std::int64_t count, std::int64_t step) {
  const LogRest<T> row(x, count, step);
  for (std::int64_t i = 0; i < count; ++i) y[i * step] = row.log_probability(x[i * step]);
}

template <class T, void (*Row)(const T*, T*, std::int64_t, std::int64_t)>
Kernel make_softmax(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const auto axis = site.attribute<std::int64_t>("axis");
  const AxisView view(shape, static_cast<int>(axis < 0 ? axis + shape.rank() : axis));
  return {[view, threads = site.threads()](const KernelArgs& args) {
    parallel_for(
        view.outer, view.rows_per_thread(), threads, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t row = begin; row < end; ++row)
            for (std::int64_t i = 0; i < view.inner; ++i) {
              const std::int64_t start = row * view.size * view.inner + i;
              Row(args.input<T>(0) + start, args.output<T>() + start, view.size, view.inner);
            }
        });
  }};
}

/// A class without a share of the label adds nothing, however unlikely the logits make it.
template <class T>
Kernel make_cross_entropy(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const AxisView view(shape, shape.rank() - 1);
  return {[view, threads = site.threads()](const KernelArgs& args) {
    parallel_for(view.outer, view.rows_per_thread(), threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t row = begin; row < end; ++row) {
                     const T* logits = args.input<T>(0) + row * view.size;
                     const T* labels = args.input<T>(1) + row * view.size;
                     const LogRest<T> rest(logits, view.size, 1);
                     double loss = 0;
                     for (std::int64_t i = 0; i < view.size; ++i)
                       if (labels[i] != 0)
                         loss += static_cast<double>(labels[i] * rest.loss(logits[i]));
                     args.output<T>()[row] = static_cast<T>(loss);
                   }
                 });
  }};
}

template <class T, class Label>
void sparse_cross_entropy(const AxisView& view, int threads, const KernelArgs& args) {
  const Label* labels = args.input<Label>(1);
  for (std::int64_t row = 0; row < view.outer; ++row)
    if (labels[row] < 0 || labels[row] >= view.size)
      throw KernelError(
          fmt::format("label {} of row {} is outside [0,{})", labels[row], row, view.size));
  parallel_for(
      view.outer, view.rows_per_thread(), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
          const T* logits = args.input<T>(0) + row * view.size;
          args.output<T>()[row] = LogRest<T>(logits, view.size, 1).loss(logits[labels[row]]);
        }
      });
}

template <class T>
Kernel make_sparse_cross_entropy(const KernelSite& site) {
  const AxisView view(site.input_shape(0), site.input_shape(0).rank() - 1);
  const bool wide = site.input_dtype(1) == int64;
  return {[view, wide, threads = site.threads()](const KernelArgs& args) {
    if (wide)
      sparse_cross_entropy<T, std::int64_t>(view, threads, args);
    else
      sparse_cross_entropy<T, std::int32_t>(view, threads, args);
  }};
}

template <class T>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add("softmax", kCpu, dtype, make_softmax<T, softmax_row<T>>);
  registry.add("log_softmax", kCpu, dtype, make_softmax<T, log_softmax_row<T>>);
  registry.add("softmax_cross_entropy", kCpu, dtype, make_cross_entropy<T>);
  registry.add("sparse_softmax_cross_entropy", kCpu, dtype, make_sparse_cross_entropy<T>);
}

}  // namespace

void register_softmax_kernels(KernelRegistry& registry) {
  registry.add("bias_add", kCpu, {float32}, make_bias_add<float>);
  registry.add("bias_add", kCpu, {float64}, make_bias_add<double>);
  registry.add("bias_add", kCpu, {int32}, make_bias_add<std::int32_t>);
  registry.add("bias_add", kCpu, {int64}, make_bias_add<std::int64_t>);
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph
