#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

/// Losses and their gradients against long double, calculated from the same float32 logits:
/// whatever the logits share, and however small the loss.
using namespace gradgraph;

namespace {

using Real = long double;

/// Logits of one shape, a row for each combination of offset, gap and label.
struct Sweep {
  Tensor logits, labels;
  std::int64_t classes = 0;
  std::vector<std::int64_t> tops = {};  ///< each row's largest logit
  std::vector<Real> rests = {};         ///< the sum of the others' exp(x - largest)

  std::int64_t rows() const { return labels.num_elements(); }
  std::int64_t label(std::int64_t row) const { return labels.data<std::int64_t>()[row]; }
  std::int64_t top(std::int64_t row) const { return tops[static_cast<std::size_t>(row)]; }
  Real rest(std::int64_t row) const { return rests[static_cast<std::size_t>(row)]; }
  Real x(std::int64_t row, std::int64_t i) const {
    return logits.data<float>()[row * classes + i];
  }

  void find_rests() {
    for (std::int64_t row = 0; row < rows(); ++row) {
      const float* from = logits.data<float>() + row * classes;
      tops.push_back(std::max_element(from, from + classes) - from);
      Real sum = 0;
      for (std::int64_t i = 0; i < classes; ++i)
        if (i != tops.back()) sum += std::exp(x(row, i) - x(row, tops.back()));
      rests.push_back(sum);
    }
  }

  /// -log softmax of one class of a row.
  Real loss(std::int64_t row, std::int64_t i) const {
    return std::log1p(rest(row)) + (x(row, top(row)) - x(row, i));
  }
  Real probability(std::int64_t row, std::int64_t i) const {
    return std::exp(x(row, i) - x(row, top(row))) / (1 + rest(row));
  }
  /// By the logit of class i, of the loss of the row's label.
  Real grad(std::int64_t row, std::int64_t i) const {
    if (i != label(row)) return probability(row, i);
    return i == top(row) ? -rest(row) / (1 + rest(row)) : probability(row, i) - 1;
  }
};

constexpr double kOffsets[] = {0, 1e2, 1e4, 1e6, 1e8, -1e4, -1e8};
/// How far the other classes' logits are behind the first one's.
constexpr double kGaps[] = {0, 1e-3, 0.1, 0.7, 3, 5, 9, 14, 20, 33, 60, 86};

Sweep make_sweep(std::int64_t classes) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<double> spread(0, 1);
  std::vector<float> logits;
  std::vector<std::int64_t> labels;
  for (const double offset : kOffsets)
    for (const double gap : kGaps)
      for (const std::int64_t label : {std::int64_t{0}, classes / 2, classes - 1}) {
        labels.push_back(label);
        const double top = offset + spread(generator);
        for (std::int64_t i = 0; i < classes; ++i)
          logits.push_back(
              static_cast<float>(i == 0 ? top : top - gap * (1 + spread(generator))));
      }
  const auto rows = static_cast<std::int64_t>(labels.size());
  Sweep sweep{Tensor::from(logits, {rows, classes}), Tensor::from(labels, {rows}), classes};
  sweep.find_rests();
  return sweep;
}

double relative_error(double actual, Real expected) {
  if (!std::isfinite(actual)) return std::numeric_limits<double>::infinity();
  // Below are denormal numbers, which have fewer digits.
  if (std::fabs(expected) < std::numeric_limits<float>::min()) return 0;
  return static_cast<double>(std::fabs(static_cast<Real>(actual) - expected) /
                             std::fabs(expected));
}

double worst_loss(const Sweep& sweep, const Tensor& losses) {
  double worst = 0;
  for (std::int64_t row = 0; row < sweep.rows(); ++row)
    worst = std::max(
        worst, relative_error(losses.data<float>()[row], sweep.loss(row, sweep.label(row))));
  return worst;
}

