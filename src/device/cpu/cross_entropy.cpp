#include <algorithm>
#include <cmath>
#include <limits>

#include "core/text.h"
#include "device/cpu/kernels.h"
#include "device/cpu/rows.h"
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

/// The largest of some elements; NaN where one is.
template <class T>
T largest(const T* x, int64_t count) {
  T top = -std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < count; ++i)
    if (!(x[i] <= top) && top == top) top = x[i];
  return top;
}

/// Calls `finish(row, top, total, exponentials)` for each row of logits: the largest of them, the
/// sum of exp(logit - top), and where these exponentials are, for the gradient to replace them.
template <class T, class Finish>
void for_rows(const CrossEntropySite& site, const KernelArgs& args, const Finish& finish) {
  constexpr int64_t kBlock = 32;
  const int64_t classes = site.classes;
  parallel_for(site.rows, site.grain(), site.threads, [&](int64_t begin, int64_t end) {
    T tops[kBlock];
    for (int64_t first = begin; first < end; first += kBlock) {
      const int64_t count = std::min(kBlock, end - first);
      const T* logits = args.input<T>(0) + first * classes;
      T* block = args.output<T>(0) + first * classes;
      for (int64_t row = 0; row < count; ++row) {
        const T top = tops[row] = largest(logits + row * classes, classes);
        for (int64_t i = row * classes; i < (row + 1) * classes; ++i) block[i] = logits[i] - top;
      }
      const void* operand = block;
      site.exponentials(&operand, 1u, block, count * classes);
      for (int64_t row = 0; row < count; ++row) {
        T* own = block + row * classes;
        T total = 0;
        for (int64_t i = 0; i < classes; ++i) total += own[i];
        finish(first + row, tops[row], total, own);
      }
    }
  });
}

template <class T, class Label>
void run_sparse(const CrossEntropySite& site, const KernelArgs& args) {
  const Label* labels = args.input<Label>(1);
  const T* grads = args.input<T>(2);
  const auto is_class = [&](int64_t row) {
    return labels[row] >= 0 && labels[row] < static_cast<Label>(site.classes);
  };
  if (site.with_loss)
    for (int64_t row = 0; row < site.rows; ++row)
      if (!is_class(row))
        throw KernelError(
            fmt::format("label {} of row {} is outside [0,{})", labels[row], row, site.classes));
  for_rows<T>(site, args, [&](int64_t row, T top, T total, T* own) {
    const T grad = grads[site.one_grad ? 0 : row];
    if (site.with_loss)
      args.output<T>(1)[row] =
          top + std::log(total) - args.input<T>(0)[row * site.classes + labels[row]];
    const T share = 1 / total;
    const T label = is_class(row) ? (own[labels[row]] * share - 1) * grad : 0;
    for (int64_t i = 0; i < site.classes; ++i) own[i] = own[i] * share * grad;
    if (is_class(row)) own[labels[row]] = label;
  });
}

template <class T>
void run_dense(const CrossEntropySite& site, bool skips_zeros, const KernelArgs& args) {
  const T* grads = args.input<T>(2);
  for_rows<T>(site, args, [&](int64_t row, T top, T total, T* own) {
    const T* logits = args.input<T>(0) + row * site.classes;
    const T* labels = args.input<T>(1) + row * site.classes;
    const T grad = grads[site.one_grad ? 0 : row];
    T weight = 0;
    for (int64_t i = 0; i < site.classes; ++i) weight += labels[i];
    if (site.with_loss) {
      const T normalizer = top + std::log(total);
      T loss = 0;
      for (int64_t i = 0; i < site.classes; ++i)
        if (!skips_zeros || labels[i] != 0) loss += labels[i] * (normalizer - logits[i]);
      args.output<T>(1)[row] = loss;
    }
    const T share = weight / total;
    for (int64_t i = 0; i < site.classes; ++i) own[i] = (own[i] * share - labels[i]) * grad;
  });
}

template <class T>
Kernel make_sparse(const KernelSite& node) {
  const auto site = CrossEntropySite::of<T>(node);
  if (site.rows * site.classes == 0 && !site.with_loss) return {[](const KernelArgs&) {}};
  if (node.input_dtype(1) == int64)
    return {[site](const KernelArgs& args) { run_sparse<T, int64_t>(site, args); }};
  return {[site](const KernelArgs& args) { run_sparse<T, std::int32_t>(site, args); }};
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
