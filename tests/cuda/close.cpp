#include "close.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace gradgraph::tests {

void check_close(const Tensor& actual, const Tensor& expected, double tolerance) {
  REQUIRE(actual.dtype() == expected.dtype());
  REQUIRE(actual.shape() == expected.shape());
  const Tensor a = actual.cast(float64), e = expected.cast(float64);
  for (std::int64_t i = 0; i < e.num_elements(); ++i) {
    const double x = a.data<double>()[i], y = e.data<double>()[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (std::fabs(x - y) <= tolerance * std::max(1.0, std::fabs(y))) continue;
    FAIL_CHECK("element " << i << " is " << x << ", on the CPU " << y);
    return;
  }
}

void check_close(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected,
                 double tolerance) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    CAPTURE(i);
    REQUIRE(actual[i].empty_handle() == expected[i].empty_handle());
    if (!actual[i].empty_handle()) check_close(actual[i], expected[i], tolerance);
  }
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace gradgraph::tests
