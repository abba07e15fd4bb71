#pragma once

#include <cstdint>

/// What standardize and its gradient make of rows. The mean of a row is rounded, which counts
/// where its elements are far from 0 and close together: so the mean of what they are away from
/// it, the rest, is taken off as well.
namespace gradgraph {

/// The loops over `rows` rows of `count` neighbours, compiled for one level of the instruction
/// set. What is added to what depends on `count` alone: all levels give the same bits.
template <class T>
struct StandardizeRows {
  void (*standardize)(const T* x, T* y, std::int64_t rows, std::int64_t count, double epsilon);
  void (*gradient)(const T* x, const T* grad, T* y, std::int64_t rows, std::int64_t count,
                   double epsilon);
};

struct StandardizeTable {
  StandardizeRows<float> of_float;
  StandardizeRows<double> of_double;
};

/// In the fastest form that this processor runs; T is float or double.
template <class T>
const StandardizeRows<T>& best_standardize_rows();

}  // namespace gradgraph
