#include <doctest/doctest.h>

#include <random>

#include "gradgraph/gradgraph.h"
#include "models.h"
#include "op_rows.h"

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
      gg::Graph graph;
      gg::Feeds feeds;
      std::vector<Output> inputs;
      for (const Tensor& value : row.inputs) {
        inputs.push_back(gg::placeholder(graph, value.dtype(), value.shape()));
        feeds.emplace_back(inputs.back(), value);
      }
      if (inputs.empty()) continue;  // makes a graph of its own
      const std::vector<Output> fetches = with_gradients(row, inputs, row.build(inputs));
      const auto expected =
          gg::Session(graph, {.device = "cpu", .threads = 1}).run(feeds, fetches);
      scatter(graph, random);
      gg::Session session(graph, {.device = any_device(random), .threads = 1});
      check_close(session.run(feeds, fetches), expected, std::max(1e-5, row.tolerance));
    }
  }

  TEST_CASE("the perceptron trains as on the CPU") {
    Training training("mlp", 30);
    check_close(training.losses("cuda"), training.losses("cpu"), 1e-4);
  }
  TEST_CASE("the convolutional network trains as on the CPU") {
    Training training("cnn", 30);
    check_close(training.losses("cuda"), training.losses("cpu"), 1e-4);
  }
  TEST_CASE("the models, split at random") {
    for (const char* name : {"mlp", "cnn"}) {
      CAPTURE(name);
      Training training(name, 2);
      const std::vector<Tensor> expected = training.losses("cpu");
      std::mt19937_64 random(17);
      for (int placement = 0; placement < 5; ++placement) {
        CAPTURE(placement);
        scatter(training.graph, random);
        check_close(training.losses(any_device(random)), expected, 1e-4);
      }
    }
  }
}