/// Of a gradient's error beside the largest element of its row.
double worst_grad(const Sweep& sweep, const Tensor& grads) {
  double worst = 0;
  for (std::int64_t row = 0; row < sweep.rows(); ++row) {
    const Real largest = std::fabs(sweep.grad(row, sweep.label(row)));
    if (largest < std::numeric_limits<float>::min()) continue;
    for (std::int64_t i = 0; i < sweep.classes; ++i) {
      const Real error =
          static_cast<Real>(grads.data<float>()[row * sweep.classes + i]) - sweep.grad(row, i);
      worst = std::max(worst, static_cast<double>(std::fabs(error) / largest));
    }
  }
  return worst;
}

/// The ways to calculate: as it comes, as written, and with the reference kernels.
struct Mode {
  std::string name;
  SessionOptions options;
};
std::vector<Mode> modes() {
  return {{"as it comes", {.threads = 2}},
          {"without fusion", {.threads = 2, .disabled_passes = {"fuse_cross_entropy"}}},
          {"reference kernels", {.threads = 1, .reference_kernels = true}}};
}

constexpr std::int64_t kClasses[] = {1, 2, 3, 10, 100, 1000};

}  // namespace

TEST_SUITE("accuracy") {
  TEST_CASE("cross entropy: four equal logits have the loss log(4), wherever they are") {
    Graph graph;
    const Output x = placeholder(graph, float32, {4}),
                 label = constant(graph, Tensor(std::int64_t{2}));
    const Output quarter = constant(graph, Tensor::full(float32, {4}, 0.25));
    const Output sparse = sparse_softmax_cross_entropy(x, label);
    const Output dense = softmax_cross_entropy(x, quarter);
    const Output written = -sum(quarter * log_softmax(x), -1);
    for (const Mode& mode : modes())
      for (const double offset : {0.0, 1e2, 1e4, 1e6, 1e8, 1e30, -1e8}) {
        CAPTURE(mode.name);
        CAPTURE(offset);
        for (const Output& loss : {sparse, dense, written}) {
          const auto found = Session(graph, mode.options)
                                 .run({{x, Tensor::full(float32, {4}, offset)}},
                                      {loss, gradients({loss}, {x})[0]});
          CHECK(found[0].item<float>() == doctest::Approx(1.3862944f).epsilon(1e-7));
        }
      }
  }

  TEST_CASE("cross entropy: losses of class numbers, and their gradients") {
    for (const std::int64_t classes : kClasses) {
      const Sweep sweep = make_sweep(classes);
      Graph graph;
      const Output x = placeholder(graph, float32, sweep.logits.shape());
      const Output labels = placeholder(graph, int64, sweep.labels.shape());
      const Output loss = sparse_softmax_cross_entropy(x, labels);
      const Output grad = gradients({loss}, {x})[0];
      const Feeds feeds = {{x, sweep.logits}, {labels, sweep.labels}};
      for (const Mode& mode : modes()) {
        CAPTURE(classes);
        CAPTURE(mode.name);
        Session session(graph, mode.options);
        CHECK(worst_loss(sweep, session.run(feeds, loss)) <= 1e-6);
        const auto both = session.run(feeds, {loss, grad});
        CHECK(worst_loss(sweep, both[0]) <= 1e-6);
        CHECK(worst_grad(sweep, both[1]) <= 1e-6);
      }
    }
  }

  TEST_CASE("cross entropy: losses of probabilities, also where these do not add up to 1") {
    for (const std::int64_t classes : kClasses) {
      const Sweep sweep = make_sweep(classes);
      Graph graph;
      const Output x = placeholder(graph, float32, sweep.logits.shape());
      const Output labels = placeholder(graph, float32, sweep.logits.shape());
      const Output given = softmax_cross_entropy(x, labels);
      const Output written = -sum(labels * log_softmax(x), -1);
      for (const double others : {0.0, 0.25}) {
        Tensor shares = Tensor::full(float32, sweep.logits.shape(), others);
        std::vector<Real> expected;
        for (std::int64_t row = 0; row < sweep.rows(); ++row) {
          shares.data<float>()[row * classes + sweep.label(row)] = 0.5f;
          Real sum = 0;
          for (std::int64_t i = 0; i < classes; ++i)
            sum +=
                static_cast<Real>(shares.data<float>()[row * classes + i]) * sweep.loss(row, i);
          expected.push_back(sum);
        }
        const Feeds feeds = {{x, sweep.logits}, {labels, shares}};
        for (const Mode& mode : modes())
          for (const Output& loss : {given, written}) {
            CAPTURE(classes);
            CAPTURE(mode.name);
            CAPTURE(loss.name());
            CAPTURE(others);
            const auto found =
                Session(graph, mode.options).run(feeds, {loss, gradients({loss}, {x})[0]});
            double worst = 0;
            for (std::int64_t row = 0; row < sweep.rows(); ++row)
              worst = std::max(worst, relative_error(found[0].data<float>()[row],
                                                     expected[static_cast<std::size_t>(row)]));
            CHECK(worst <= 1e-6);
          }
      }
    }
  }

  TEST_CASE("cross entropy: second derivatives of rows whose label is the largest") {
    const Sweep sweep = make_sweep(10);
    Graph graph;
    const Output x = placeholder(graph, float32, sweep.logits.shape());
    const Output labels = constant(graph, sweep.labels);
    std::vector<float> weights(static_cast<std::size_t>(sweep.logits.num_elements()));
    for (std::size_t i = 0; i < weights.size(); ++i)
      weights[i] = static_cast<float>(i * 7 % 10) / 2 - 2;
    const Output weight = constant(graph, Tensor::from(weights, sweep.logits.shape()));
    const Output grad = gradients({sparse_softmax_cross_entropy(x, labels)}, {x})[0];
    const Output second = gradients({sum(grad * weight)}, {x})[0];
    for (const Mode& mode : modes()) {
      CAPTURE(mode.name);
      const Tensor found = Session(graph, mode.options).run({{x, sweep.logits}}, second);
      for (std::int64_t row = 0; row < sweep.rows(); ++row) {
        if (sweep.label(row) != sweep.top(row)) continue;
        // p_i * sum_j p_j (w_i - w_j), which subtracts no sums of its own size.
        const float* w = weights.data() + row * 10;
        Real largest = 0, worst = 0;
        for (std::int64_t i = 0; i < 10; ++i) {
          Real expected = 0;
          for (std::int64_t j = 0; j < 10; ++j)
            expected +=
                sweep.probability(row, j) * (static_cast<Real>(w[i]) - static_cast<Real>(w[j]));
          expected *= sweep.probability(row, i);
          const auto actual = static_cast<Real>(found.data<float>()[row * 10 + i]);
          largest = std::max(largest, std::fabs(expected));
          worst = std::max(worst, std::fabs(actual - expected));
        }
        if (largest < std::numeric_limits<float>::min()) continue;
        CHECK(static_cast<double>(worst / largest) <= 1e-6);
      }
    }
  }

  TEST_CASE("log_softmax: every class, along any axis") {
    for (const std::int64_t classes : kClasses) {
      const Sweep sweep = make_sweep(classes);
      Graph graph;
      const Output x = constant(graph, sweep.logits);
      const Output rows = log_softmax(x), columns = log_softmax(transpose(x), 0);
      const auto found = Session(graph, {.disabled_passes = {"fold_constants"}})
                             .run({}, {rows, transpose(columns)});
      for (const Tensor& logs : found) {
        double worst = 0;
        for (std::int64_t row = 0; row < sweep.rows(); ++row)
          for (std::int64_t i = 0; i < classes; i += std::max<std::int64_t>(classes / 10, 1))
            worst = std::max(worst, relative_error(-logs.data<float>()[row * classes + i],
                                                   sweep.loss(row, i)));
        CHECK(worst <= 1e-6);
      }
    }
  }
}
