#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "device/shared/distributions.h"
#include "gradgraph/gradgraph.h"

/// The generator against its authors' vectors, the distributions against their moments and
/// cumulative shares, and what a draw may and may not depend on.
using namespace gradgraph;

namespace {

constexpr std::int64_t kMany = 200001;  // no multiple of a block

Tensor draw(const std::function<Output(Graph&)>& build, SessionOptions options = {},
            std::int64_t step = 0) {
  Graph graph;
  const Output numbers = build(graph);
  Session session(graph, options);
  session.set_step(step);
  return session.run(numbers);
}

bool same(const Tensor& a, const Tensor& b) {
  const Tensor x = a.cast(float64), y = b.cast(float64);
  return std::ranges::equal(x.span<double>(), y.span<double>());
}

struct Moments {
  explicit Moments(const Tensor& numbers) : values(numbers.cast(float64)) {
    const auto all = values.span<double>();
    const auto count = static_cast<double>(all.size());
    mean = std::accumulate(all.begin(), all.end(), 0.0) / count;
    for (const double x : all) variance += (x - mean) * (x - mean) / count;
    for (const double x : all) skew += std::pow((x - mean) / std::sqrt(variance), 3) / count;
    std::sort(all.begin(), all.end());
    low = all.front();
    high = all.back();
  }
  /// The largest distance from the cumulative distribution `share`, times sqrt(n): above 1.95 in
  /// one of 1000 samples of it (Kolmogorov and Smirnov).
  template <class Share>
  double distance(const Share& share) {
    const auto all = values.span<double>();
    const auto count = static_cast<double>(all.size());
    double worst = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double p = share(all[i]), at = static_cast<double>(i);
      worst = std::max({worst, p - at / count, (at + 1) / count - p});
    }
    return worst * std::sqrt(count);
  }

  Tensor values;
  double mean = 0, variance = 0, skew = 0, low = 0, high = 0;
};

double normal_share(double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }

/// Functions that make [kMany] numbers of `dtype` by each op.
std::vector<std::function<Output(Graph&)>> all_draws(DType dtype) {
  return {[=](Graph& g) { return random_uniform(g, {kMany}, dtype); },
          [=](Graph& g) { return random_normal(g, {kMany}, dtype); },
          [=](Graph& g) { return truncated_normal(g, {kMany}, dtype); },
          [=](Graph& g) { return dropout_mask({kMany}, dtype, 0.3, constant(g, Tensor(true))); }};
}

}  // namespace

