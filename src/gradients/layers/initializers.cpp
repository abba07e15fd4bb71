#include <cmath>
#include <numbers>
#include <random>

#include "core/text.h"
#include "gradgraph/nn.h"
#include "ops/builders.h"

namespace gradgraph::nn {
namespace {

struct Fans {
  double in = 1, out = 1;
};

/// Of a kernel [..., inputs, outputs], whose leading axes are the receptive field.
Fans fans_of(const Shape& shape) {
  if (shape.rank() == 0) return {};
  const int last = shape.rank() - 1;
  if (last == 0) return {static_cast<double>(shape[0]), static_cast<double>(shape[0])};
  double field = 1;
  for (int axis = 0; axis < last - 1; ++axis) field *= static_cast<double>(shape[axis]);
  return {field * static_cast<double>(shape[last - 1]), field * static_cast<double>(shape[last])};
}

/// Draws with the variance `scale(fans)`.
Initializer uniform_scaled(double (*variance)(const Fans&)) {
  return [variance](Graph& graph, const Shape& shape, DType dtype, SourceLocation where) {
    const double limit = std::sqrt(3 * variance(fans_of(shape)));
    return random_uniform(graph, shape, dtype, -limit, limit, where);
  };
}

Initializer normal_scaled(double (*variance)(const Fans&)) {
  // The standard deviation of a standard normal distribution that is cut off at +-2.
  constexpr double kTruncated = 0.87962566103423978;
  return [variance](Graph& graph, const Shape& shape, DType dtype, SourceLocation where) {
    const double stddev = std::sqrt(variance(fans_of(shape))) / kTruncated;
    return truncated_normal(graph, shape, dtype, 0, stddev, where);
  };
}

double glorot_variance(const Fans& fans) { return 2 / std::max(1.0, fans.in + fans.out); }
double he_variance(const Fans& fans) { return 2 / std::max(1.0, fans.in); }

using Columns = std::vector<std::vector<double>>;

/// log(x) of x > 0 by the series of atanh, of operations that IEEE 754 rounds to the same bits
/// everywhere: the C library's differs from machine to machine.
double portable_log(double x) {
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);
  if (mantissa < 1 / std::numbers::sqrt2) {
    mantissa *= 2;
    --exponent;
  }
  const double ratio = (mantissa - 1) / (mantissa + 1), square = ratio * ratio;
  double series = 0;
  for (int power = 23; power >= 1; power -= 2) series = series * square + 1.0 / power;
  return exponent * std::numbers::ln2 + 2 * ratio * series;
}

/// Normally distributed numbers, by Marsaglia's polar method. std::normal_distribution differs
/// between standard libraries.
Columns normal_columns(std::size_t count, std::size_t length, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  const auto coordinate = [&] {
    return (static_cast<double>(generator() >> 11) + 0.5) * 0x1p-52 - 1;
  };
  Columns columns(count, std::vector<double>(length));
  for (auto& column : columns)
    for (double& value : column) {
      double x = 0, square = 0;
      do {
        x = coordinate();
        const double y = coordinate();
        square = x * x + y * y;
      } while (square >= 1);
      value = x * std::sqrt(-2 * portable_log(square) / square);
    }
  return columns;
}

/// Gram and Schmidt, each column twice: the second round removes what rounding left.
void orthonormalize(Columns& columns) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    auto& column = columns[i];
    for (int round = 0; round < 2; ++round)
      for (std::size_t j = 0; j < i; ++j) {
        double dot = 0;
        for (std::size_t k = 0; k < column.size(); ++k) dot += column[k] * columns[j][k];
        for (std::size_t k = 0; k < column.size(); ++k) column[k] -= dot * columns[j][k];
      }
    double square_sum = 0;
    for (const double value : column) square_sum += value * value;
    for (double& value : column) value /= std::sqrt(square_sum);
  }
}

/// Variables that share a seed still differ: their scopes do.
std::uint64_t mix(std::uint64_t seed, std::string_view scope) {
  std::uint64_t hash = 0xcbf29ce484222325u ^ seed;
  for (const char c : scope) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

}  // namespace

Initializer constant(Number value) {
  return [value](Graph& graph, const Shape& shape, DType dtype, SourceLocation where) {
    const Tensor number = value.to_tensor(dtype);
    if (!number)
      fail_to_build("constant", graph, fmt::format("{} is no {}", text_of(value), dtype), where);
    return fill(shape, gradgraph::constant(graph, number, {}, where), where);
  };
}
Initializer zeros() { return constant(0); }
Initializer ones() { return constant(1); }

Initializer glorot_uniform() { return uniform_scaled(glorot_variance); }
Initializer glorot_normal() { return normal_scaled(glorot_variance); }
Initializer he_uniform() { return uniform_scaled(he_variance); }
Initializer he_normal() { return normal_scaled(he_variance); }

Initializer orthogonal(double gain, std::uint64_t seed) {
  return [gain, seed](Graph& graph, const Shape& shape, DType dtype, SourceLocation where) {
    if (shape.rank() < 2 || shape.num_elements() == 0)
      throw BuildError(fmt::format("orthogonal: the shape {} is no matrix", shape), where);
    // Taken first: what is drawn beside it is as large.
    Tensor values = [&] {
      try {
        return Tensor(float64, shape, {});
      } catch (const RunError& error) {
        throw BuildError(fmt::format("orthogonal: {}", error.what()), where);
      }
    }();
    const auto num_columns = static_cast<std::size_t>(shape[shape.rank() - 1]);
    const auto num_rows = static_cast<std::size_t>(shape.num_elements()) / num_columns;
    const bool wide = num_columns > num_rows;
    Columns columns =
        normal_columns(std::min(num_rows, num_columns), std::max(num_rows, num_columns),
                       mix(seed, graph.context().scope));
    orthonormalize(columns);
    double* out = values.data<double>();
    for (std::size_t row = 0; row < num_rows; ++row)
      for (std::size_t column = 0; column < num_columns; ++column)
        *out++ = gain * (wide ? columns[row][column] : columns[column][row]);
    return gradgraph::constant(graph, values.cast(dtype, where), {}, where);
  };
}

}  // namespace gradgraph::nn
