#include <cmath>

#include "kernel_helpers.h"

/// Rows of every length, near 0 and far from it, at every level of the instruction set.
namespace gradgraph::tests {
namespace {

/// Row r is 1000 r from 0, in noise of 0.01, 1 or 100.
Tensor rows_of_noise(std::int64_t rows, std::int64_t columns) {
  Tensor values = noise({rows, columns}, static_cast<std::uint32_t>(columns));
  auto* x = values.data<double>();
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < columns; ++i) {
      double& element = x[row * columns + i];
      element = element * std::pow(100, static_cast<double>(row % 3) - 1) +
                1e3 * static_cast<double>(row);
    }
  return values;
}

/// What the rows give in long double.
Tensor expected_of(const Tensor& rows, const Tensor& grads, bool gradient) {
  const std::int64_t columns = rows.shape()[1];
  const Tensor exact = rows.cast(float64), exact_grads = grads.cast(float64);
  Tensor result(float64, rows.shape());
  for (std::int64_t row = 0; row < rows.shape()[0]; ++row) {
    const double* x = exact.data<double>() + row * columns;
    const double* g = exact_grads.data<double>() + row * columns;
    const auto mean_of = [&](auto&& f) {
      long double sum = 0;
      for (std::int64_t i = 0; i < columns; ++i) sum += f(i);
      return sum / static_cast<long double>(columns);
    };
    const long double mean = mean_of([&](std::int64_t i) { return x[i]; });
    const long double variance =
        mean_of([&](std::int64_t i) { return (x[i] - mean) * (x[i] - mean); });
    const long double scale = 1 / std::sqrt(variance + 1e-5L);
    const auto y = [&](std::int64_t i) { return (x[i] - mean) * scale; };
    const long double mean_grad = mean_of([&](std::int64_t i) { return g[i]; });
    const long double mean_product = mean_of([&](std::int64_t i) { return g[i] * y(i); });
    for (std::int64_t i = 0; i < columns; ++i)
      result.data<double>()[row * columns + i] =
          static_cast<double>(gradient ? scale * (g[i] - mean_grad - y(i) * mean_product) : y(i));
  }
  return result;
}

}  // namespace

TEST_CASE("standardize and its gradient of rows of every length, the same bits at all levels") {
  for (const DType dtype : {float32, float64})
    for (const std::int64_t columns :
         {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50, 127, 128, 129, 145, 1000}) {
      CAPTURE(dtype);
      CAPTURE(columns);
      Graph graph;
      const Tensor rows = rows_of_noise(13, columns).cast(dtype);
      const Tensor grads = noise({13, columns}, 5, dtype);
      const Output x = constant(graph, rows), g = constant(graph, grads);
      for (const bool gradient : {false, true}) {
        CAPTURE(gradient);
        const Output y = gradient ? standardize_grad(x, g) : standardize(x);
        const Tensor result = compute(y, 1);
        // A gradient is as large as what it is multiplied by: 1 / sqrt(epsilon) at most.
        const double unit = (dtype == float32 ? 1e-6 : 1e-12) * (gradient ? 316 : 1);
        const Tensor expected = expected_of(rows, grads, gradient);
        CHECK(close(result, expected, unit));
        CHECK(close(compute(y, 1, true), expected, unit));
        for_each_isa([&] {
          CHECK(same_bits(compute(y, 1), result));
          CHECK(same_bits(compute(y, 3), result));
        });
      }
    }
}

}  // namespace gradgraph::tests
