#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"

/// What rows cannot show of reductions: size, accuracy, threads, ties and errors.
using namespace gradgraph;
using tests::contains;
using tests::message_of;

namespace {

std::string at_line(unsigned line) {
  return "(test_reductions.cpp:" + std::to_string(line) + ")";
}

/// Small whole numbers, whose sums are exact in any order.
Tensor whole_numbers(DType dtype, const Shape& shape, unsigned seed) {
  std::mt19937 generator(seed);
  Tensor tensor(float64, shape);
  for (double& value : tensor.span<double>()) value = static_cast<double>(generator() % 200);
  return tensor.cast(dtype);
}

using Combine = double (*)(double, double);

/// The reduction of `x` over the axes in `reduced` (bits), by a loop over every element.
std::vector<double> by_hand(const Tensor& x, std::uint32_t reduced, double start,
                            Combine combine) {
  const Shape& shape = x.shape();
  std::int64_t results = 1;
  for (int axis = 0; axis < shape.rank(); ++axis)
    if ((reduced >> axis & 1u) == 0) results *= shape[axis];
  std::vector<double> totals(static_cast<std::size_t>(results), start);
  const Tensor values = x.cast(float64);
  for (std::int64_t i = 0; i < x.num_elements(); ++i) {
    std::int64_t rest = i, stride = 1, at = 0;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const std::int64_t index = rest % shape[axis];
      rest /= shape[axis];
      if (reduced >> axis & 1u) continue;
      at += index * stride;
      stride *= shape[axis];
    }
    double& total = totals[static_cast<std::size_t>(at)];
    total = combine(total, values.data<double>()[i]);
  }
  return totals;
}

std::vector<std::int64_t> axes_of(std::uint32_t reduced) {
  std::vector<std::int64_t> axes;
  for (int axis = 0; axis < Shape::kMaxRank; ++axis)
    if (reduced >> axis & 1u) axes.push_back(axis);
  return axes;
}

}  // namespace

TEST_CASE("reductions: every choice of axes of large shapes, for any number of threads") {
  const Shape shapes[] = {{40000},      {3, 40001},     {40001, 3},         {700, 130},
                          {2, 700, 65}, {9, 5, 17, 33}, {3, 2, 5, 2, 7, 4}, {2, 1, 17000, 2}};
  for (const Shape& shape : shapes) {
    const Tensor x = whole_numbers(float32, shape, 1);
    for (std::uint32_t reduced = 0; reduced < 1u << shape.rank(); ++reduced) {
      Graph graph;
      const Output in = placeholder(graph, float32, shape);
      const std::vector<Output> fetches = {sum(in, axes_of(reduced)), max(in, axes_of(reduced)),
                                           min(in, axes_of(reduced), true)};
      const std::vector<double> expected[] = {
          by_hand(x, reduced, 0, [](double a, double b) { return a + b; }),
          by_hand(x, reduced, -1, [](double a, double b) { return std::max(a, b); }),
          by_hand(x, reduced, 1e9, [](double a, double b) { return std::min(a, b); })};
      for (const int threads : {1, 3}) {
        const auto results = Session(graph, {.threads = threads}).run({{in, x}}, fetches);
        for (std::size_t i = 0; i < fetches.size(); ++i) {
          const auto values = results[i].span<float>();
          CHECK_MESSAGE(
              std::equal(values.begin(), values.end(), expected[i].begin(), expected[i].end()),
              fetches[i].name() << " of " << shape << " over " << reduced << " with " << threads
                                << " threads");
        }
      }
    }
  }
}

TEST_CASE("reductions: a float32 sum of many keeps its digits, whatever the threads") {
  const std::int64_t n = 5'000'000;
  Tensor x(float32, {n});
  double exact = 0;
  std::mt19937 generator(3);
  for (float& value : x.span<float>()) {
    value = static_cast<float>(generator() % 1000) / 1000.f + 0.05f;
    exact += static_cast<double>(value);
  }
  Graph graph;
  const Output in = placeholder(graph, float32, {any}),
               wide = placeholder(graph, float32, {any, 5});
  const Tensor folded = x.reshaped({n / 5, 5});
  const std::vector<Output> fetches = {sum(in), mean(in), sum(wide), sum(sum(wide, 0)),
                                       sum(sum(wide, 1))};
  std::vector<float> first;
  for (const int threads : {1, 2, 4}) {
    const auto results =
        Session(graph, {.threads = threads}).run({{in, x}, {wide, folded}}, fetches);
    std::vector<float> values;
    for (const Tensor& result : results) values.push_back(result.item<float>());
    for (const std::size_t i : {0u, 2u, 3u, 4u})
      CHECK(std::fabs(static_cast<double>(values[i]) / exact - 1) < 3e-7);
    CHECK(std::fabs(static_cast<double>(values[1]) * static_cast<double>(n) / exact - 1) < 3e-7);
    if (first.empty()) first = values;
    CHECK(values == first);
  }
}