TEST_CASE("philox 4x32-10 gives the numbers of its authors") {
  const auto check = [](PhiloxBlock counter, std::uint64_t key, PhiloxBlock expected) {
    CHECK(std::ranges::equal(philox(counter, key).word, expected.word));
  };
  // Random123, kat_vectors.
  check({{0, 0, 0, 0}}, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  check({{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}}, 0xffffffffffffffff,
        {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  check({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0x299f31d0a4093822,
        {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST_CASE("own logarithm, sine and quantile agree with the C library") {
  using namespace distributions;
  for (int i = 1; i <= 1000; ++i) {
    const double x = std::pow(0.5, i * 0.05), turns = i / 1000.0;
    CHECK(log_unit(x) == doctest::Approx(std::log(x)).epsilon(1e-15));
    const auto [sine, cosine] = sincos_turns(turns);
    const double angle = 2 * std::acos(-1.0) * turns;
    CHECK(std::fabs(sine - std::sin(angle)) < 2e-15);
    CHECK(std::fabs(cosine - std::cos(angle)) < 2e-15);
    const double p = (i - 0.5) / 1000;
    CHECK(normal_share(normal_quantile(p)) == doctest::Approx(p).epsilon(1e-14));
  }
  CHECK(log_unit(1) == 0);
  CHECK(open_unit(0) > 0);
  CHECK(open_unit(0xffffffff) < 1);
  CHECK(open_unit(0, 0) > 0);
  CHECK(open_unit(0xffffffff, 0xffffffff) < 1);
}

TEST_CASE("uniform numbers fill their interval evenly") {
  for (const DType dtype : {float32, float64}) {
    Moments m(draw([=](Graph& g) { return random_uniform(g, {kMany}, dtype, -2, 3); }));
    CHECK(m.low >= -2);
    CHECK(m.high < 3);
    CHECK(m.mean == doctest::Approx(0.5).epsilon(0.02));
    CHECK(m.variance == doctest::Approx(25.0 / 12).epsilon(0.01));
    CHECK(m.distance([](double x) { return (x + 2) / 5; }) < 1.95);
  }
}

TEST_CASE("uniform numbers never round up to the end of a narrow interval") {
  const double high = std::nextafter(std::nextafter(16777216.0f, 2e7f), 2e7f);
  const Moments m(
      draw([=](Graph& g) { return random_uniform(g, {1000}, float32, 16777216.0, high); }));
  CHECK(m.low >= 16777216.0);
  CHECK(m.high < high);
}

TEST_CASE("normal numbers have the normal distribution") {
  for (const DType dtype : {float32, float64}) {
    Moments m(draw([=](Graph& g) { return random_normal(g, {kMany}, dtype, 3, 2); }));
    CHECK(std::fabs(m.mean - 3) < 0.02);
    CHECK(m.variance == doctest::Approx(4).epsilon(0.015));
    CHECK(std::fabs(m.skew) < 0.025);
    CHECK(m.distance([](double x) { return normal_share((x - 3) / 2); }) < 1.95);
    CHECK(m.high > 3 + 2 * 3.5);
  }
}

TEST_CASE("truncated normal numbers stop at two standard deviations") {
  const double cut = normal_share(-2);
  for (const DType dtype : {float32, float64}) {
    Moments m(draw([=](Graph& g) { return truncated_normal(g, {kMany}, dtype, 1, 0.5); }));
    CHECK(m.low >= 0);
    CHECK(m.high <= 2);
    CHECK(m.high > 1.999);
    CHECK(std::fabs(m.mean - 1) < 0.005);
    CHECK(m.variance == doctest::Approx(0.25 * 0.7737413).epsilon(0.015));
    CHECK(m.distance([=](double x) {
      return (normal_share((x - 1) / 0.5) - cut) / (1 - 2 * cut);
    }) < 1.95);
  }
}

TEST_CASE("a standard deviation of 0 gives the mean") {
  CHECK(same(draw([](Graph& g) { return random_normal(g, {3}, float32, 2, 0); }),
             Tensor{2.f, 2.f, 2.f}));
}

TEST_CASE("draws do not depend on the number of threads") {
  for (const DType dtype : {float32, float64})
    for (const auto& build : all_draws(dtype))
      CHECK(same(draw(build, {.threads = 1}), draw(build, {.threads = 3})));
}

TEST_CASE("draws repeat for the same seed and step, and differ for others") {
  for (const auto& build : all_draws(float32)) {
    const Tensor numbers = draw(build, {.seed = 5}, 7);
    CHECK(same(numbers, draw(build, {.seed = 5}, 7)));
    CHECK_FALSE(same(numbers, draw(build, {.seed = 6}, 7)));
    CHECK_FALSE(same(numbers, draw(build, {.seed = 5}, 8)));
  }
}

TEST_CASE("a run moves on to new numbers, and a step that is set comes back to the old ones") {
  Graph graph;
  const Output numbers = random_uniform(graph, {100});
  Session session(graph);
  const Tensor first = session.run(numbers), second = session.run(numbers);
  CHECK_FALSE(same(first, second));
  session.set_step(0);
  CHECK(same(first, session.run(numbers)));
  CHECK(same(second, session.run(numbers)));
}

TEST_CASE("nodes draw numbers of their own, by name") {
  Graph graph;
  const Output a = random_normal(graph, {kMany}), b = random_normal(graph, {kMany});
  const auto both = Session(graph).run({}, {a, b});
  const auto x = both[0].span<float>(), y = both[1].span<float>();
  const double products = std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
  CHECK(std::fabs(products / kMany) < 0.01);
  // Neither other nodes nor how much is drawn change a node's numbers.
  const Tensor few = draw([](Graph& g) {
    constant(g, Tensor(1.f));
    return random_normal(g, {10});
  });
  CHECK(std::ranges::equal(few.span<float>(), x.first(10)));
}

TEST_CASE("dropout keeps a share of the elements, scaled, and everything when not training") {
  Graph graph;
  const Output training = placeholder(graph, boolean, {}, "training");
  const Output x = placeholder(graph, float32, {any, 10});
  const Output y = dropout(x, 0.25, training);
  const Output grad = gradients({y}, {x})[0];
  Session session(graph);
  const Tensor ones = Tensor::full(float32, {20000, 10}, 1);
  const auto on = session.run({{x, ones}, {training, Tensor(true)}}, {y, grad});
  std::int64_t kept = 0;
  bool scaled = true;
  for (const float value : on[0].span<float>()) {
    kept += value != 0;
    scaled = scaled && (value == 0 || value == static_cast<float>(1 / 0.75));
  }
  CHECK(scaled);
  CHECK(std::fabs(static_cast<double>(kept) / 200000 - 0.75) < 0.005);
  // The gradient goes the way of the value.
  CHECK(same(on[0], on[1]));
  CHECK(same(session.run({{x, ones}, {training, Tensor(false)}}, y), ones));
}

TEST_CASE("float32 and float64 drop the same elements") {
  const auto mask = [](DType dtype) {
    return draw(
        [=](Graph& g) { return dropout_mask({1001}, dtype, 0.5, constant(g, Tensor(true))); });
  };
  CHECK(same(mask(float32), mask(float64)));
}
TEST_CASE("random: categorical draws classes as often as their probabilities say") {
  Graph graph;
  const float inf = std::numeric_limits<float>::infinity();
  const Output row = constant(graph, Tensor{0.f, std::log(2.f), -inf, std::log(5.f)});
  const Output logits = broadcast_to(row, {40000, 4});
  const Output drawn = categorical(logits), across = categorical(transpose(logits), 0);
  const std::vector<Tensor> one =
      Session(graph, {.seed = 5, .threads = 1}).run({}, {drawn, across});
  const std::vector<Tensor> three =
      Session(graph, {.seed = 5, .threads = 3}).run({}, {drawn, across});
  for (std::size_t i = 0; i < 2; ++i) {
    REQUIRE(one[i].dtype() == int64);
    REQUIRE(one[i].shape() == Shape{40000});
    double counts[4] = {};
    for (const std::int64_t index : one[i].span<std::int64_t>()) ++counts[index];
    CHECK(counts[0] / 40000 == doctest::Approx(0.125).epsilon(0.05));
    CHECK(counts[1] / 40000 == doctest::Approx(0.25).epsilon(0.05));
    CHECK(counts[2] == 0);
    CHECK(counts[3] / 40000 == doctest::Approx(0.625).epsilon(0.05));
    CHECK(std::memcmp(one[i].raw(), three[i].raw(), one[i].bytes()) == 0);
  }
}
