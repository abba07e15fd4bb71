#pragma once

#include <cstdint>

/// What softmax and its losses take from a row of logits. Everything is relative to the largest
/// of them, so that what logits share does no harm, and the largest one's own exponential, 1, is
/// never added to the others': with "rest" the sum of theirs, a class has the loss
///
///     log1p(rest) + (largest - logit)
///
/// of which neither part is negative, so a loss is as accurate as they are, however small.
namespace gradgraph {

/// Of a row with a NaN, or whose largest element is infinite, the rest is NaN.
template <class T>
struct RowTotals {
  T largest, rest;
};

/// The loops over `rows` rows of `count` neighbours, compiled for one level of the instruction
/// set. What is added to what depends on `count` alone: all levels give the same bits.
template <class T>
struct SoftmaxRows {
  using Loop = void (*)(const T* x, T* y, std::int64_t rows, std::int64_t count);
  Loop softmax, log_softmax;
  /// y = exp(x - largest of the row), where y is not null, and the totals of each row.
  void (*exponentials)(const T* x, T* y, RowTotals<T>* totals, std::int64_t rows,
                       std::int64_t count);
  /// Of softmax, from its result y: grad becomes factor * y * (grad - sum(y * grad)). `count` is
  /// a multiple of 16.
  void (*gradient)(const T* y, T* grad, T factor, std::int64_t rows, std::int64_t count);
  /// x becomes `hidden` where `seen` is false.
  void (*hide)(const bool* seen, T hidden, T* x, std::int64_t count);
};

struct SoftmaxTable {
  SoftmaxRows<float> of_float;
  SoftmaxRows<double> of_double;
};

/// In the fastest form that this processor runs; T is float or double.
template <class T>
const SoftmaxRows<T>& best_softmax_rows();

/// The loss of a class, given its logit and log1p(rest).
template <class T>
T loss_of(T logit, T largest, T log_rest) {
  return log_rest + (largest - logit);
}

}  // namespace gradgraph
