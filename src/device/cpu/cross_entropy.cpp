#include <algorithm>

#include "core/text.h"
#include "device/cpu/kernels.h"
#include "device/cpu/rows.h"
#include "device/cpu/softmax_rows.h"
#include "device/math_functions.h"
#include "device/parallel.h"

/// A cross entropy's gradient by its logits, and the loss along with it, from one softmax. The
/// gradient's own memory holds the exponentials until they are scaled.
namespace gradgraph {
namespace {

using std::int64_t;

struct CrossEntropySite {
  int64_t rows = 1, classes = 1;
  int threads = 1;
  bool with_loss = false;
  bool one_grad = false;  ///< one number for all rows
  Row exponentials = nullptr;

  template <class T>
  static CrossEntropySite of(const KernelSite& site) {
    const Shape& shape = site.input_shape(0);
    CrossEntropySite result;
    result.classes = shape[shape.rank() - 1];
    for (int axis = 0; axis + 1 < shape.rank(); ++axis) result.rows *= shape[axis];
    result.threads = site.threads();
    result.with_loss = site.attribute<bool>("with_loss");
    result.one_grad = site.input_shape(2).rank() == 0;
    result.exponentials = find_row("exp", dtype_of<T>, dtype_of<T>);
    return result;
  }
  int64_t grain() const { return std::max<int64_t>(kParallelGrain / (8 * classes + 1), 1); }
};

/// The sum of a row's exponentials but the largest logit's.
template <class T>
T rest_of(T* exponentials, int64_t classes, int64_t largest) {
  // Nothing is left of the largest one, unless it is NaN.
  const T own = exponentials[largest];
  exponentials[largest] -= own;
  const T rest = sum_of(exponentials, classes);
  exponentials[largest] = own;
  return rest;
}

/// Calls `finish(row, largest, rest, exponentials)` for each row of logits: the largest of them,
/// the sum of exp(logit - largest) over the others, and where these exponentials are, for the
/// gradient to replace them.
template <class T, class Finish>
void for_rows(const CrossEntropySite& site, const KernelArgs& args, const Finish& finish) {
  constexpr int64_t kBlock = 32;
  const int64_t classes = site.classes;
  parallel_for(site.rows, site.grain(), site.threads, [&](int64_t begin, int64_t end) {
    Largest<T> largest[kBlock];
    for (int64_t first = begin; first < end; first += kBlock) {
      const int64_t count = std::min(kBlock, end - first);
      const T* logits = args.input<T>(0) + first * classes;
      T* block = args.output<T>(0) + first * classes;
      for (int64_t row = 0; row < count; ++row) {
        largest[row] = largest_of(logits + row * classes, classes);
        for (int64_t i = row * classes; i < (row + 1) * classes; ++i)
          block[i] = logits[i] - largest[row].value;
      }
      const void* operand = block;
      site.exponentials(&operand, 1u, block, count * classes);
      for (int64_t row = 0; row < count; ++row) {
        T* own = block + row * classes;
        T rest = rest_of(own, classes, largest[row].place);
        if (rest < kSmallRest<T>) {
          for (int64_t i = 0; i < classes; ++i)
            own[i] = refined(own[i], logits[row * classes + i], largest[row].value);
          rest = rest_of(own, classes, largest[row].place);
        }
        finish(first + row, largest[row], rest, own);
      }
    }
  });
}

template <class T, class Label>
void run_sparse(const CrossEntropySite& site, bool checks_labels, const KernelArgs& args) {
  const Label* labels = args.input<Label>(1);
  const T* grads = args.input<T>(2);
  const auto is_class = [&](int64_t row) {
    return labels[row] >= 0 && labels[row] < static_cast<Label>(site.classes);
  };
  if (checks_labels)
    for (int64_t row = 0; row < site.rows; ++row)
      if (!is_class(row))
        throw KernelError(
            fmt::format("label {} of row {} is outside [0,{})", labels[row], row, site.classes));
  for_rows<T>(site, args, [&](int64_t row, const Largest<T>& largest, T rest, T* own) {
    const T grad = grads[site.one_grad ? 0 : row];
    if (site.with_loss)
      args.output<T>(1)[row] =
          math::log1p(rest) +
          (largest.value - args.input<T>(0)[row * site.classes + labels[row]]);
    const T share = 1 / (1 + rest);
    T label = 0;
    if (is_class(row))
      label = labels[row] == largest.place ? 0 - rest * share : own[labels[row]] * share - 1;
    for (int64_t i = 0; i < site.classes; ++i) own[i] = own[i] * share * grad;
    if (is_class(row)) own[labels[row]] = label * grad;
  });
}

template <class T>
void run_dense(const CrossEntropySite& site, bool skips_zeros, const KernelArgs& args) {
  const int64_t classes = site.classes;
  if (classes == 0) {
    if (site.with_loss) std::fill_n(args.output<T>(1), site.rows, T{0});
    return;
  }
  const T* grads = args.input<T>(2);
  for_rows<T>(site, args, [&](int64_t row, const Largest<T>& largest, T rest, T* own) {
    const T* logits = args.input<T>(0) + row * classes;
    const T* labels = args.input<T>(1) + row * classes;
    const T grad = grads[site.one_grad ? 0 : row];
    if (site.with_loss) {
      const T log_rest = math::log1p(rest);
      double loss = 0;
      for (int64_t i = 0; i < classes; ++i)
        if (!skips_zeros || labels[i] != 0)
          loss += static_cast<double>(labels[i] * (log_rest + (largest.value - logits[i])));
      args.output<T>(1)[row] = static_cast<T>(loss);
    }
    // The largest probability may be so close to 1 that the label cannot be subtracted from it.
    const int64_t top = largest.place;
    const T others = sum_of(labels, top) + sum_of(labels + top + 1, classes - top - 1);
    const T share = 1 / (1 + rest), weight = (others + labels[top]) * share;
    const T at_top = (others - labels[top] * rest) * share;
    for (int64_t i = 0; i < classes; ++i) own[i] = (own[i] * weight - labels[i]) * grad;
    own[top] = at_top * grad;
  });
}

template <class T>
Kernel make_sparse(const KernelSite& node) {
  const auto site = CrossEntropySite::of<T>(node);
  const bool checks = node.attribute<bool>("checks_labels");
  if (site.rows * site.classes == 0 && !checks) return {[](const KernelArgs&) {}};
  if (node.input_dtype(1) == int64)
    return {[=](const KernelArgs& args) { run_sparse<T, int64_t>(site, checks, args); }};
  return {[=](const KernelArgs& args) { run_sparse<T, std::int32_t>(site, checks, args); }};
}

template <class T>
Kernel make_dense(const KernelSite& node) {
  const auto site = CrossEntropySite::of<T>(node);
  const bool skips_zeros = node.attribute<bool>("skips_zeros");
  return {[site, skips_zeros](const KernelArgs& args) { run_dense<T>(site, skips_zeros, args); }};
}

}  // namespace

void register_cross_entropy_kernels(KernelRegistry& registry) {
  registry.add("sparse_softmax_cross_entropy_grad", kCpu, {float32}, make_sparse<float>);
  registry.add("sparse_softmax_cross_entropy_grad", kCpu, {float64}, make_sparse<double>);
  registry.add("softmax_cross_entropy_grad", kCpu, {float32}, make_dense<float>);
  registry.add("softmax_cross_entropy_grad", kCpu, {float64}, make_dense<double>);
}

}  // namespace gradgraph