TEST_CASE("reductions: indices along an axis of large shapes") {
  const Tensor x = whole_numbers(int32, {37, 311, 70}, 5);
  Graph graph;
  const Output in = placeholder(graph, int32, x.shape());
  const auto results =
      Session(graph, {.threads = 3}).run({{in, x}}, {argmax(in, 1), argmin(in, -1)});
  bool same = true;
  for (std::int64_t i = 0; i < 37; ++i)
    for (std::int64_t j = 0; j < 70; ++j) {
      std::int64_t best = 0;
      for (std::int64_t k = 1; k < 311; ++k)
        if (x.at<std::int32_t>({i, k, j}) > x.at<std::int32_t>({i, best, j})) best = k;
      same = same && results[0].at<std::int64_t>({i, j}) == best;
    }
  CHECK(same);
  for (std::int64_t i = 0; i < 37; ++i)
    for (std::int64_t k = 0; k < 311; ++k) {
      std::int64_t best = 0;
      for (std::int64_t j = 1; j < 70; ++j)
        if (x.at<std::int32_t>({i, k, j}) < x.at<std::int32_t>({i, k, best})) best = j;
      same = same && results[1].at<std::int64_t>({i, k}) == best;
    }
  CHECK(same);
}

TEST_CASE("reductions: the gradient of max is shared among equals") {
  Graph graph;
  const Output x = placeholder(graph, float64, {2, 4});
  const Output grad = gradients({max(x, 1) * Tensor{1., 6.}}, {x})[0];
  const Tensor value =
      Session(graph).run({{x, Tensor{{1., 3., 3., 2.}, {5., 5., 5., -1.}}}}, grad);
  const double expected[] = {0, 0.5, 0.5, 0, 2, 2, 2, 0};
  CHECK(std::ranges::equal(value.span<double>(), expected));
}

TEST_CASE("reductions: gradients with unknown dimensions") {
  Graph graph;
  const Output x = placeholder(graph, float64, {any, any});
  const auto grads = [&](Output y) { return gradients({y}, {x})[0]; };
  const std::vector<Output> fetches = {grads(mean(x)), grads(mean(x, 0)), grads(prod(x, 1)),
                                       grads(prod(x))};
  Session session(graph);
  const auto values = session.run({{x, Tensor{{0., 2.}, {3., 4.}}}}, fetches);
  const double expected[][4] = {
      {0.25, 0.25, 0.25, 0.25}, {0.5, 0.5, 0.5, 0.5}, {2, 0, 4, 3}, {24, 0, 0, 0}};
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(std::ranges::equal(values[i].span<double>(), expected[i]));
  CHECK(session.run({{x, Tensor(float64, {0, 2})}}, fetches)[1].shape() == Shape{0, 2});
}

TEST_CASE("reductions: the spread of equal elements is 0, and so is its gradient") {
  for (const DType dtype : {float32, float64})
    for (const double value : {0.1, 0.7, 1.0 / 3, -123.456, 1e30})
      for (const std::int64_t n : {1, 3, 5, 7, 10, 1000, 65537}) {
        Graph graph;
        const Output x = placeholder(graph, dtype, {2, n});
        const Output spread = stddev(x, 1);
        const Output first = gradients({spread}, {x})[0];
        const Output second = gradients({sum(2 * first)}, {x})[0];
        const auto values = Session(graph).run({{x, Tensor::full(dtype, {2, n}, value)}},
                                               {var(x, 1), spread, first, second});
        for (const Tensor& zeros : values) {
          const Tensor wide = zeros.cast(float64);
          CHECK_MESSAGE(std::ranges::all_of(wide.span<double>(), [](double z) { return z == 0; }),
                        n << " times " << value << " of " << dtype);
        }
      }
}

