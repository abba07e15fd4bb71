/// The demonstration kernels, in several orders of threads, blocks and streams, against plain
/// loops: the orders must give the same bits.

#include <array>
#include <cmath>

#include "cuda_emulation/demo.h"
#include "cuda_emulation/helpers.h"

namespace cuda_emulation {
namespace {

template <class T>
std::vector<T> numbers(std::size_t count, unsigned seed = 1) {
  std::vector<T> all(count);
  for (T& each : all) {
    seed = seed * 1664525u + 1013904223u;
    each = static_cast<T>(static_cast<int>(seed >> 24) - (std::is_signed_v<T> ? 128 : 0));
    if constexpr (std::is_floating_point_v<T>) each /= 64;
  }
  return all;
}

/// The bits of `run` must not depend on the order; returns them.
template <class T, class Run>
std::vector<T> same_in_all_orders(Run run) {
  std::vector<T> first;
  for (const Settings& settings : all_settings()) {
    configure(settings);
    const std::vector<T> now = run();
    CHECK(take_error() == "");
    if (first.empty()) first = now;
    CHECK(std::memcmp(first.data(), now.data(), first.size() * sizeof(T)) == 0);
  }
  configure({});
  return first;
}

template <class T>
void check_near(const std::vector<T>& got, const std::vector<T>& want, double tolerance) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CHECK(std::fabs(static_cast<double>(got[i]) - static_cast<double>(want[i])) <= tolerance);
  }
}

TEST_CASE("emulated kernels: sums in one block and in several") {
  const Stream stream;
  for (const int n : {1, 31, 255, 256, 1000, 5000}) {
    const auto in = numbers<float>(static_cast<std::size_t>(n));
    double want = 0;
    for (const float each : in) want += static_cast<double>(each);
    const auto sum = same_in_all_orders<float>([&] {
      Array<float> a(in), out(1);
      REQUIRE_OK(demo::sum(a, out, n, stream));
      REQUIRE_OK(cudaStreamSynchronize(stream));
      return out.values();
    });
    check_near(sum, {static_cast<float>(want)}, 1e-3);
    const auto sum_of_sums = same_in_all_orders<float>([&] {
      Array<float> a(in), partials(7), out(1);
      REQUIRE_OK(demo::sum_partial(a, partials, n, 7, stream));
      REQUIRE_OK(demo::sum(partials, out, 7, stream));
      REQUIRE_OK(cudaStreamSynchronize(stream));
      return out.values();
    });
    check_near(sum_of_sums, {static_cast<float>(want)}, 1e-3);
  }
}

TEST_CASE("emulated kernels: vector loads with a tail") {
  const Stream stream;
  for (const int n : {1, 31, 256, 1001}) {
    const auto a = numbers<float>(static_cast<std::size_t>(n));
    const auto b = numbers<float>(static_cast<std::size_t>(n), 5);
    std::vector<float> want(a);
    for (std::size_t i = 0; i < a.size(); ++i) want[i] = std::fmax(a[i] + b[i], 0.0f);
    const auto got = same_in_all_orders<float>([&] {
      Array<float> x(a), y(b), out(a.size());
      REQUIRE_OK(demo::add_relu(x, y, out, n, 3, stream));
      return out.values();
    });
    check_near(got, want, 0);
  }
}

TEST_CASE("emulated kernels: products in tiles of shared memory") {
  const Stream stream;
  for (const auto [m, n, k] :
       {std::array{1, 1, 1}, std::array{33, 17, 40}, std::array{16, 48, 15}}) {
    const auto index = [](int row, int width, int column) {
      return static_cast<std::size_t>(row * width + column);
    };
    const auto a = numbers<float>(index(m, k, 0)), b = numbers<float>(index(k, n, 0), 3);
    std::vector<float> want(index(m, n, 0));
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < n; ++j)
        for (int l = 0; l < k; ++l) want[index(i, n, j)] += a[index(i, k, l)] * b[index(l, n, j)];
    const auto got = same_in_all_orders<float>([&, m = m, n = n, k = k] {
      Array<float> x(a), y(b), out(want.size());
      REQUIRE_OK(demo::matmul(x, y, out, m, n, k, stream));
      return out.values();
    });
    check_near(got, want, 1e-3);
  }
}

