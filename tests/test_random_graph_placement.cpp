#include <doctest/doctest.h>

#include <functional>

#include "agreement.h"
#include "op_rows.h"
#include "random_graph.h"
#include "random_placement.h"

/// With all passes and several threads, graphs give on a device beside the host the same bits as
/// on one thread of the host, and split at random the same numbers, up to rounding: what fuses
/// depends on the placement.
namespace gg = gradgraph;
using gg::Output;
using gg::Session;
using gg::Tensor;
using gg::tests::RandomGraph;
using gg::tests::RandomGraphOptions;

namespace {

using Run = std::function<std::vector<Tensor>(Session&)>;

Session open_session(gg::Graph& graph, const std::string& device, int threads, bool exact) {
  return Session(graph,
                 {.device = device, .seed = 17, .threads = threads, .exact_rewrites = exact});
}

void check_split(gg::Graph& graph, const gg::Feeds& feeds, const std::vector<Output>& fetches,
                 const Run& run, double tolerance, std::mt19937_64& random) {
  gg::tests::add_simulated_devices("simulated", 2);
  const int threads = 2 + static_cast<int>(random() % 2);
  const bool exact = random() % 2 == 0;
  Session on_host = open_session(graph, "cpu", 1, exact);
  const std::vector<Tensor> expected = run(on_host);
  Session on_device = open_session(graph, "simulated:1", threads, exact);
  gg::tests::check_same(run(on_device), expected);

  const std::string device = gg::tests::scatter(graph, random);
  Session split = open_session(graph, device, threads, exact);
  const bool changes_more = !exact && (gg::tests::may_change_more(on_host, feeds, fetches) ||
                                       gg::tests::may_change_more(split, feeds, fetches));
  const std::vector<Tensor> actual = run(split);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::string difference =
        gg::tests::find_disagreement(actual[i], expected[i], tolerance, changes_more);
    CHECK_MESSAGE(difference.empty(),
                  "result " << i << ": " << difference << (exact ? " (exact)" : ""));
  }
}

void check_random_graphs(unsigned begin, unsigned end, RandomGraphOptions options) {
  for (unsigned seed = begin; seed < end; ++seed) {
    CAPTURE(seed);
    RandomGraph graph(seed, options);
    std::mt19937_64 random(seed);
    // The third step may be recorded.
    const auto run = [&](Session& session) { return graph.run(session, 3); };
    check_split(graph.graph, graph.feeds, graph.fetches, run, graph.tolerance, random);
  }
}

}  // namespace

TEST_SUITE("random placement") {
  TEST_CASE("every op row with all passes on several threads") {
    std::mt19937_64 random(6);
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
      const auto fetches = with_gradients(row, inputs, row.build(inputs));
      const auto run = [&](Session& session) { return session.run(feeds, fetches); };
      check_split(graph, feeds, fetches, run, 1e-5, random);
    }
  }

  TEST_CASE("random graphs of floats with all passes on several threads") {
    check_random_graphs(0, 300, {.variables = true});
  }
  TEST_CASE("random graphs of images with all passes on several threads") {
    check_random_graphs(0, 300, {.variables = true, .images = true});
  }
  TEST_CASE("random graphs of integers with all passes on several threads") {
    check_random_graphs(0, 300, {.variables = true, .integers = true});
  }
}
