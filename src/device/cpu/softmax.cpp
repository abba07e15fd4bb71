#include <algorithm>

#include "core/text.h"
#include "device/cpu/kernels.h"
#include "device/cpu/rows.h"
#include "device/cpu/softmax_rows.h"
#include "device/math_functions.h"
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

/// Elements of a softmax that lie `step` apart.
template <class T>
struct Logits {
  const T* x;
  std::int64_t count, step;
  Row exp;
  Largest<T> largest = largest_of(x, count, step);

  /// exp(x_i - largest) of some of them.
  void exponentials(std::int64_t begin, std::int64_t size, T* block) const {
    for (std::int64_t i = 0; i < size; ++i) block[i] = x[(begin + i) * step] - largest.value;
    const void* operand = block;
    exp(&operand, 1, block, size);
  }
  void refine(std::int64_t begin, std::int64_t size, T* block) const {
    for (std::int64_t i = 0; i < size; ++i)
      block[i] = refined(block[i], x[(begin + i) * step], largest.value);
  }

  /// The sum of all exponentials but the largest's; `fill(begin, size, block)` gives them.
  template <class Fill>
  T rest(const Fill& fill) const {
    constexpr std::int64_t kBlock = 64;
    T block[kBlock];
    double sum = 0;
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
      const std::int64_t size = std::min(kBlock, count - begin);
      fill(begin, size, block);
      // Nothing is left of the largest one, unless it is NaN.
      if (const std::int64_t i = largest.place - begin; i >= 0 && i < size) block[i] -= block[i];
      sum += static_cast<double>(sum_of(block, size));
    }
    return static_cast<T>(sum);
  }
};

/// A row's part in each of its elements' loss.
template <class T>
struct LogRest {
  Largest<T> largest;
  T value;  ///< log1p of the rest

  explicit LogRest(const Logits<T>& logits) : largest(logits.largest) {
    T rest = logits.rest([&](std::int64_t begin, std::int64_t size, T* block) {
      logits.exponentials(begin, size, block);
    });
    if (rest < kSmallRest<T>)
      rest = logits.rest([&](std::int64_t begin, std::int64_t size, T* block) {
        logits.exponentials(begin, size, block);
        logits.refine(begin, size, block);
      });
    value = math::log1p(rest);
  }
  T loss(T x) const { return (largest.value - x) + value; }
  T log_probability(T x) const { return (x - largest.value) - value; }
};

template <class T>
void softmax_row(const Logits<T>& logits, T* y) {
  const auto step = logits.step;
  T rest = logits.rest([&](std::int64_t begin, std::int64_t size, T* block) {
    logits.exponentials(begin, size, block);
    for (std::int64_t i = 0; i < size; ++i) y[(begin + i) * step] = block[i];
  });
  if (rest < kSmallRest<T>)
    rest = logits.rest([&](std::int64_t begin, std::int64_t size, T* block) {
      for (std::int64_t i = 0; i < size; ++i) block[i] = y[(begin + i) * step];
      logits.refine(begin, size, block);
      for (std::int64_t i = 0; i < size; ++i) y[(begin + i) * step] = block[i];
    });
  for (std::int64_t i = 0; i < logits.count; ++i) y[i * step] /= 1 + rest;
}

template <class T>
void log_softmax_row(const Logits<T>& logits, T* y) {
  const LogRest<T> row(logits);
  for (std::int64_t i = 0; i < logits.count; ++i)
    y[i * logits.step] = row.log_probability(logits.x[i * logits.step]);
}

template <class T>
Row exp_row() {
  return find_row("exp", dtype_of<T>, dtype_of<T>);
}

template <class T, void (*ComputeRow)(const Logits<T>&, T*)>
Kernel make_softmax(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const auto axis = site.attribute<std::int64_t>("axis");
  const AxisView view(shape, static_cast<int>(axis < 0 ? axis + shape.rank() : axis));
  return {[view, exp = exp_row<T>(), threads = site.threads()](const KernelArgs& args) {
    parallel_for(view.outer, view.rows_per_thread(), threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t row = begin; row < end; ++row)
                     for (std::int64_t i = 0; i < view.inner; ++i) {
                       const std::int64_t start = row * view.size * view.inner + i;
                       ComputeRow({args.input<T>(0) + start, view.size, view.inner, exp},
                                  args.output<T>() + start);
                     }
                 });
  }};
}

/// A class without a share of the label adds nothing, however unlikely the logits make it.
template <class T>
Kernel make_cross_entropy(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const AxisView view(shape, shape.rank() - 1);
  return {[view, exp = exp_row<T>(), threads = site.threads()](const KernelArgs& args) {
    parallel_for(view.outer, view.rows_per_thread(), threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t row = begin; row < end; ++row) {
                     const T* logits = args.input<T>(0) + row * view.size;
                     const T* labels = args.input<T>(1) + row * view.size;
                     const LogRest<T> rest(Logits<T>{logits, view.size, 1, exp});
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
void sparse_cross_entropy(const AxisView& view, Row exp, int threads, const KernelArgs& args) {
  const Label* labels = args.input<Label>(1);
  for (std::int64_t row = 0; row < view.outer; ++row)
    if (labels[row] < 0 || labels[row] >= view.size)
      throw KernelError(
          fmt::format("label {} of row {} is outside [0,{})", labels[row], row, view.size));
  parallel_for(view.outer, view.rows_per_thread(), threads,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   const T* logits = args.input<T>(0) + row * view.size;
                   args.output<T>()[row] =
                       LogRest<T>(Logits<T>{logits, view.size, 1, exp}).loss(logits[labels[row]]);
                 }
               });
}

template <class T>
Kernel make_sparse_cross_entropy(const KernelSite& site) {
  const AxisView view(site.input_shape(0), site.input_shape(0).rank() - 1);
  const bool wide = site.input_dtype(1) == int64;
  return {[view, wide, exp = exp_row<T>(), threads = site.threads()](const KernelArgs& args) {
    if (wide)
      sparse_cross_entropy<T, std::int64_t>(view, exp, threads, args);
    else
      sparse_cross_entropy<T, std::int32_t>(view, exp, threads, args);
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
