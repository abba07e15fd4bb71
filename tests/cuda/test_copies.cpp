#include <doctest/doctest.h>

#include <random>
#include <set>
#include <tuple>

#include "cuda_emulation/emulation.h"
#include "device/kernel.h"
#include "gradgraph/gradgraph.h"

/// What crosses between the host and GPUs: as planned, and nothing twice.
namespace gg = gradgraph;
using gg::Tensor;

namespace {

struct Model {
  gg::Graph graph;
  gg::Output images = gg::placeholder(graph, gg::float32, {4, 8, 8, 1}, "images");
  gg::Output labels = gg::placeholder(graph, gg::int64, {4}, "labels");
  gg::Output training = gg::placeholder(graph, gg::boolean, {}, "training");
  gg::Output loss, train;

  Model() {
    auto x = gg::nn::conv2d(images, {.filters = 4, .kernel = 3, .activation = gg::relu});
    x = gg::nn::dense(gg::flatten(x), {.units = 16, .activation = gg::relu});
    x = gg::nn::dropout(x, 0.5, training);
    const auto logits = gg::nn::dense(x, {.units = 10});
    loss = gg::mean(gg::sparse_softmax_cross_entropy(logits, labels));
    train = gg::Adam{}.minimize(loss);
  }
};

/// Bytes of the copies that the last run's plan has; no value crosses twice to one place.
std::uint64_t planned_bytes(const gg::RunStats& stats) {
  std::uint64_t bytes = 0;
  std::set<std::tuple<const gg::Node*, int, std::string>> crossed;
  for (const gg::NodeTime& time : stats.nodes) {
    if (time.stream.empty() || time.stream == "computing") continue;
    const gg::Node& copy = *time.planned;
    bytes += static_cast<std::uint64_t>(copy.shape().num_elements()) * gg::size_of(copy.dtype());
    const gg::Output value = copy.input(0);
    CHECK(crossed.insert({&value.node(), value.index(), time.device + time.stream}).second);
  }
  return bytes;
}

}  // namespace

TEST_SUITE("cuda copies") {
  TEST_CASE("as many bytes are copied as are planned, whoever computes what") {
    std::mt19937_64 random(3);
    const std::vector<std::string> devices = {"cpu", "cuda:0", "cuda:1", ""};
    const Tensor feeds[] = {Tensor::full(gg::float32, {4, 8, 8, 1}, 0.5),
                            Tensor::zeros(gg::int64, {4}), Tensor(true)};
    for (int placement = 0; placement < 8; ++placement) {
      CAPTURE(placement);
      Model model;
      if (placement > 0)
        for (gg::Node& node : model.graph.nodes())
          node.set_device(devices[random() % devices.size()]);
      const auto run_with = [&](bool times) {
        gg::Session session(model.graph, {.device = "cuda:0", .threads = 1, .node_times = times});
        gg::Callable step = session.prepare({model.images, model.labels, model.training},
                                            {model.loss, model.train});
        std::vector<std::uint64_t> copied;
        for (int i = 0; i < 4; ++i) {
          const std::uint64_t before = cuda_emulation::copied_bytes();
          step.run(feeds, 3);
          copied.push_back(cuda_emulation::copied_bytes() - before);
        }
        return std::pair(copied, times ? planned_bytes(session.last_run()) : 0);
      };
      const auto [timed, planned] = run_with(true);
      const auto plain = run_with(false).first;
      // Devices that draw random numbers are told the step beside that.
      const std::uint64_t extra = timed[3] - planned;
      CHECK(extra % sizeof(gg::RunInfo) == 0);
      CHECK(extra <= 2 * sizeof(gg::RunInfo));
      CHECK(planned > 0);
      for (int i = 1; i < 4; ++i) CHECK(plain[static_cast<std::size_t>(i)] == timed[3]);
    }
  }
}
