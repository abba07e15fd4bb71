#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "gradgraph/gradgraph.h"
#include "models.h"
#include "op_row_graph.h"
#include "random_graph.h"
#include "small_models.h"
#include "special_values.h"
#include "temporary_directory.h"

/// Graphs that are split at random between the CPU and the GPUs, and the example models.
namespace gg = gradgraph;
using gg::Output;
using gg::Tensor;
using gg::tests::check_close;
using gg::tests::with_gradients;

namespace {

/// One that this machine has.
const std::string& any_device(std::mt19937_64& random) {
  static const std::vector<std::string> devices = gg::available_devices();
  return devices[random() % devices.size()];
}

/// Makes most nodes ask for a random device.
void scatter(gg::Graph& graph, std::mt19937_64& random) {
  for (gg::Node& node : graph.nodes())
    node.set_device(random() % 4 == 0 ? "" : any_device(random));
}

/// One of the example models, and batches of random images.
struct Training {
  explicit Training(const std::string& name, int steps) : model(bench::make_model(graph, name)) {
    std::mt19937_64 random(5);
    for (int step = 0; step < steps; ++step) {
      gg::Shape shape = model.feeds[0].shape();
      shape.set(0, kBatch);
      Tensor images(gg::float32, shape), labels(model.feeds[1].dtype(), {kBatch});
      for (float& x : images.span<float>())
        x = static_cast<float>(static_cast<double>(random() >> 11) * 0x1p-53);
      Tensor numbers(gg::int64, {kBatch});
      for (std::int64_t& x : numbers.span<std::int64_t>())
        x = static_cast<std::int64_t>(random() % 10);
      labels = numbers.cast(labels.dtype());
      batches.push_back({images, labels, Tensor(true)});
    }
  }

  std::vector<Tensor> losses(const std::string& device) {
    gg::Session session(graph, {.device = device, .seed = 3, .threads = 1});
    gg::Callable step = session.prepare(model.feeds, {model.loss, model.train});
    std::vector<Tensor> losses;
    for (const auto& batch : batches)
      losses.push_back(step.run(batch.data(), batch.size())[0].clone());
    return losses;
  }

  static constexpr std::int64_t kBatch = 4;
  gg::Graph graph;
  bench::Model model;
  std::vector<std::vector<Tensor>> batches;
};

}  // namespace

