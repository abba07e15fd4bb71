#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agreement.h"
#include "op_rows.h"
#include "pass_drawing.h"
#include "random_graph.h"
#include "session/compiled_plan.h"

/// Graphs with passes and without give the same results, up to rounding.
using namespace gradgraph;
using tests::RandomGraph;
using tests::RandomGraphOptions;

namespace {

using Run = std::function<std::vector<Tensor>(Session&)>;

/// Compares what a session with passes gives with the graph as it is written, on plain kernels.
/// These add in another order, so not where numbers are special. `run` gives the fetches' values,
/// and perhaps more.
void check_agree(Graph& graph, const Feeds& feeds, const std::vector<Output>& fetches,
                 const Run& run, double tolerance, bool is_special = false) {
  Session without(graph, {.threads = 1,
                          .disabled_passes = tests::all_passes_but({}),
                          .reference_kernels = !is_special});
  const auto expected = run(without);
  for (const bool exact : {false, true}) {
    Session with(graph, {.threads = 1, .exact_rewrites = exact});
    const bool changes_more = !exact && tests::may_change_more(with, feeds, fetches);
    if (is_special && changes_more) continue;
    const auto actual = run(with);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const std::string difference =
          tests::find_disagreement(actual[i], expected[i], tolerance, changes_more);
      CHECK_MESSAGE(difference.empty(),
                    "result " << i << ": " << difference << (exact ? " (exact)" : ""));
    }
  }
}

void check_random_graphs(unsigned begin, unsigned end, RandomGraphOptions options) {
  const int steps = options.variables ? 3 : 1;
  for (unsigned seed = begin; seed < end; ++seed) {
    INFO("seed " << seed);
    try {
      RandomGraph random(seed, options);
      const auto run = [&](Session& session) { return random.run(session, steps); };
      check_agree(random.graph, random.feeds, random.fetches, run, random.tolerance,
                  options.specials);
    } catch (const Error& error) {
      FAIL_CHECK(std::string(error.what()));
    }
  }
}

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("every op row agrees with passes and without") {
    for (const tests::OpRow& row : tests::op_rows()) {
      INFO("row " << row.name);
      Graph graph;
      Feeds feeds;
      std::vector<Output> inputs;
      for (const Tensor& value : row.inputs) {
        inputs.push_back(placeholder(graph, value.dtype(), value.shape()));
        feeds.emplace_back(inputs.back(), value);
      }
      if (inputs.empty()) continue;  // makes a graph of its own
      const auto fetches = with_gradients(row, inputs, row.build(inputs));
      const auto run = [&](Session& session) { return session.run(feeds, fetches); };
      check_agree(graph, feeds, fetches, run, 1e-5);
    }
  }

  TEST_CASE("ten thousand random graphs agree with passes and without") {
    check_random_graphs(0, 10000, {});
  }

  TEST_CASE("ten thousand random graphs agree where numbers are special") {
    check_random_graphs(10000, 20000, {.specials = true});
  }

  TEST_CASE("random graphs of images agree with passes and without") {
    check_random_graphs(0, 3000, {.images = true});
  }

  TEST_CASE("random graphs of integers agree with passes and without") {
    check_random_graphs(0, 3000, {.integers = true});
  }

  TEST_CASE("random graphs of images and integers agree where numbers are special") {
    check_random_graphs(0, 3000, {.specials = true, .images = true, .integers = true});
  }

  TEST_CASE("random graphs agree in several steps that update variables") {
    check_random_graphs(0, 600, {.variables = true, .images = true});
    check_random_graphs(0, 600, {.variables = true, .integers = true});
    check_random_graphs(0, 300, {.variables = true, .images = true, .integers = true});
  }

  TEST_CASE("check_passes refuses no op row") {
    for (const tests::OpRow& row : tests::op_rows()) {
      INFO("row " << row.name);
      Graph graph;
      Feeds feeds;
      std::vector<Output> inputs;
      for (const Tensor& value : row.inputs) {
        inputs.push_back(placeholder(graph, value.dtype(), value.shape()));
        feeds.emplace_back(inputs.back(), value);
      }
      if (inputs.empty()) continue;  // makes a graph of its own
      Session session(graph, {.threads = 1, .check_passes = true});
      CHECK_NOTHROW(session.run(feeds, with_gradients(row, inputs, row.build(inputs))));
    }
  }

  TEST_CASE("check_passes refuses none of 2,000 random graphs with variables") {
    for (unsigned seed = 0; seed < 2000; ++seed) {
      INFO("seed " << seed);
      RandomGraph random(seed, {.variables = true});
      Session session(random.graph, {.threads = 1, .check_passes = true});
      CHECK_NOTHROW(session.run(random.feeds, random.fetches));
    }
  }

  TEST_CASE("check_passes refuses none of 300 random graphs of images, integers and variables") {
    for (unsigned seed = 0; seed < 300; ++seed) {
      INFO("seed " << seed);
      RandomGraph random(seed, {.variables = true, .images = true, .integers = true});
      Session session(random.graph, {.threads = 1, .check_passes = true});
      CHECK_NOTHROW(session.run(random.feeds, random.fetches));
    }
  }

  TEST_CASE("every pass finds something in random graphs") {
    std::map<std::string, std::int64_t> counts;
    for (unsigned seed = 0; seed < 1000; ++seed) {
      const bool has_images = seed % 2 == 1;
      RandomGraph random(seed, {.images = has_images, .integers = seed % 3 == 0});
      std::vector<FedValue> feeds;
      for (const auto& [output, value] : random.feeds)
        feeds.push_back({output, value.dtype(), value.shape(), {}});
      RewriteLog log;
      rewritten_copy(random.graph, feeds, random.fetches, {.device = "cpu"}, log);
      for (const Pass& pass : pass_list()) counts[std::string(pass.name)] += log.count(pass.name);
    }
    counts.erase("lower_precision");  // asked for
    for (const auto& entry : counts)
      CHECK_MESSAGE(entry.second >= 5, entry.first, ": ", entry.second);
  }
}
