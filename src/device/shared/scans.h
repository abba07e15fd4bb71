#pragma once

#include <string_view>
#include <type_traits>

#include "device/shared/scalar_functors.h"

/// What is carried along an axis, written once for CPU and GPU as the elementwise functors are.
namespace gradgraph::functors {
inline namespace GRADGRAPH_ISA {

/// A scan carries a state along an axis: `kStart` before the first element, and `next` behind one
/// more of each of its `kInputs` inputs. `State<T>` is what states of T are kept in. Where the
/// states of two runs make that of both, `joined` does it.
template <class T>
using State = std::conditional_t<std::is_floating_point_v<T>, double, Wrap<T>>;

struct CumulativeSum {
  static constexpr std::string_view op = "cumsum";
  static constexpr int kInputs = 1;
  static constexpr int kStart = 0;
  using Types = Numbers;
  template <class S, class T>
  HOST_DEVICE static S next(S total, T x, T) {
    return static_cast<S>(total + static_cast<S>(x));
  }
  template <class S>
  HOST_DEVICE static S joined(S a, S b) {
    return static_cast<S>(a + b);
  }
};
struct CumulativeProduct {
  static constexpr std::string_view op = "cumprod";
  static constexpr int kInputs = 1;
  static constexpr int kStart = 1;
  using Types = Numbers;
  template <class S, class T>
  HOST_DEVICE static S next(S product, T x, T) {
    return static_cast<S>(product * static_cast<S>(x));
  }
  template <class S>
  HOST_DEVICE static S joined(S a, S b) {
    return static_cast<S>(a * b);
  }
};
struct LinearRecurrence {
  static constexpr std::string_view op = "linear_recurrence";
  static constexpr int kInputs = 2;
  static constexpr int kStart = 0;
  using Types = Floats;
  template <class S, class T>
  HOST_DEVICE static S next(S state, T factor, T term) {
    return static_cast<S>(state * static_cast<S>(factor) + static_cast<S>(term));
  }
};

using Scan = List<CumulativeSum, CumulativeProduct, LinearRecurrence>;

}  // namespace GRADGRAPH_ISA
}  // namespace gradgraph::functors
