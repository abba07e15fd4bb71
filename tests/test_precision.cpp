#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "noise.h"
#include "op_row_graph.h"
#include "passes/lower_precision.h"
#include "tests_folder.h"

/// SessionOptions::precision, and the loss scale that float16 needs.
namespace gg = gradgraph;
using gg::Output;
using gg::Precision;
using gg::Tensor;
using gg::tests::close;
using gg::tests::contains;
using gg::tests::message_of;
using gg::tests::normal_noise;
using gg::tests::same_bits;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Tensor run(gg::Graph& graph, const Output& fetch, Precision precision) {
  return gg::Session(graph, {.device = "cpu", .precision = precision}).run(fetch);
}

/// A few layers of all kinds, and what trains them.
struct Network {
  explicit Network(const gg::Optimizer& optimizer) {
    x = gg::placeholder(graph, gg::float32, {gg::any, 8, 8, 1}, "x");
    labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
    Output y = gg::nn::conv2d(x, {.filters = 4, .kernel = 3, .activation = gg::relu});
    y = gg::nn::max_pool2d(y);
    y = gg::nn::dense(gg::nn::flatten(y), {.units = 16, .activation = gg::tanh});
    y = gg::nn::layer_norm(y);
    y = gg::nn::dense(y, {.units = 3});
    loss = gg::mean(gg::sparse_softmax_cross_entropy(y, labels));
    train = optimizer.minimize(loss);
  }

  std::vector<float> losses(const gg::SessionOptions& options, int steps) {
    gg::Session session(graph, options);
    gg::Callable step = session.prepare({x, labels}, {loss, train});
    std::vector<float> values;
    for (int i = 0; i < steps; ++i)
      values.push_back(step(normal_noise({6, 8, 8, 1}, 3),
                            Tensor{std::int64_t{0}, std::int64_t{1}, std::int64_t{2},
                                   std::int64_t{0}, std::int64_t{1}, std::int64_t{2}})[0]
                           .item<float>());
    return values;
  }

  gg::Graph graph;
  Output x, labels, loss, train;
};

Output variable_named(gg::Graph& graph, const std::string& name) {
  for (const Output& variable : gg::variables(graph))
    if (variable.name() == name) return variable;
  FAIL("there is no variable ", name);
  return {};
}

/// One variable, and a loss whose gradient by it is `factor`, which is fed.
struct Scaled {
  explicit Scaled(gg::LossScale scale, double rate = 1) {
    factor = gg::placeholder(graph, gg::float32, {2}, "factor");
    weight = gg::variable(graph, Tensor{1.f, 1.f}, "weight");
    train =
        gg::GradientDescent{.learning_rate = rate, .momentum = 0.5, .loss_scale = scale}.minimize(
            gg::sum(weight * factor));
  }
  float scale(gg::Session& session) {
    return session.value(variable_named(graph, "loss_scaling/scale")).item<float>();
  }

  gg::Graph graph;
  Output factor, weight, train;
};

}  // namespace

