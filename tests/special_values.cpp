#include "special_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/convert.h"
#include "core/text.h"

namespace gradgraph::tests {
namespace {

template <class T>
std::vector<T> list_of() {
  using Limits = std::numeric_limits<T>;
  if constexpr (std::is_floating_point_v<T>) {
    constexpr T huge = Limits::max() / 2, tiny = Limits::min();
    return {0,
            T(-0.0),
            1,
            -1,
            2,
            -3,
            T(0.5),
            T(.7),
            tiny,
            -tiny,
            huge,
            -huge,
            huge * T(1e-7),
            Limits::infinity(),
            -Limits::infinity(),
            Limits::quiet_NaN(),
            Limits::denorm_min(),
            -11 * Limits::denorm_min()};
  } else {
    return {0, 1, T(-1), 2, 3, T(-7), 100, Limits::max(), Limits::min(), Limits::max() / 2};
  }
}

template <class T>
std::string differ(const Tensor& actual, const Tensor& expected, double tolerance, double scale) {
  for (std::int64_t i = 0; i < actual.num_elements(); ++i) {
    const T a = actual.data<T>()[i], e = expected.data<T>()[i];
    if constexpr (is_floating(dtype_of<T>)) {
      const auto x = static_cast<double>(a), y = static_cast<double>(e);
      if (std::isnan(x) && std::isnan(y)) continue;
      if (x == y && std::signbit(x) == std::signbit(y)) continue;
      if (tolerance > 0 && std::isfinite(x) && std::isfinite(y) &&
          std::fabs(x - y) <= tolerance * std::max(std::fabs(y), scale))
        continue;
    } else {
      if (a == e) continue;
    }
    return fmt::format("element {} is {} instead of {}", i, convert<double>(a),
                       convert<double>(e));
  }
  return {};
}

}  // namespace

Tensor special_values(DType dtype) {
  return visit_dtype(dtype, [&]<class T>() {
    if constexpr (std::is_same_v<T, bool>) {
      return Tensor{false, true};
    } else if constexpr (is_half(dtype_of<T>)) {
      Tensor values = special_values(float32).cast(dtype);
      // The ends of its own range, and of its denormal numbers.
      values.data<T>()[0] = T::from_bits(0x7c00u - 1);
      values.data<T>()[6] = T::from_bits(1);
      return values;
    } else {
      const std::vector<T> list = list_of<T>();
      return Tensor::from(list, {static_cast<std::int64_t>(list.size())});
    }
  });
}

Tensor arrange(const Tensor& vector, const Shape& shape,
               const std::function<std::int64_t(std::int64_t)>& index) {
  const std::size_t size = size_of(vector.dtype());
  const auto* from = static_cast<const char*>(vector.raw());
  Tensor result(vector.dtype(), shape);
  auto* to = static_cast<char*>(result.raw());
  for (std::int64_t i = 0; i < result.num_elements(); ++i, to += size)
    std::memcpy(to, from + size * static_cast<std::size_t>(index(i) % vector.num_elements()),
                size);
  return result;
}

std::string find_difference(const Tensor& actual, const Tensor& expected, double tolerance,
                            double scale) {
  if (actual.empty_handle() || expected.empty_handle())
    return actual.empty_handle() == expected.empty_handle() ? "" : "one is empty";
  if (actual.dtype() != expected.dtype() || actual.shape() != expected.shape())
    return fmt::format("{}{} instead of {}{}", actual.dtype(), actual.shape(), expected.dtype(),
                       expected.shape());
  return visit_dtype(actual.dtype(),
                     [&]<class T>() { return differ<T>(actual, expected, tolerance, scale); });
}

}  // namespace gradgraph::tests
