#include <algorithm>

#include "device/cpu/general/indexing.h"
#include "device/cpu/kernels.h"
#include "device/cpu/softmax/softmax_rows.h"
#include "device/parallel.h"
#include "device/shared/math_functions.h"
#include "device/shared/scalar_functors.h"
#include "ops/nn/window.h"

namespace gradgraph {
namespace {

using functors::Add;

/// What an element of softmax costs, in additions.
constexpr std::int64_t kSoftmaxCost = 8;

/// Rows that are worth a thread of their own, of [size, inner] elements each.
std::int64_t rows_per_thread(const AxisView& view, std::int64_t cost) {
  return grain_of(view.size * view.inner * cost);
}

template <class T>
Kernel make_bias_add(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const bool nhwc = layout_attribute(site.node().attributes()) == Layout::nhwc;
  const AxisView view(shape, nhwc ? shape.rank() - 1 : 1);
  return {[view, threads = site.threads()](const KernelArgs& args) {
    const T* bias = args.input<T>(1);
    parallel_for(view.outer, rows_per_thread(view, 1), threads,
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

/// Softmax or its logarithm, as loops over rows of neighbours.
template <class T, typename SoftmaxRows<T>::Loop SoftmaxRows<T>::*Loops>
Kernel make_softmax(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const auto axis = site.attribute<std::int64_t>("axis");
  const AxisView view(shape, static_cast<int>(axis < 0 ? axis + shape.rank() : axis));
  const auto loops = best_softmax_rows<T>().*Loops;
  if (view.inner == 1)
    return {[view, loops, threads = site.threads()](const KernelArgs& args) {
      parallel_for(view.outer, rows_per_thread(view, kSoftmaxCost), threads,
                   [&](std::int64_t begin, std::int64_t end) {
                     loops(args.input<T>(0) + begin * view.size,
                           args.output<T>() + begin * view.size, end - begin, view.size);
                   });
    }};
  // Elsewhere rows are copied, some of them side by side, and back.
  constexpr std::int64_t kSide = 16;
  const std::int64_t tiles = (view.inner + kSide - 1) / kSide, tasks = view.outer * tiles;
  const std::int64_t grain = grain_of(view.size * kSide * kSoftmaxCost);
  const std::int64_t parts = std::clamp<std::int64_t>(tasks / grain, 1, site.threads());
  const std::int64_t part_elements = 2 * kSide * view.size;
  return {[=](const KernelArgs& args) {
            parallel_parts(
                tasks, parts, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
                  T* rows = static_cast<T*>(args.workspace) + part * part_elements;
                  T* results = rows + kSide * view.size;
                  for (std::int64_t task = begin; task < end; ++task) {
                    const std::int64_t column = task % tiles * kSide;
                    const std::int64_t width = std::min(kSide, view.inner - column);
                    const std::int64_t start = task / tiles * view.size * view.inner + column;
                    const T* x = args.input<T>(0) + start;
                    T* y = args.output<T>() + start;
                    for (std::int64_t i = 0; i < view.size; ++i)
                      for (std::int64_t k = 0; k < width; ++k)
                        rows[k * view.size + i] = x[i * view.inner + k];
                    loops(rows, results, width, view.size);
                    for (std::int64_t i = 0; i < view.size; ++i)
                      for (std::int64_t k = 0; k < width; ++k)
                        y[i * view.inner + k] = results[k * view.size + i];
                  }
                });
          },
          static_cast<std::size_t>(parts * part_elements) * sizeof(T)};
}

/// Calls `loss(row, largest logit, log1p(rest))` for rows [begin, end) of `logits`.
template <class T, class Loss>
void for_losses(const SoftmaxRows<T>& loops, const T* logits, std::int64_t classes,
                std::int64_t begin, std::int64_t end, const Loss& loss) {
  constexpr std::int64_t kRows = 32;
  RowTotals<T> totals[kRows];
  for (std::int64_t first = begin; first < end; first += kRows) {
    const std::int64_t count = std::min(kRows, end - first);
    loops.exponentials(logits + first * classes, nullptr, totals, count, classes);
    for (std::int64_t i = 0; i < count; ++i)
      loss(first + i, totals[i].largest, math::log1p(totals[i].rest));
  }
}

/// A class without a share of the label adds nothing, however unlikely the logits make it.
template <class T>
Kernel make_cross_entropy(const KernelSite& site) {
  const Shape& shape = site.input_shape(0);
  const AxisView view(shape, shape.rank() - 1);
  return {
      [view, &loops = best_softmax_rows<T>(), threads = site.threads()](const KernelArgs& args) {
        const T* logits = args.input<T>(0);
        const T* labels = args.input<T>(1);
        const auto loss = [&](std::int64_t row, T largest, T log_rest) {
          double total = 0;
          for (std::int64_t i = row * view.size; i < (row + 1) * view.size; ++i)
            if (labels[i] != 0)
              total += static_cast<double>(labels[i] * loss_of(logits[i], largest, log_rest));
          args.output<T>()[row] = static_cast<T>(total);
        };
        parallel_for(view.outer, rows_per_thread(view, kSoftmaxCost), threads,
                     [&](std::int64_t begin, std::int64_t end) {
                       for_losses(loops, logits, view.size, begin, end, loss);
                     });
      }};
}

template <class T, class Label>
void sparse_cross_entropy(const AxisView& view, const SoftmaxRows<T>& loops, int threads,
                          const KernelArgs& args) {
  const T* logits = args.input<T>(0);
  const Label* labels = args.input<Label>(1);
  check_indices(labels, view.outer, view.size);
  const auto loss = [&](std::int64_t row, T largest, T log_rest) {
    args.output<T>()[row] = loss_of(logits[row * view.size + labels[row]], largest, log_rest);
  };
  parallel_for(view.outer, rows_per_thread(view, kSoftmaxCost), threads,
               [&](std::int64_t begin, std::int64_t end) {
                 for_losses(loops, logits, view.size, begin, end, loss);
               });
}

template <class T>
Kernel make_sparse_cross_entropy(const KernelSite& site) {
  const AxisView view(site.input_shape(0), site.input_shape(0).rank() - 1);
  const bool wide = site.input_dtype(1) == int64;
  return {[view, wide, &loops = best_softmax_rows<T>(),
           threads = site.threads()](const KernelArgs& args) {
    if (wide)
      sparse_cross_entropy<T, std::int64_t>(view, loops, threads, args);
    else
      sparse_cross_entropy<T, std::int32_t>(view, loops, threads, args);
  }};
}

template <class T>
void register_for(KernelRegistry& registry) {
  const std::initializer_list<DType> dtype = {dtype_of<T>};
  registry.add_faster("softmax", kCpu, dtype, make_softmax<T, &SoftmaxRows<T>::softmax>);
  registry.add_faster("log_softmax", kCpu, dtype, make_softmax<T, &SoftmaxRows<T>::log_softmax>);
  registry.add_faster("softmax_cross_entropy", kCpu, dtype, make_cross_entropy<T>);
  registry.add_faster("sparse_softmax_cross_entropy", kCpu, dtype, make_sparse_cross_entropy<T>);
}

}  // namespace

void register_softmax_kernels(KernelRegistry& registry) {
  registry.add_faster("bias_add", kCpu, {float32}, make_bias_add<float>);
  registry.add_faster("bias_add", kCpu, {float64}, make_bias_add<double>);
  registry.add_faster("bias_add", kCpu, {int32}, make_bias_add<std::int32_t>);
  registry.add_faster("bias_add", kCpu, {int64}, make_bias_add<std::int64_t>);
  register_for<float>(registry);
  register_for<double>(registry);
}

}  // namespace gradgraph
