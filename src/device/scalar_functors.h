#pragma once

#include <cmath>
#include <string_view>

/// The scalar arithmetic of every elementwise op, written once for CPU and GPU. Each functor
/// names its op; the lists at the end are what the devices expand into kernels.
#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif

namespace gradgraph::functors {

template <class... F>
struct List {};

struct Add {
  static constexpr std::string_view op = "add";
  template <class T>
  HOST_DEVICE T operator()(T a, T b) const {
    return static_cast<T>(a + b);
  }
};
struct Sub {
  static constexpr std::string_view op = "sub";
  template <class T>
  HOST_DEVICE T operator()(T a, T b) const {
    return static_cast<T>(a - b);
  }
};
struct Mul {
  static constexpr std::string_view op = "mul";
  template <class T>
  HOST_DEVICE T operator()(T a, T b) const {
    return static_cast<T>(a * b);
  }
};

/// T x T -> T for all numbers.
using BinaryArithmetic = List<Add, Sub, Mul>;

}  // namespace gradgraph::functors
