#include <cmath>
#include <limits>

#include "device/cpu/general/row_sum.h"
#include "device/cpu/isa/isa.h"
#include "kernel_helpers.h"

/// Softmax, its logarithm and its losses: rows of every length and kind, at every level of the
/// instruction set.
namespace gradgraph::tests {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Rows of noise between rows that are special in one element, or in all.
Tensor special_rows(std::int64_t columns, DType dtype) {
  const double specials[] = {kInfinity, -kInfinity, std::nan(""), 1e4, -1e4, 0};
  Tensor rows = noise({13, columns}, static_cast<std::uint32_t>(columns));
  auto* x = rows.data<double>();
  for (std::int64_t row = 1; row < 13; ++row) {
    const double special = specials[(row - 1) / 2];
    if (row % 2 == 1) x[row * columns + row % columns] = special;
    for (std::int64_t i = 0; row % 2 == 0 && i < columns; ++i) x[row * columns + i] = special;
  }
  return rows.cast(dtype);
}

/// What a row gives in long double: probabilities, or their logarithms.
std::vector<double> expected_of(const double* x, std::int64_t count, std::int64_t step,
                                bool logarithms) {
  long double largest = -kInfinity, rest = 0;
  std::int64_t place = 0;
  for (std::int64_t i = 0; i < count; ++i)
    if (x[i * step] > static_cast<double>(largest)) largest = x[i * step], place = i;
  for (std::int64_t i = 0; i < count; ++i)
    if (i != place || std::isnan(x[i * step]) || std::isinf(x[i * step]))
      rest += std::exp(x[i * step] - largest);
  std::vector<double> result;
  for (std::int64_t i = 0; i < count; ++i) {
    const long double difference = x[i * step] - largest;
    result.push_back(static_cast<double>(logarithms ? difference - std::log1p(rest)
                                                    : std::exp(difference) / (1 + rest)));
  }
  return result;
}

void check_close(double actual, double expected, double tolerance) {
  if (std::isnan(expected) || std::isinf(expected))
    CHECK((actual == expected || (std::isnan(actual) && std::isnan(expected))));
  else
    CHECK(std::fabs(actual - expected) <= tolerance * std::fabs(expected) + 1e-37);
}

}  // namespace

TEST_CASE("softmax and its logarithm of rows of every length, with the same bits at all levels") {
  for (const DType dtype : {float32, float64})
    for (const std::int64_t columns :
         {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50, 127, 128, 129, 145, 1000}) {
      CAPTURE(dtype);
      CAPTURE(columns);
      Graph graph;
      const Tensor rows = special_rows(columns, dtype);
      const Output x = constant(graph, rows);
      // The same rows side by side, along another axis.
      const Output across = constant(graph, Session(graph).run({}, transpose(x)));
      const bool is_float = dtype == float32;
      const Tensor exact = rows.cast(float64);
      for (const bool logarithms : {false, true}) {
        const auto op = [&](Output of, std::int64_t axis) {
          return logarithms ? log_softmax(of, axis) : softmax(of, axis);
        };
        const Tensor result = compute(op(x, 1), 1);
        const Tensor values = result.cast(float64);
        for (std::int64_t row = 0; row < 13; ++row) {
          CAPTURE(row);
          const auto expected =
              expected_of(exact.data<double>() + row * columns, columns, 1, logarithms);
          for (std::int64_t i = 0; i < columns; ++i)
            check_close(values.data<double>()[row * columns + i],
                        expected[static_cast<std::size_t>(i)], is_float ? 1e-6 : 2e-15);
        }
        for (const Isa level : usable_levels()) {
          const IsaScope scope(level);
          CHECK(same_bits(compute(op(x, 1), 1), result));
          CHECK(same_bits(compute(op(x, 1), 3), result));
          const Tensor turned = compute(op(across, 0), 2);
          CHECK(same_bits(compute(transpose(constant(graph, turned)), 1), result));
        }
      }
    }
}

TEST_CASE("cross entropies have the same bits at all levels") {
  for (const DType dtype : {float32, float64})
    for (const std::int64_t columns : {1, 10, 16, 33, 300}) {
      CAPTURE(columns);
      Graph graph;
      const Output x = placeholder(graph, dtype, {40, columns});
      Tensor classes(int64, {40});
      for (std::int64_t i = 0; i < 40; ++i) classes.data<std::int64_t>()[i] = i % columns;
      const Output sparse = sparse_softmax_cross_entropy(x, constant(graph, classes));
      const Output dense =
          softmax_cross_entropy(x, constant(graph, noise({40, columns}, 5, dtype)));
      std::vector<Output> fetches = {sparse, dense};
      for (const Output& loss : {sparse, dense})
        fetches.push_back(gradients({mean(loss)}, {x})[0]);
      const Feeds feeds = {{x, noise({40, columns}, 3, dtype)}};
      for (const bool fused : {true, false}) {
        SessionOptions options{.threads = 1};
        if (!fused) options.disabled_passes = {"fuse_cross_entropy"};
        const std::vector<Tensor> expected = Session(graph, options).run(feeds, fetches);
        for (const Isa level : usable_levels()) {
          const IsaScope scope(level);
          const std::vector<Tensor> actual = Session(graph, options).run(feeds, fetches);
          for (std::size_t i = 0; i < expected.size(); ++i)
            CHECK_MESSAGE(same_bits(actual[i], expected[i]), "fetch ", i, fused ? ", fused" : "");
        }
      }
    }
}

TEST_CASE("sums of rows of every length are nearly exact, and of -0 are -0") {
  for (std::int64_t count = 0; count < 140; ++count) {
    CAPTURE(count);
    const Tensor values = noise({count + 1}, static_cast<std::uint32_t>(count), float32);
    const Tensor wide = values.cast(float64);
    double expected = 0;
    for (std::int64_t i = 0; i < count; ++i) expected += wide.data<double>()[i];
    CHECK(std::fabs(static_cast<double>(RowSum<float>::of(values.data<float>(), count, 0)) -
                    expected) <= 3e-6);
    CHECK(std::fabs(RowSum<double>::of(wide.data<double>(), count, 0) - expected) <= 1e-14);
    const Tensor zeros = Tensor::full(float32, {count + 1}, -0.);
    CHECK(std::signbit(RowSum<float>::of(zeros.data<float>(), count, -0.F)));
    CHECK_FALSE(std::signbit(RowSum<float>::of(zeros.data<float>(), count, 0.F)));
  }
}

}  // namespace gradgraph::tests
