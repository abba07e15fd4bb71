#include <algorithm>

#include "device/cpu/broadcast.h"
#include "device/cpu/general/indexing.h"
#include "device/cpu/kernels.h"
#include "device/cpu/softmax/softmax_rows.h"
#include "device/parallel.h"
#include "device/shared/math_functions.h"

/// A cross entropy's gradient by its logits, and the loss along with it, from one softmax. The
/// gradient's own memory holds the exponentials until they are scaled.
namespace gradgraph {
namespace {

using std::int64_t;

template <class T>
struct CrossEntropySite {
  int64_t rows = 1, classes = 1;
  int threads = 1;
  bool with_loss = false;
  bool one_grad = false;  ///< one number for all rows
  const SoftmaxRows<T>* loops = nullptr;

  static CrossEntropySite of(const KernelSite& site) {
    const Shape& shape = site.input_shape(0);
    CrossEntropySite result;
    result.classes = shape[shape.rank() - 1];
    for (int axis = 0; axis + 1 < shape.rank(); ++axis) result.rows *= shape[axis];
    result.threads = site.threads();
    result.with_loss = site.attribute<bool>("with_loss");
    result.one_grad = site.input_shape(2).rank() == 0;
    result.loops = &best_softmax_rows<T>();
    return result;
  }
  int64_t grain() const { return grain_of(8 * classes); }
};

/// Calls `finish(row, totals, exponentials)` for each row of logits: the exponentials of what
/// they are less than the largest one are where the gradient is to replace them.
template <class T, class Finish>
void for_rows(const CrossEntropySite<T>& site, const KernelArgs& args, const Finish& finish) {
  constexpr int64_t kBlock = 32;
  const int64_t classes = site.classes;
  parallel_for(site.rows, site.grain(), site.threads, [&](int64_t begin, int64_t end) {
    RowTotals<T> totals[kBlock];
    for (int64_t first = begin; first < end; first += kBlock) {
      const int64_t count = std::min(kBlock, end - first);
      T* block = args.output<T>(0) + first * classes;
      site.loops->exponentials(args.input<T>(0) + first * classes, block, totals, count, classes);
      for (int64_t row = 0; row < count; ++row)
        finish(first + row, totals[row], block + row * classes);
    }
  });
}

/// The sum of some labels.
template <class T>
T sum_of(const T* labels, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += static_cast<double>(labels[i]);
  return static_cast<T>(total);
}

template <class T, class Label>
void run_sparse(const CrossEntropySite<T>& site, bool checks_labels, const KernelArgs& args) {
  const Label* labels = args.input<Label>(1);
  const T* grads = args.input<T>(2);
  const auto is_class = [&](int64_t row) {
    return labels[row] >= 0 && labels[row] < static_cast<Label>(site.classes);
  };
  if (checks_labels) check_indices(labels, site.rows, site.classes);
  for_rows<T>(site, args, [&](int64_t row, const RowTotals<T>& totals, T* own) {
    const auto [largest, rest] = totals;
    const T grad = grads[site.one_grad ? 0 : row];
    const T share = 1 / (1 + rest);
    T label = 0;
    if (is_class(row)) {
      const T logit = args.input<T>(0)[row * site.classes + labels[row]];
      label = logit == largest ? 0 - rest * share : own[labels[row]] * share - 1;
      if (site.with_loss) args.output<T>(1)[row] = loss_of(logit, largest, math::log1p(rest));
    }
    GRADGRAPH_VECTORIZE
    for (int64_t i = 0; i < site.classes; ++i) own[i] = own[i] * share * grad;
    if (is_class(row)) own[labels[row]] = label * grad;
  });
}

template <class T>
void run_dense(const CrossEntropySite<T>& site, bool skips_zeros, const KernelArgs& args) {
  const int64_t classes = site.classes;
  if (classes == 0) {
    if (site.with_loss) std::fill_n(args.output<T>(1), site.rows, T{0});
    return;
  }
  const T* grads = args.input<T>(2);
  for_rows<T>(site, args, [&](int64_t row, const RowTotals<T>& totals, T* own) {
    const auto [largest, rest] = totals;
    const T* logits = args.input<T>(0) + row * classes;
    const T* labels = args.input<T>(1) + row * classes;
    const T grad = grads[site.one_grad ? 0 : row];
    if (site.with_loss) {
      const T log_rest = math::log1p(rest);
      double loss = 0;
      for (int64_t i = 0; i < classes; ++i)
        if (!skips_zeros || labels[i] != 0)
          loss += static_cast<double>(labels[i] * loss_of(logits[i], largest, log_rest));
      args.output<T>(1)[row] = static_cast<T>(loss);
    }
    // The largest probability may be so close to 1 that the label cannot be subtracted from it.
    int64_t top = 0;
    while (top + 1 < classes && !(logits[top] == largest)) ++top;
    const T others = sum_of(labels, top) + sum_of(labels + top + 1, classes - top - 1);
    const T share = 1 / (1 + rest), weight = (others + labels[top]) * share;
    const T at_top = (others - labels[top] * rest) * share;
    for (int64_t i = 0; i < classes; ++i) own[i] = (own[i] * weight - labels[i]) * grad;
    own[top] = at_top * grad;
  });
}

template <class T>
Kernel make_sparse(const KernelSite& node) {
  const auto site = CrossEntropySite<T>::of(node);
  const bool checks = node.attribute<bool>("checks_labels");
  if (site.rows * site.classes == 0 && !checks) return {[](const KernelArgs&) {}};
  if (node.input_dtype(1) == int64)
    return {[=](const KernelArgs& args) { run_sparse<T, int64_t>(site, checks, args); }};
  return {[=](const KernelArgs& args) { run_sparse<T, std::int32_t>(site, checks, args); }};
}

template <class T>
Kernel make_dense(const KernelSite& node) {
  const auto site = CrossEntropySite<T>::of(node);
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
