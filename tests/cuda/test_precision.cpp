#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "noise.h"
#include "settings.h"

/// Products in 16 bits and in TF32 on the GPU.
namespace gg = gradgraph;
using gg::Output;
using gg::Precision;
using gg::Tensor;
using gg::tests::normal_noise;
using gg::tests::same_bits;

namespace {

/// The largest difference, as part of the largest number.
double distance(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double largest = 0, difference = 0;
  for (std::int64_t i = 0; i < a.num_elements(); ++i) {
    const double x = a.data<float>()[i], y = b.data<float>()[i];
    largest = std::max(largest, std::fabs(y));
    difference = std::max(difference, std::fabs(x - y));
  }
  return difference / largest;
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
    values.push_back(step({normal_noise({4, 8, 8, 3}, i % 2)})[0].clone());
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

  TEST_CASE("TF32 rounds what is multiplied, where it is asked for, and nothing else") {
    gg::Graph graph;
    const auto given = [&](gg::Shape shape) {
      return gg::variable(graph,
                          normal_noise(shape, static_cast<std::uint64_t>(graph.num_nodes())));
    };
    std::vector<Output> results;
    std::size_t rounds = 0;  // as many of them
    const auto a = given({33, 68}), b = given({68, 44});
    results.push_back(gg::matmul(a, b));
    results.push_back(gg::relu(gg::matmul(a, b) + given({44})));
    // Tiles of all widths, channels in quads and not; filters that are none are left exact.
    for (const auto& [channels, filters] :
         {std::pair{3, 24}, {4, 48}, {8, 32}, {4, 20}, {1, 5}}) {
      if (filters % 4 == 0) rounds = results.size() + 4;
      const auto x = given({2, 9, 8, channels}), w = given({3, 3, channels, filters});
      const auto y = gg::conv2d(x, w, {.padding = gg::Padding::same});
      const auto grads = gg::gradients({gg::sum(y * y)}, {x, w});
      results.insert(results.end(), {y, grads[0], grads[1]});
      results.push_back(gg::max_pool2d(gg::relu(gg::bias_add(y, given({filters})))));
    }
    const auto run = [&](const char* device, Precision precision) {
      return gg::Session(graph, {.device = device, .precision = precision}).run({}, results);
    };
    const auto exact = run("cpu", Precision::fp32), on_cpu = run("cpu", Precision::tf32),
               same = run("cuda", Precision::fp32), rounded = run("cuda", Precision::tf32);
    for (std::size_t i = 0; i < results.size(); ++i) {
      CAPTURE(i);
      CHECK(same_bits(on_cpu[i], exact[i]));
      // In units of the sums that these are of.
      CHECK(distance(same[i], exact[i]) <= 1e-6);
      CHECK(distance(rounded[i], exact[i]) <= 2e-3);
      if (i < rounds) CHECK(distance(rounded[i], exact[i]) >= 5e-6);
    }
  }

  TEST_CASE("in 16 bits products and pools take in what follows, as in float32") {
    for (const Precision precision : {Precision::bf16, Precision::fp16}) {
      gg::Graph graph;
      const auto given = [&](gg::Shape shape) {
        return gg::variable(graph,
                            normal_noise(shape, static_cast<std::uint64_t>(graph.num_nodes())));
      };
      const auto x = given({3, 10, 8, 4}), w = given({3, 3, 4, 24}), bias = given({24});
      const auto pooled = gg::max_pool2d(gg::relu(gg::bias_add(gg::conv2d(x, w), bias)));
      const auto dense = given({24 * 12, 20});
      const auto y = gg::relu(gg::matmul(gg::nn::flatten(pooled), dense));
      const auto grads = gg::gradients({gg::sum(y * y)}, {x, w, bias, dense});
      std::vector<Output> results = {pooled, y};
      results.insert(results.end(), grads.begin(), grads.end());
      const auto run = [&](std::vector<std::string> without) {
        return gg::Session(graph, {.device = "cuda",
                                   .disabled_passes = std::move(without),
                                   .precision = precision})
            .run({}, results);
      };
      const auto fused = run({}), plain = run({"fuse_pooling", "fuse_epilogue"});
      for (std::size_t i = 0; i < results.size(); ++i) {
        CAPTURE(i);
        CHECK(fused[i].dtype() == gg::float32);
        CHECK(distance(fused[i], plain[i]) <= (precision == Precision::bf16 ? 5e-2 : 6e-3));
      }
      gg::Session session(graph, {.device = "cuda", .precision = precision});
      const std::string passes = session.explain_passes({}, results);
      CHECK(passes.find("conv2d, bias_add, relu, max_pool2d and their gradients") !=
            std::string::npos);
      CHECK(passes.find("fuse_epilogue: ") != std::string::npos);
    }
  }
}
