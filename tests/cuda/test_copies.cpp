#include <doctest/doctest.h>

#include <random>
#include <set>

#include "cuda_emulation/emulation.h"
#include "device/kernel.h"
#include "gradgraph/gradgraph.h"
#include "models.h"

/// What crosses between the host and GPUs: as planned, and nothing twice.
namespace gg = gradgraph;
using gg::Tensor;

namespace {

std::vector<Tensor> feeds_of(const bench::Model& model) {
  constexpr std::int64_t kBatch = 4;
  gg::Shape shape = model.feeds[0].shape();
  shape.set(0, kBatch);
  std::vector<Tensor> feeds = {Tensor::full(gg::float32, shape, 0.5),
                               Tensor::zeros(model.feeds[1].dtype(), {kBatch})};
  if (model.feeds.size() == 3) feeds.push_back(Tensor(true));
  return feeds;
}

/// Bytes of the copies that the last run's plan has; no value crosses twice to one place.
std::uint64_t planned_bytes(const gg::RunStats& stats) {
  std::uint64_t bytes = 0;
  std::set<std::pair<const gg::Node*, std::string>> crossed;
  for (const gg::NodeTime& time : stats.nodes) {
    if (time.stream.empty() || time.stream == "computing") continue;
    const gg::Node& copy = *time.planned;
    bytes += static_cast<std::uint64_t>(copy.shape().num_elements()) * gg::size_of(copy.dtype());
    CHECK(crossed.insert({&copy.input(0).node(), time.device + time.stream}).second);
  }
  return bytes;
}

}  // namespace

TEST_SUITE("cuda copies") {
  TEST_CASE("as many bytes are copied as are planned, whoever computes what") {
    std::mt19937_64 random(3);
    const std::vector<std::string> devices = {"cpu", "cuda:0", "cuda:1", ""};
    for (const char* name : {"mlp", "cnn"})
      for (int placement = 0; placement < 4; ++placement) {
        CAPTURE(name);
        CAPTURE(placement);
        gg::Graph graph;
        const bench::Model model = bench::make_model(graph, name);
        if (placement > 0)
          for (gg::Node& node : graph.nodes())
            node.set_device(devices[random() % devices.size()]);
        const std::vector<Tensor> feeds = feeds_of(model);
        const auto run_with = [&](bool times) {
          gg::Session session(graph, {.device = "cuda:0", .threads = 1, .node_times = times});
          gg::Callable step = session.prepare(model.feeds, {model.loss, model.train});
          std::vector<std::uint64_t> copied;
          for (int i = 0; i < 4; ++i) {
            const std::uint64_t before = cuda_emulation::copied_bytes();
            step.run(feeds.data(), feeds.size());
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