TEST_SUITE("precision") {
  TEST_CASE("products and what follows them are of 16 bits, as if they were written so") {
    for (const auto& half_precision :
         {std::pair{Precision::bf16, gg::bfloat16}, {Precision::fp16, gg::float16}}) {
      const Precision precision = half_precision.first;
      const gg::DType dtype = half_precision.second;
      CAPTURE(dtype);
      gg::Graph graph;
      const auto x = gg::variable(graph, normal_noise({5, 7}, 1)),
                 w = gg::variable(graph, normal_noise({7, 3}, 2)),
                 bias = gg::variable(graph, normal_noise({3}, 3));
      const auto half = [&](const Output& value) { return gg::cast(value, dtype); };
      const auto wide = [&](const Output& value) { return gg::cast(value, gg::float32); };
      const auto plain = gg::relu(gg::bias_add(gg::matmul(x, w), bias));
      const auto written = gg::relu(gg::bias_add(gg::matmul(half(x), half(w)), half(bias)));
      CHECK(same_bits(run(graph, plain, precision), run(graph, wide(written), Precision::fp32)));
      CHECK(!same_bits(run(graph, plain, precision), run(graph, plain, Precision::fp32)));
      // What adds up is calculated in float32, of what is stored.
      CHECK(same_bits(run(graph, gg::sum(plain), precision),
                      run(graph, gg::sum(wide(written)), Precision::fp32)));
      CHECK(same_bits(run(graph, gg::exp(plain), precision),
                      run(graph, gg::exp(wide(written)), Precision::fp32)));
    }
  }

  TEST_CASE("what multiplies nothing is as it was, and so are other dtypes") {
    gg::Graph graph;
    const auto x = gg::variable(graph, normal_noise({64}, 1));
    const auto plain = gg::tanh(x * 3 + 1) - x;
    CHECK(same_bits(run(graph, plain, Precision::bf16), run(graph, plain, Precision::fp32)));
    const auto exact = gg::variable(graph, normal_noise({8, 8}, 2).cast(gg::float64));
    const auto product = gg::matmul(exact, exact);
    CHECK(same_bits(run(graph, product, Precision::bf16), run(graph, product, Precision::fp32)));
  }

  TEST_CASE("variables and their updates stay float32") {
    // Steps of a thousandth of a percent, which 16 bits would round away.
    gg::Graph graph;
    const auto w = gg::variable(graph, Tensor{{1.f}, {1.f}}, "w");
    const auto loss = gg::sum(gg::matmul(gg::constant(graph, Tensor{{1.f, 2.f}}), w));
    const auto train = gg::GradientDescent{.learning_rate = 1e-5, .momentum = 0.9}.minimize(loss);
    for (const Precision precision : {Precision::bf16, Precision::fp16, Precision::fp32}) {
      gg::Session session(graph, {.device = "cpu", .precision = precision});
      for (int step = 0; step < 3; ++step) session.run({}, {train});
      CHECK(session.value(w).dtype() == gg::float32);
      CHECK(close(session.value(w), Tensor{{1 - 5.61e-5f}, {1 - 11.22e-5f}}, 1e-7));
    }
  }

  TEST_CASE("a network trains to about the same losses, whatever its layers") {
    Network network(gg::Adam{.learning_rate = 1e-2, .loss_scale = {.initial = 1024}});
    const auto expected = network.losses({.device = "cpu", .seed = 1}, 30);
    REQUIRE(expected.back() < 0.5f * expected.front());
    for (const Precision precision : {Precision::bf16, Precision::fp16}) {
      for (const bool exact : {false, true}) {
        const auto losses = network.losses(
            {.device = "cpu", .seed = 1, .exact_rewrites = exact, .precision = precision}, 30);
        for (std::size_t i = 0; i < losses.size(); ++i)
          CHECK(losses[i] == doctest::Approx(expected[i]).epsilon(0.05).scale(expected[0]));
      }
    }
    CHECK(network.losses({.device = "cpu", .seed = 1, .precision = Precision::tf32}, 30) ==
          expected);
  }

  TEST_CASE("every op row runs, and gives about what it gives in float32") {
    for (const gg::tests::OpRow& row : gg::tests::op_rows()) {
      CAPTURE(row.name);
      if (row.inputs.empty()) continue;  // makes a graph of its own
      gg::tests::RowGraph made(row, row.inputs, gg::tests::Dims::known);
      const auto fetches = gg::tests::with_gradients(row, made.inputs, made.outputs);
      const auto run_in = [&](Precision precision) {
        return gg::Session(made.graph, {.device = "cpu", .precision = precision})
            .run(made.feeds, fetches);
      };
      const auto expected = run_in(Precision::fp32), actual = run_in(Precision::bf16);
      for (std::size_t i = 0; i < fetches.size(); ++i) {
        REQUIRE(actual[i].dtype() == expected[i].dtype());
        REQUIRE(actual[i].shape() == expected[i].shape());
        if (actual[i].dtype() != gg::float32) continue;
        float largest = 1;
        for (const float x : expected[i].span<float>())
          if (std::isfinite(x)) largest = std::max(largest, std::fabs(x));
        for (std::int64_t k = 0; k < expected[i].num_elements(); ++k) {
          const float x = expected[i].data<float>()[k], y = actual[i].data<float>()[k];
          CHECK_MESSAGE((std::isfinite(x) ? std::fabs(x - y) <= 0.05f * largest
                                          : std::isnan(x) == std::isnan(y)),
                        i << "[" << k << "]: " << y << " for " << x);
        }
      }
    }
  }

  TEST_CASE("a node that waits for others, or reads a new value, is left as it is") {
    gg::Graph graph;
    const auto w = gg::variable(graph, normal_noise({4, 4}, 1), "w");
    const auto doubled = gg::assign(w, w * 2);
    const auto late = gg::matmul(doubled, doubled);
    gg::Session session(graph, {.device = "cpu", .precision = Precision::bf16});
    gg::Session plain(graph, {.device = "cpu"});
    CHECK(same_bits(session.run(late), plain.run(late)));
  }

  TEST_CASE("check_passes compares in float32") {
    Network network(gg::Adam{.learning_rate = 1e-2});
    CHECK(network.losses({.device = "cpu", .precision = Precision::bf16, .check_passes = true}, 2)
              .size() == 2);
  }

  TEST_CASE("docs/ops.md lists what is lowered") {
    std::ifstream file(GRADGRAPH_TESTS_FOLDER "/../docs/ops.md");
    const std::string page(std::istreambuf_iterator<char>(file), {});
    const auto begin = page.find("## Precision\n"), end = page.find("\n## ", begin + 1);
    REQUIRE(begin != std::string::npos);
    const std::string section = page.substr(begin, end - begin);
    std::string products, followers;
    for (const std::string_view op : gg::kLoweredProducts)
      products += (products.empty() ? "`" : ", `") + std::string(op) + "`";
    for (const std::string_view op : gg::kLoweredFollowers)
      followers += (followers.empty() ? "`" : ", `") + std::string(op) + "`";
    CHECK_MESSAGE(contains(section, "| " + products + " |"), products);
    CHECK_MESSAGE(contains(section, "| " + followers + " |"), followers);
  }
}

