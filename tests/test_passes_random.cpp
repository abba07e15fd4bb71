#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "op_rows.h"
#include "pass_drawing.h"
#include "random_graph.h"
#include "session/compiled_plan.h"
#include "special_values.h"

/// Graphs with passes and without give the same results, up to rounding.
using namespace gradgraph;
using tests::RandomGraph;

namespace {

/// Where the results differ by more than rounding, measured against the largest number in them.
std::string differ(const Tensor& actual, const Tensor& expected, double tolerance,
                   bool zeros_have_signs) {
  if (!expected) return actual ? "there is a value" : "";
  double scale = 1;
  const Tensor numbers = expected.cast(float64);
  for (const double value : numbers.span<double>())
    if (std::isfinite(value)) scale = std::max(scale, std::fabs(value));
  const auto unsigned_zeros = [&](const Tensor& tensor) {
    if (zeros_have_signs || !is_floating(tensor.dtype())) return tensor;
    Tensor result = tensor.cast(float64);
    for (double& x : result.span<double>()) x += 0.0;
    return result.cast(tensor.dtype());
  };
  return tests::find_difference(unsigned_zeros(actual), unsigned_zeros(expected), tolerance,
                                scale);
}

/// Whether a rewrite was done that may change more than rounding.
bool may_change_more(Session& session, const Feeds& feeds, const std::vector<Output>& fetches) {
  const std::string lines = session.explain_passes(feeds, fetches);
  for (const char* part :
       {"log_softmax[", "fuse_reductions", "assign_layout", "fuse_pooling", "merge_products",
        "the product transposes", "softmax_cross_entropy_grad"})
    if (lines.find(part) != std::string::npos) return true;
  return false;
}

void check_agree(Graph& graph, const Feeds& feeds, const std::vector<Output>& fetches,
                 double tolerance, bool is_special = false) {
  Session without(graph, {.threads = 1, .disabled_passes = tests::all_passes_but({})});
  const auto expected = without.run(feeds, fetches);
  for (const bool exact : {false, true}) {
    Session with(graph, {.threads = 1, .exact_rewrites = exact});
    const bool changes_more = !exact && may_change_more(with, feeds, fetches);
    if (is_special && changes_more) continue;
    const auto actual = with.run(feeds, fetches);
    for (std::size_t i = 0; i < fetches.size(); ++i) {
      const std::string difference = differ(actual[i], expected[i], tolerance, !changes_more);
      CHECK_MESSAGE(difference.empty(), fetches[i].name(), ": ", difference,
                    exact ? " (exact)" : "");
    }
  }
}

void check_random_graphs(unsigned begin, unsigned end, bool has_specials) {
  for (unsigned seed = begin; seed < end; ++seed) {
    INFO("seed " << seed);
    try {
      RandomGraph random(seed, has_specials);
      check_agree(random.graph, random.feeds, random.fetches, random.tolerance, has_specials);
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
      check_agree(graph, feeds, with_gradients(row, inputs, row.build(inputs)), 1e-5);
    }
  }

  TEST_CASE("ten thousand random graphs agree with passes and without") {
    check_random_graphs(0, 10000, false);
  }

  TEST_CASE("ten thousand random graphs agree where numbers are special") {
    check_random_graphs(10000, 20000, true);
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
      RandomGraph random(seed, /*has_specials=*/false, /*has_variables=*/true);
      Session session(random.graph, {.threads = 1, .check_passes = true});
      CHECK_NOTHROW(session.run(random.feeds, random.fetches));
    }
  }

  TEST_CASE("every pass finds something in random graphs") {
    std::map<std::string, std::int64_t> counts;
    for (unsigned seed = 0; seed < 500; ++seed) {
      RandomGraph random(seed);
      std::vector<FedValue> feeds;
      for (const auto& [output, value] : random.feeds)
        feeds.push_back({output, value.dtype(), value.shape(), {}});
      RewriteLog log;
      rewritten_copy(random.graph, feeds, random.fetches, {.device = "cpu"}, log);
      for (const Pass& pass : pass_list()) counts[std::string(pass.name)] += log.count(pass.name);
    }
    for (const std::string pass : {"assign_layout", "fuse_epilogue", "fuse_pooling"})
      counts.erase(pass);             // images
    counts.erase("merge_products");   // sums of products
    counts.erase("lower_precision");  // asked for
    for (const auto& entry : counts)
      CHECK_MESSAGE(entry.second >= 5, entry.first, ": ", entry.second);
  }
}
