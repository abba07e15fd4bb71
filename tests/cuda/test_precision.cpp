#include <doctest/doctest.h>

#include <random>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "settings.h"

/// Products in 16 bits and in TF32 on the GPU.
namespace gg = gradgraph;
using gg::Output;
using gg::Precision;
using gg::Tensor;
using gg::tests::same_bits;

namespace {

Tensor normal(gg::Shape shape, std::uint64_t seed) {
  Tensor tensor(gg::float32, shape);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> draw;
  for (float& x : tensor.span<float>()) x = draw(random);
  return tensor;
}

/// Images through a convolution, a pool and two dense layers; its losses, and all variables.
std::vector<Tensor> trained(const std::string& device, Precision precision, bool record = true) {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {4, 8, 8, 3}, "x");
  const auto labels = gg::constant(
      graph, Tensor{std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, std::int64_t{1}});
  Output y = gg::nn::conv2d(x, {.filters = 8, .kernel = 3, .activation = gg::relu});
  y = gg::nn::flatten(gg::nn::max_pool2d(y));
  y = gg::nn::dense(y, {.units = 24, .activation = gg::relu});
  y = gg::nn::dense(y, {.units = 3});
  const auto loss = gg::mean(gg::sparse_softmax_cross_entropy(y, labels));
  const auto scale = precision == Precision::fp16 ? gg::LossScale::dynamic() : gg::LossScale();
  const auto train = gg::Adam{.learning_rate = 3e-3, .loss_scale = scale}.minimize(loss);
  gg::Session session(graph, {.device = device,
                              .seed = 3,
                              .threads = 1,
                              .precision = precision,
                              .record_steps = record});
  gg::Callable step = session.prepare({x}, {loss, train});
  std::vector<Tensor> values;
  for (std::uint64_t i = 0; i < 8; ++i)
    values.push_back(step({normal({4, 8, 8, 3}, i % 2)})[0].clone());
  for (const Output& variable : gg::variables(graph)) values.push_back(session.value(variable));
  return values;
}

}  // namespace

TEST_SUITE("cuda precision") {
  TEST_CASE("training in 16 bits and in TF32 goes as on the CPU, recorded or not") {
    for (const Precision precision : {Precision::tf32, Precision::bf16, Precision::fp16}) {
      CAPTURE(static_cast<int>(precision));
      const auto expected = trained("cpu", precision), plain = trained("cuda", precision, false);
      CHECK(plain[7].item<float>() < plain[0].item<float>());
      for (std::size_t i = 0; i < 8; ++i)
        CHECK(plain[i].item<float>() == doctest::Approx(expected[i].item<float>()).epsilon(0.03));
      gg::tests::in_every_order([&] {
        const auto recorded = trained("cuda", precision);
        for (std::size_t i = 0; i < plain.size(); ++i) CHECK(same_bits(recorded[i], plain[i]));
      });
    }
  }

  TEST_CASE("TF32 rounds what is multiplied, where it is asked for") {
    gg::Graph graph;
    const auto a = gg::variable(graph, normal({32, 64}, 1)),
               b = gg::variable(graph, normal({64, 32}, 2));
    const auto product = gg::matmul(a, b);
    const auto run = [&](const char* device, Precision precision) {
      return gg::Session(graph, {.device = device, .precision = precision}).run(product);
    };
    const Tensor exact = run("cpu", Precision::fp32), rounded = run("cuda", Precision::tf32);
    CHECK(same_bits(run("cpu", Precision::tf32), exact));
    CHECK(gg::tests::close(run("cuda", Precision::fp32), exact, 1e-5));
    CHECK(gg::tests::close(rounded, exact, 2e-2));
    CHECK(!gg::tests::close(rounded, exact, 1e-5));
  }
}