TEST_SUITE("loss scale") {
  TEST_CASE("a power of two changes no bit where nothing vanishes") {
    const auto losses = [](gg::LossScale scale) {
      return Network(gg::Adam{.learning_rate = 1e-2, .loss_scale = scale})
          .losses({.device = "cpu", .seed = 1}, 20);
    };
    CHECK(losses({}) == losses({.initial = 1024, .growth_steps = 7}));
  }

  TEST_CASE("gradients that float16 has no number for arrive") {
    for (const bool scales : {false, true}) {
      gg::Graph graph;
      const auto w = gg::variable(graph, Tensor{{1.f}}, "w");
      const auto x = gg::placeholder(graph, gg::float32, {1, 1});
      const auto loss =
          gg::sum(gg::matmul(gg::matmul(x, w), gg::constant(graph, Tensor{{1e-4f}}))) * 1e-4f;
      const auto train = gg::GradientDescent{.learning_rate = 1e6,
                                             .loss_scale = {.initial = scales ? 65536. : 0.}}
                             .minimize(loss);
      gg::Session session(graph, {.device = "cpu", .precision = Precision::fp16});
      session.run({{x, Tensor{{1.f}}}}, {train});
      const float moved = 1 - session.value(w).item<float>();
      if (scales)
        CHECK(moved == doctest::Approx(0.01).epsilon(0.01));
      else
        CHECK(moved == 0);
    }
  }

  TEST_CASE("a step that overflows moves nothing, halves the scale, and is not counted") {
    Scaled model({.initial = 64, .growth_steps = 3});
    gg::Session session(model.graph, {.device = "cpu"});
    const auto step = [&](float a, float b) {
      session.run({{model.factor, Tensor{a, b}}}, {model.train});
    };
    const auto count = [&] {
      return session.value(variable_named(model.graph, "train/step")).item<std::int64_t>();
    };
    step(1, 2);
    const Tensor before = session.value(model.weight);
    CHECK(same_bits(before, Tensor{0.f, -1.f}));
    for (const float bad : {kInfinity, -kInfinity, std::nanf("")}) {
      const float scale = model.scale(session);
      step(bad, 1);
      CHECK(same_bits(session.value(model.weight), before));
      CHECK(model.scale(session) == scale / 2);
    }
    CHECK(count() == 1);
    // Three good ones in a row; bad ones begin anew. The momentum is what it was.
    for (int i = 0; i < 2; ++i) step(0, 0);
    CHECK(model.scale(session) == 8);
    CHECK(same_bits(session.value(model.weight), Tensor{-0.75f, -2.5f}));
    step(0, 0);
    CHECK(model.scale(session) == 16);
    for (int i = 0; i < 10; ++i) step(kInfinity, 0);
    CHECK(model.scale(session) == 1);
    CHECK(count() == 4);
  }

  TEST_CASE("what it cannot be is refused with the line") {
    for (const gg::LossScale scale : {gg::LossScale{.initial = -1},
                                      {.initial = kInfinity},
                                      {.initial = std::nan("")},
                                      {.initial = 1, .growth_steps = -1}}) {
      const std::string message = message_of<gg::BuildError>([&] { Scaled{scale}; });
      CHECK_MESSAGE(contains(message, "gradient_descent: a loss scale must be finite"), message);
      CHECK_MESSAGE(contains(message, "test_precision.cpp:"), message);
    }
    gg::Graph graph;
    const auto w = gg::variable(graph, Tensor{1.f}, "w");
    const int nodes = graph.num_nodes();
    const auto pairs = std::vector<gg::GradientPair>{{w, gg::constant(graph, Tensor{1.f})}};
    const std::string message = message_of<gg::BuildError>(
        [&] { gg::Adam{.loss_scale = gg::LossScale::dynamic()}.apply(pairs); });
    CHECK_MESSAGE(contains(message, "adam: apply takes gradients as they are"), message);
    CHECK(graph.num_nodes() == nodes + 1);
  }
}
