#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <xtensor/xadapt.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xnoalias.hpp>
#include <xtensor/xreducer.hpp>
#include <xtensor/xvectorize.hpp>

#include "device/kernel.h"

/// The reference kernels: what an op means, as xtensor expressions over the buffers given. They
/// are of fixed ranks and lazy, so nothing is allocated, and run on the calling thread alone.
/// Faster kernels of our own are registered after them and tested against them.
namespace gradgraph {

template <std::size_t N>
using Extents = std::array<std::int64_t, N>;

/// A buffer as an expression of rank N: element (i, j, ...) is data[i * steps[0] + ...]. A step
/// of 0 repeats, a negative one goes backwards.
template <class T, std::size_t N>
auto strided(T* data, const Extents<N>& extents, const Extents<N>& steps) {
  std::array<std::size_t, N> shape;
  std::array<std::ptrdiff_t, N> strides;
  std::size_t count = 1;
  for (std::size_t axis = 0; axis < N; ++axis) {
    shape[axis] = static_cast<std::size_t>(extents[axis]);
    strides[axis] = static_cast<std::ptrdiff_t>(extents[axis] == 1 ? 0 : steps[axis]);
    count *= shape[axis];
  }
  // The pointer as a value: xtensor would keep a reference to a variable.
  return xt::adapt(static_cast<T*>(data), count, xt::no_ownership(), shape, strides);
}

/// A contiguous matrix.
template <class T>
auto matrix(T* data, std::int64_t rows, std::int64_t columns) {
  return strided<T, 2>(data, {rows, columns}, {columns, 1});
}

/// Combines the elements of `expression` along `axes`, from `start` on. One function pointer
/// serves all reductions of a type, where each functor would be compiled for itself.
template <class A, class T, class Expression, std::size_t N>
auto reduced(A (*combine)(A, T), A start, Expression&& expression,
             const std::array<std::size_t, N>& axes) {
  return xt::reduce(xt::make_xreducer_functor(combine, xt::const_value<A>(start)),
                    std::forward<Expression>(expression), axes);
}

template <class T>
double add_in_double(double total, T x) {
  return total + static_cast<double>(x);
}

/// The sum of `expression` along `axes`, in float64.
template <class T, class Expression, std::size_t N>
auto sum_in_double(Expression&& expression, const std::array<std::size_t, N>& axes) {
  return reduced<double, T>(add_in_double<T>, -0.0, std::forward<Expression>(expression), axes);
}

}  // namespace gradgraph