TEST_CASE("reductions: derivatives of a product at zeros, of unknown extents as of known ones") {
  const Tensor x = {{{2., 0., -3.}, {0., 4., 1.5}}, {{0.5, 1., -2.}, {3., 0., 0.}}};
  const auto derivatives = [&](const Shape& shape) {
    Graph graph;
    const Output in = placeholder(graph, float64, shape);
    std::vector<Output> fetches;
    for (const Axes& axes : {Axes{2}, Axes{0, 2}, Axes()}) {
      const Output first = gradients({prod(in, axes)}, {in})[0];
      const Tensor weights = {1., 2., 3.};
      const Output second = gradients({sum(first * weights)}, {in})[0];
      fetches.insert(fetches.end(), {first, second, gradients({sum(second)}, {in})[0]});
    }
    return Session(graph).run({{in, x}}, fetches);
  };
  const auto known = derivatives({2, 2, 3}), unknown = derivatives({any, any, any});
  for (std::size_t i = 0; i < known.size(); ++i)
    CHECK(std::ranges::equal(known[i].span<double>(), unknown[i].span<double>()));
  // By hand, over the last axis: what each is multiplied by, and that of it, weighted.
  const double first[] = {0, -6, 0, 6, 0, 0, -2, -1, 0.5, 0, 0, 0};
  const double second[] = {-6, 3, 4, 15, 1.5, 4, -1, -0.5, 2, 0, 9, 6};
  CHECK(std::ranges::equal(known[0].span<double>(), first));
  CHECK(std::ranges::equal(known[1].span<double>(), second));
}

TEST_CASE("reductions: what does not fit is refused where it is written") {
  Graph graph;
  const Output x = placeholder(graph, float32, {2, 0, 3}, "x");
  const Output n = placeholder(graph, int32, {3}, "n");
  const Output b = placeholder(graph, boolean, {3}, "b");
  const Output u = placeholder(graph, uint8, {3}, "u");
  const Axes outside = {0, -4}, twice = {1, -2};
  struct Case {
    unsigned line;
    std::function<void()> build;
    std::string expected;
  };
  const Case cases[] = {
      {__LINE__, [&] { sum(x, 3); }, "[sum] 'sum': axis 3 is outside [-3,3): float32[2,0,3]"},
      {__LINE__, [&] { mean(x, outside); }, "[mean] 'mean': axis -4 is outside [-3,3)"},
      {__LINE__, [&] { prod(x, twice); }, "[prod] 'prod': axis 1 is named twice"},
      {__LINE__, [&] { mean(n); },
       "[mean] 'mean': input 0 must be of a floating dtype, not int32"},
      {__LINE__, [&] { sum(b); }, "[sum] 'sum': input 0 must be"},
      {__LINE__, [&] { sum(u); }, "not uint8"},
      {__LINE__, [&] { max(b); }, "[max] 'max': input 0 must be"},
      {__LINE__, [&] { max(x, 1); },
       "[max] 'max': there is no largest or smallest of no elements"},
      {__LINE__, [&] { min(x, 1); }, "[min] 'min': there is no largest or smallest"},
      {__LINE__, [&] { max(x); }, "there is no largest or smallest of no elements"},
      {__LINE__, [&] { argmax(x, 1); }, "[argmax] 'argmax': there is no largest"},
      {__LINE__, [&] { argmin(x, 7); }, "[argmin] 'argmin': axis 7 is outside [-3,3)"},
      {__LINE__, [&] { argmax(b, 0); }, "[argmax] 'argmax': input 0 must be"},
      {__LINE__, [&] { sum(Output()); }, "[sum] 'sum': input 0 is empty"},
      {__LINE__, [&] { argmax(Output(), 0); }, "[argmax] 'argmax': input 0 is empty"},
  };
  for (const Case& test : cases) {
    const std::string message = message_of<BuildError>(test.build);
    CHECK_MESSAGE(contains(message, test.expected), message);
    CHECK_MESSAGE(contains(message, at_line(test.line)), message);
  }
  CHECK(max(x, 0).shape() == Shape{0, 3});
}

TEST_CASE("reductions: an axis that turns out empty is refused by the run") {
  Graph graph;
  const Output x = placeholder(graph, float32, {2, any});
  const Output top = max(x, 1), index = argmin(x, 1);
  const unsigned line = __LINE__ - 1;
  Session session(graph);
  for (const Output fetch : {top, index}) {
    const std::string message = message_of<RunError>([&] {
      session.run({{x, Tensor(float32, {2, 0})}}, fetch);
    });
    CHECK_MESSAGE(contains(message, "there is no largest or smallest of no elements"), message);
    CHECK_MESSAGE(contains(message, at_line(line)), message);
  }
  CHECK(session.run({{x, Tensor(float32, {2, 0})}}, sum(x, 1)).at<float>({1}) == 0);
  CHECK(session.run({{x, Tensor{{1.f}, {2.f}}}}, top).at<float>({1}) == 2);
}