TEST_CASE("emulated kernels: Philox gives the known answers") {
  const Stream stream;
  const auto words = same_in_all_orders<std::uint32_t>([&] {
    Array<std::uint32_t> out(1001);
    REQUIRE_OK(demo::random_words(out, 1001, 0, stream));
    return out.values();
  });
  // Random123's for the counter 0 and the key 0.
  const std::vector<std::uint32_t> want{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
  CHECK(std::vector(words.begin(), words.begin() + 4) == want);
}

TEST_CASE("emulated kernels: softmax of rows in dynamic shared memory") {
  const Stream stream;
  for (const std::size_t columns : {1u, 10u, 64u, 333u}) {
    const auto in = numbers<float>(5 * columns);
    std::vector<float> want(in.size());
    for (std::size_t from = 0; from < in.size(); from += columns) {
      double sum = 0;
      for (std::size_t i = from; i < from + columns; ++i)
        sum += std::exp(static_cast<double>(in[i]));
      for (std::size_t i = from; i < from + columns; ++i)
        want[i] = static_cast<float>(std::exp(static_cast<double>(in[i])) / sum);
    }
    const auto got = same_in_all_orders<float>([&] {
      Array<float> x(in), out(in.size());
      REQUIRE_OK(demo::softmax(x, out, 5, static_cast<int>(columns), stream));
      return out.values();
    });
    check_near(got, want, 1e-6);
  }
}

TEST_CASE("emulated kernels: the same shared memory used twice") {
  const Stream stream;
  const auto in = numbers<float>(3 * 100);
  std::vector<float> want(3);
  for (std::size_t row = 0; row < 3; ++row) {
    double mean = 0, squares = 0;
    for (std::size_t i = 0; i < 100; ++i) mean += static_cast<double>(in[row * 100 + i]) / 100;
    for (std::size_t i = 0; i < 100; ++i)
      squares += std::pow(static_cast<double>(in[row * 100 + i]) - mean, 2) / 100;
    want[row] = static_cast<float>(squares);
  }
  const auto got = same_in_all_orders<float>([&] {
    Array<float> x(in), out(3);
    REQUIRE_OK(demo::variance(x, out, 3, 100, stream));
    return out.values();
  });
  check_near(got, want, 1e-4);
}

TEST_CASE("emulated kernels: integer atomics in shared and global memory") {
  const Stream stream;
  const auto in = numbers<std::uint8_t>(5000);
  std::vector<unsigned> want(256);
  for (const std::uint8_t each : in) ++want[each];
  const auto got = same_in_all_orders<unsigned>([&] {
    Array<std::uint8_t> x(in);
    Array<unsigned> counts(256);
    REQUIRE_OK(cudaMemsetAsync(counts, 0, 256 * sizeof(unsigned), stream));
    REQUIRE_OK(demo::histogram(x, counts, 5000, stream));
    REQUIRE_OK(cudaStreamSynchronize(stream));
    return counts.values();
  });
  CHECK(got == want);
}

TEST_CASE("emulated kernels: a scan by shuffles") {
  const Stream stream;
  for (const int n : {1, 100, 1024}) {
    const auto in = numbers<int>(static_cast<std::size_t>(n));
    std::vector<int> want(in);
    for (std::size_t i = 1; i < in.size(); ++i) want[i] += want[i - 1];
    want.push_back(want.back());
    const auto got = same_in_all_orders<int>([&] {
      Array<int> x(in), out(in.size() + 1);
      REQUIRE_OK(demo::scan(x, out, n, stream));
      return out.values();
    });
    CHECK(got == want);
  }
}

TEST_CASE("emulated kernels: constant memory and device lambdas") {
  const Stream stream;
  const auto got = same_in_all_orders<float>([&] {
    const float table[4] = {1, 2, 3, 4};
    Array<float> x(std::vector<float>(99, 1.0f));
    REQUIRE_OK(demo::set_table(table, stream));
    REQUIRE_OK(demo::scale_by_table(x, 99, stream));
    REQUIRE_OK(demo::apply_double(x, 99, stream));
    REQUIRE_OK(cudaStreamSynchronize(stream));
    return x.values();
  });
  check_near(got, {2, 4, 6, 8, 2, 4}, 0);
}

}  // namespace
}  // namespace cuda_emulation
