#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "noise.h"
#include "pass_drawing.h"
#include "random_graph.h"
#include "special_values.h"

/// Elementwise nodes that read the same, or each other, as one with several results.
using namespace gradgraph;
using tests::draw;

namespace {

const std::vector<std::string> kMerge = {"merge_elementwise"};

std::string merges(Graph& graph, const std::vector<Output>& fetches) {
  return tests::rewrites(graph, fetches, kMerge);
}

void check_same_bits(Graph& graph, const std::vector<Output>& fetches) {
  for (const int threads : {1, 3}) {
    Session with(graph, {.threads = threads}),
        without(graph, {.threads = threads, .disabled_passes = kMerge});
    const auto expected = without.run({}, fetches), actual = with.run({}, fetches);
    for (std::size_t i = 0; i < fetches.size(); ++i)
      CHECK(tests::find_difference(actual[i], expected[i], 0, 0) == "");
  }
}

std::size_t steps_of(Graph& graph, const std::vector<Output>& fetches,
                     const std::vector<std::string>& disabled) {
  Session session(graph, {.disabled_passes = disabled});
  session.run({}, fetches);
  return session.last_run().nodes_run;
}

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("merge_elementwise: what reads the same, and what reads each other, is one node") {
    Graph graph;
    const Output x = placeholder(graph, float32, {2, 3}, "x");
    const Output y = placeholder(graph, float32, {3}, "y");
    const Output a = named(tanh(x), "a"), b = named(x * y, "b"), c = named(a - b, "c");
    // `a` and `b` are read from outside.
    const std::vector<Output> fetches = {sum(a), sum(b), sum(c)};
    CHECK(merges(graph, fetches) == "merge_elementwise: 'a', 'b', 'c' are one");
    const std::string drawn = draw(graph, fetches, kMerge);
    CHECK_MESSAGE(drawn.find("c = fused(x, y)") != std::string::npos, drawn);
  }

  TEST_CASE("merge_elementwise: nothing waits for itself") {
    Graph graph;
    const Output x = placeholder(graph, float32, {4, 3}, "x");
    const Output shifted = named(x - 2.0f, "shifted");
    // Both read x, but the second needs the first.
    CHECK(merges(graph, {sum(x - mean(shifted)), sum(shifted)}).empty());
    // What stands between the first and the third, and needs the first, now needs both.
    const Output z = placeholder(graph, float32, {6}, "z");
    const Output first = named(tanh(z), "first"), second = named(z - sum(first), "second");
    const Output third = named(z * 2.0f, "third");
    CHECK(merges(graph, {sum(second), sum(third)}) ==
          "merge_elementwise: 'first', 'third' are one");
    // Each pair may be one, but not both: either would need the other.
    const Output y = placeholder(graph, float32, {5}, "y");
    const Output a = named(x * 2.0f, "a"), b = named(y * 2.0f, "b");
    const Output c = named(x + sum(b), "c"), d = named(y + sum(a), "d");
    const std::string lines = merges(graph, {sum(c), sum(d)});
    CHECK_MESSAGE(lines == "merge_elementwise: 'a', 'c' are one", lines);
  }

  TEST_CASE("merge_elementwise: units that were reordered stay in order") {
    Graph graph;
    const Output x = variable(graph, tests::noise({3}, 1, float64), "x");
    const Output y = variable(graph, tests::noise({3}, 2, float64), "y");
    std::vector<Output> fetches;
    Output p = x, q = y;
    for (int i = 0; i < 40; ++i) {
      const Output r = tanh(p), s = sin(q);
      p = r + sum(q) * 0.01;
      q = s * r;
      if (i % 3 == 0) fetches.push_back(sum(r - s));
      if (i % 5 == 0) fetches.push_back(p);
    }
    fetches.push_back(sum(q));
    CHECK(!merges(graph, fetches).empty());
    check_same_bits(graph, fetches);
  }

  TEST_CASE("merge_elementwise: what stays apart") {
    Graph graph;
    const Output x = placeholder(graph, float32, {4}, "x");
    const Output a = tanh(x);
    // Another shape, dtype or device.
    CHECK(merges(graph, {sum(a), sum(reshape(x, {2, 2}) + 1.0f)}).empty());
    CHECK(merges(graph, {sum(a), sum(cast(x, float64))}).empty());
    const Output elsewhere = exp(x);
    elsewhere.node().set_device("simulated:0");
    CHECK(merges(graph, {sum(a), sum(elsewhere)}).empty());
    // What comes after an update, and what may fail.
    const Output v = variable(graph, Tensor{1.f, 2.f, 3.f, 4.f}, "v");
    const Output after = assign_add(v, v) * x;
    CHECK(merges(graph, {sum(a), sum(after)}).empty());
    const Output i = placeholder(graph, int32, {4}, "i");
    CHECK(merges(graph, {sum(i + 1), sum(i / i)}).empty());
    // Of many outputs and inputs each node takes so many.
    std::vector<Output> many;
    for (int k = 0; k < 20; ++k) many.push_back(sum(x * static_cast<float>(k)));
    const std::string drawn = draw(graph, many, kMerge);
    check_same_bits(graph, {v});
    CHECK(drawn.find("fused") == std::string::npos);
    many.resize(12);
    CHECK(merges(graph, many) != "");
  }

  TEST_CASE("merge_elementwise: what is computed again stays where it is") {
    Graph graph;
    const Output x = variable(graph, tests::noise({8, 8}, 1, float32), "x");
    const Output bent = tanh(x);  // first, in whatever order a compiler takes operands
    const Output y = bent * sigmoid(x);
    const Output dx = gradients({sum(y)}, {x})[0];
    // A gradient's node is not made together with the forward one that reads the same.
    CHECK(dx.node().phase() != y.node().phase());
    const std::string lines = merges(graph, {y, dx});
    CHECK_MESSAGE(lines.find("'tanh', 'sigmoid', 'mul' are one") != std::string::npos, lines);
    const std::size_t first = lines.find("'gradients");
    CHECK_MESSAGE(lines.find("'mul'") < first, lines);
    check_same_bits(graph, {y, dx});
  }

  TEST_CASE("merge_elementwise: an LSTM's step has few kernels, and the same bits") {
    Graph graph;
    const Output x = variable(graph, tests::noise({8, 6, 3}, 1, float32));
    const nn::Lstm lstm({.units = 16});
    const Output y = lstm(x).outputs;
    std::vector<Output> fetches = gradients({mean(square(y))}, lstm.variables());
    fetches.push_back(y);
    check_same_bits(graph, fetches);
    const std::size_t steps = steps_of(graph, fetches, {});
    const std::size_t apart = steps_of(graph, fetches, kMerge);
    CAPTURE(apart);
    CHECK(2 * steps < apart);
  }

  TEST_CASE("merge_elementwise: ten thousand nodes are found in time") {
    Graph graph;
    Output x = variable(graph, tests::noise({4}, 1, float32));
    const Output first = x;
    std::vector<Output> fetches;
    for (int i = 0; i < 10000; ++i) {
      x = tanh(x) * first + x;
      if (i % 100 == 0) fetches.push_back(sum(x));
    }
    CHECK(merges(graph, fetches).size() > 0);
  }
}