TEST_SUITE("cuda placement") {
  TEST_CASE("every op row, split at random") {
    std::mt19937_64 random(11);
    for (const gg::tests::OpRow& row : gg::tests::op_rows()) {
      CAPTURE(row.name);
      if (row.inputs.empty()) continue;  // makes a graph of its own
      gg::tests::RowGraph made(row, row.inputs, gg::tests::Dims::known);
      const std::vector<Output> fetches = with_gradients(row, made.inputs, made.outputs);
      const auto expected =
          gg::Session(made.graph, {.device = "cpu", .threads = 1}).run(made.feeds, fetches);
      scatter(made.graph, random);
      gg::Session session(made.graph, {.device = any_device(random), .threads = 1});
      check_close(session.run(made.feeds, fetches), expected, std::max(1e-5, row.tolerance));
    }
  }

  TEST_CASE("the models, split at random") {
    for (const char* name : {"mlp", "cnn"}) {
      CAPTURE(name);
      Training training(name, 2);
      const std::vector<Tensor> expected = training.losses("cpu");
      std::mt19937_64 random(17);
      for (int placement = 0; placement < 2; ++placement) {
        CAPTURE(placement);
        scatter(training.graph, random);
        check_close(training.losses(any_device(random)), expected, 1e-4);
      }
    }
  }

  TEST_CASE("by cost a large product goes to a GPU, and a chain of scalars does not") {
    const gg::tests::TemporaryCache cache;  // so costs are those that devices are taken to have
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {512, 1024}, "x");
    const auto w = gg::variable(graph, Tensor::zeros(gg::float32, {1024, 1024}), "w");
    const auto product = gg::named(gg::matmul(x, w), "product");
    Output scalar = gg::placeholder(graph, gg::int64, {}, "scalar");
    for (int i = 0; i < 4; ++i) scalar = gg::cumsum(gg::reshape(scalar, {1}), 0);
    scalar = gg::named(scalar, "scalars");
    const auto explain = [&](const char* device) {
      gg::Session session(graph, {.device = device, .threads = 1});
      return session.explain_placement(
          {{x, Tensor::zeros(gg::float32, {512, 1024})},
           {graph.find("scalar")->output(), Tensor(std::int64_t{1})}},
          {product, scalar});
    };
    const auto line_of = [](const std::string& text, const std::string& node) {
      const std::size_t at = text.find("\n" + node + " ");
      REQUIRE(at != std::string::npos);
      return text.substr(at + 1, text.find('\n', at + 1) - at - 1);
    };
    const std::string text = explain("auto");
    CAPTURE(text);
    CHECK(line_of(text, "product").find(" cuda:0 ") != std::string::npos);
    CHECK(line_of(text, "product").find("by cost: ") != std::string::npos);
    CHECK(line_of(text, "scalars").find(" cpu ") != std::string::npos);
    for (const char* words :
         {" us a step as placed, ", " us on cuda:0 alone, ", " us on cpu alone",
          "cpu: not measured, so 40.0 GFLOP/s", "cuda:0: not measured, so "})
      CHECK(text.find(words) != std::string::npos);
    CHECK(explain("cpu").find("estimated") == std::string::npos);

    std::filesystem::create_directories(cache.folder());
    std::ofstream(cache.folder() / "devices.json") << "{ damaged";
    CHECK(explain("auto").find("devices.json is no table of costs: ") != std::string::npos);
    CHECK(explain("cuda").find("devices.json") == std::string::npos);
  }

  TEST_CASE("small models are trained wherever a step is estimated to be short") {
    const gg::tests::TemporaryCache cache;
    for (const char* name : {"softmax", "mlp", "cnn"}) {
      CAPTURE(name);
      gg::tests::SmallModel model(name);
      check_close(model.train_on("auto"), model.train_on("cpu"), 1e-4);
    }
  }

  TEST_CASE("small models, 120 times split at random") {
    for (const char* name : {"softmax", "mlp", "cnn"}) {
      CAPTURE(name);
      gg::tests::SmallModel model(name);
      const std::vector<Tensor> expected = model.train_on("cpu");
      std::mt19937_64 random(23);
      for (int placement = 0; placement < 40; ++placement) {
        CAPTURE(placement);
        scatter(model.graph, random);
        check_close(model.train_on(any_device(random)), expected, 1e-4);
      }
    }
  }

  TEST_CASE("180 random graphs, split at random") {
    for (unsigned seed = 0; seed < 180; ++seed) {
      CAPTURE(seed);
      gg::tests::RandomGraph graph(seed, {.variables = true});
      const auto run_on = [&](const std::string& device) {
        gg::Session session(graph.graph, {.device = device, .seed = 5, .threads = 1});
        std::vector<Tensor> results;
        for (int step = 0; step < 3; ++step)  // the third one may be recorded
          for (Tensor& result : session.run(graph.feeds, graph.fetches))
            results.push_back(std::move(result));
        return results;
      };
      const std::vector<Tensor> expected = run_on("cpu");
      std::mt19937_64 random(seed);
      scatter(graph.graph, random);
      const std::vector<Tensor> actual = run_on(any_device(random));
      for (std::size_t i = 0; i < expected.size(); ++i) {
        if (!expected[i]) continue;
        double scale = 1;
        for (const double value : expected[i].cast(gg::float64).span<double>())
          if (std::isfinite(value)) scale = std::max(scale, std::fabs(value));
        CHECK(gg::tests::find_difference(actual[i], expected[i], graph.tolerance, scale) == "");
      }
    }
  }
}

TEST_SUITE("cuda training") {
  TEST_CASE("the perceptron trains as on the CPU") {
    Training training("mlp", 30);
    check_close(training.losses("cuda"), training.losses("cpu"), 1e-4);
  }
  TEST_CASE("the convolutional network trains as on the CPU") {
    Training training("cnn", 30);
    check_close(training.losses("cuda"), training.losses("cpu"), 1e-4);
  }
}
