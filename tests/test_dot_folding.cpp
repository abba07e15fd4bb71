#include <doctest/doctest.h>

#include <sstream>

#include "drawn.h"
#include "gradgraph/gradgraph.h"
#include "io/drawing/repetition.h"

/// Pictures of graphs that no screen could show node by node.
namespace gg = gradgraph;
using gg::Output;
using gg::tests::contains;
using gg::tests::count;
using gg::tests::dot;

namespace {

std::size_t boxes(const std::string& text) { return count(text, "fillcolor="); }

/// Many more take Graphviz seconds, and no screen shows them.
void check_size(const std::string& text) {
  CHECK(boxes(text) <= 80);
  CHECK(count(text, "->") <= 200);
  gg::tests::draw(text);
}

/// Steps unrolled in a plain loop, without scopes.
Output build_lstm(gg::Graph& graph) {
  const auto ids = gg::placeholder(graph, gg::int64, {32, 20}, "ids");
  const auto x = gg::nn::embedding(ids, 64, 16);
  const auto kernel =
      gg::variable(gg::random_uniform(graph, {16 + 32, 128}, gg::float32, -0.1, 0.1), "kernel");
  auto h = gg::constant(graph, gg::Tensor::zeros(gg::float32, {32, 32}), "start"), c = h;
  for (int step = 0; step < 20; ++step) {
    const auto now = gg::squeeze(gg::slice(x, {0, step, 0}, {-1, 1, -1}), {1});
    const auto gates =
        gg::split(gg::matmul(gg::concat({now, h}, 1), kernel), {32, 32, 32, 32}, 1);
    c = gg::sigmoid(gates[0]) * c + gg::sigmoid(gates[1]) * gg::tanh(gates[2]);
    h = gg::sigmoid(gates[3]) * gg::tanh(c);
  }
  return gg::named(gg::mean(gg::square(h)), "loss");
}

/// Blocks in scopes of their own, each with weights of its own.
Output build_blocks(gg::Graph& graph, int blocks) {
  auto x = gg::placeholder(graph, gg::float32, {gg::any, 64}, "x");
  for (int i = 0; i < blocks; ++i) {
    const auto scope = gg::scope(graph, "block" + std::to_string(i));
    const auto y =
        gg::nn::dense(gg::nn::layer_norm(x), {.units = 256, .activation = gg::relu}, "inner");
    x = x + gg::nn::dense(y, {.units = 64}, "outer");
  }
  return gg::named(gg::mean(gg::square(x)), "loss");
}

std::vector<gg::Repetition> repetitions(const gg::Graph& graph) {
  std::vector<const gg::Node*> nodes;
  for (const gg::Node& node : graph.nodes())
    if (node.op().name != "constant") nodes.push_back(&node);
  return gg::find_repetitions(nodes,
                              [](const gg::Node& node) { return node.op().name == "constant"; });
}

}  // namespace

TEST_SUITE("dot") {
  TEST_CASE("the steps of a loop are drawn once, with their number and line") {
    gg::Graph graph;
    const auto loss = build_lstm(graph);
    const std::string forward = dot(graph, {.fetches = {loss}});
    CHECK(contains(forward, "label=\"test_dot_folding.cpp:"));
    CHECK(contains(forward, " \u00D7 20\""));
    CHECK(count(forward, "<BR/>matmul<BR/>") + count(forward, "<B>matmul</B>") == 1);
    // h and c go into the next step.
    CHECK(count(forward, "style=bold") >= 2);
    CHECK(contains(forward, ">bold arrow: into the next round<"));
    check_size(forward);
    gg::Adam{}.minimize(loss);
    const std::string whole = dot(graph);
    CHECK(contains(whole, "gradient of <B>matmul</B>"));
    CHECK(contains(whole, "for 2 variables"));
    check_size(whole);
    // Nothing is hidden that was asked for.
    CHECK(boxes(dot(graph, {.fold_above = 1 << 20})) > 500);
  }

  TEST_CASE("blocks of one kind are one block with their number") {
    gg::Graph graph;
    const auto loss = build_blocks(graph, 12);
    gg::Adam{}.minimize(loss);
    const std::string text = dot(graph);
    CHECK(contains(text, "label=\"block0 \u00D7 12\""));
    CHECK_FALSE(contains(text, "label=\"block1"));
    CHECK(contains(dot(graph, {.depth = 0}), "72 variables are updated"));
    check_size(text);
    gg::Graph small;
    gg::Adam{}.minimize(build_blocks(small, 3));
    CHECK(contains(dot(small), "label=\"block0 \u00D7 3\""));
    CHECK(boxes(dot(small)) == boxes(text));
  }

  TEST_CASE("as many levels of scopes are opened as were asked for") {
    gg::Graph graph;
    const auto loss = build_blocks(graph, 2);
    const auto picture = [&](int depth) {
      return dot(graph, {.fetches = {loss}, .depth = depth});
    };
    CHECK(contains(picture(0), "<B>block0 \u00D7 2</B>"));
    CHECK(boxes(picture(0)) == 4);  // x, the blocks, square, loss
    CHECK(contains(picture(0), "variable"));
    CHECK(contains(picture(1), "<B>inner</B><BR/>"));
    CHECK(contains(picture(1), "16640 parameters"));
    CHECK_FALSE(contains(picture(1), "<B>relu</B>"));
    CHECK(contains(picture(2), "<B>relu</B>"));
    CHECK(picture(3) == picture(2));
    for (const int depth : {0, 1, 2}) check_size(picture(depth));
  }

  TEST_CASE("a chain of one op is one box") {
    gg::Graph graph;
    auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    for (int i = 0; i < 20000; ++i) x = gg::neg(x);
    const std::string text = dot(graph);
    CHECK(boxes(text) == 2);
    CHECK(contains(text, "<B>neg</B> \u00D7 20000"));
    CHECK(count(text, "->") == 1);
  }

  TEST_CASE("what has neither scopes nor repetitions is folded by the user's lines") {
    gg::Graph graph;
    auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    std::uint32_t random = 1;
    for (int i = 0; i < 1000; ++i) {
      random = random * 1664525 + 1013904223;
      switch (random >> 28) {
        case 0: x = gg::exp(x); break;
        case 1: x = gg::tanh(x) * x; break;
        case 2: x = gg::sin(x) + gg::cos(x); break;
        case 3: x = gg::reshape(x, {2}); break;
        default: x = gg::sigmoid(-x); break;
      }
    }
    check_size(dot(graph));
  }

  TEST_CASE("the gradient of a gradient is folded as well") {
    gg::Graph graph;
    const auto loss = build_blocks(graph, 6);
    std::vector<Output> variables;
    for (const gg::Layer& layer : graph.layers())
      variables.insert(variables.end(), layer.trainable.begin(), layer.trainable.end());
    Output penalty = loss;
    for (const Output& gradient : gg::gradients({loss}, variables))
      penalty = penalty + gg::sum(gg::square(gradient));
    gg::Adam{}.minimize(penalty);
    gg::tests::draw(dot(graph));
  }

  TEST_CASE("what is computed again stands beside the first time") {
    gg::Graph graph;
    auto x = gg::placeholder(graph, gg::float32, {gg::any, 8}, "x");
    for (int i = 0; i < 8; ++i) {
      const auto scope = gg::recompute(graph, "part" + std::to_string(i));
      x = gg::tanh(gg::nn::dense(x, {.units = 8, .activation = gg::tanh}));
    }
    gg::Adam{}.minimize(gg::mean(x));
    const std::string text = dot(graph);
    CHECK(contains(text, "label=\"recompute\""));
    CHECK(contains(text, "part0 \u00D7 8"));
    CHECK(contains(dot(graph, {.depth = 0}), "again: <B>part0 \u00D7 8</B>"));
    check_size(text);
  }

  TEST_CASE("names longer than Graphviz' buffers can be drawn") {
    gg::Graph graph;
    const std::string long_name(17000, 'n');
    auto x = gg::placeholder(graph, gg::float32, {2}, long_name);
    const auto first = gg::scope(graph, std::string(17000, 's'));
    gg::named(gg::neg(x), long_name + "1");
    const auto second = gg::scope(graph, std::string(17000, 't'));
    std::vector<Output> parts(3000, gg::exp(x));
    gg::concat(parts, 0);
    gg::split(gg::concat(parts, 0), std::vector<std::int64_t>(6000, 1), 0);
    for (const int fold : {0, 100000}) {
      gg::DotOptions options;
      options.title = std::string(40000, '"');
      options.fold_above = fold;
      const std::string svg = gg::tests::draw(dot(graph, options));
      if (!svg.empty()) CHECK(contains(svg, "nnn..."));
    }
  }

  TEST_CASE("times of what is folded are added up") {
    gg::Graph graph;
    auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    gg::DotOptions options;
    for (int i = 0; i < 50; ++i) {
      x = gg::neg(x);
      options.node_seconds[&x.node()] = 1e-3;
    }
    CHECK(contains(dot(graph, options), "50 ms, 100.0 %"));
  }
}

TEST_SUITE("repetitions") {
  TEST_CASE("one that differs in an attribute, a type or what it reads is none") {
    const auto rounds = [](const std::function<void(gg::Graph&, Output&, int)>& body) {
      gg::Graph graph;
      Output x = gg::placeholder(graph, gg::float32, {4, 4}, "x");
      for (int i = 0; i < 4; ++i) body(graph, x, i);
      const auto found = repetitions(graph);
      return found.empty() ? std::size_t{1} : found.front().count;
    };
    const auto chain = [](Output x) {
      return gg::tanh(gg::exp(gg::sin(gg::cos(gg::neg(gg::square(x))))));
    };
    CHECK(rounds([&](gg::Graph&, Output& x, int) { x = chain(x); }) == 4);
    CHECK(rounds([&](gg::Graph&, Output& x, int i) {
            x = gg::softmax(chain(x), i < 2 ? 0 : 1);
          }) == 2);
    CHECK(rounds([&](gg::Graph&, Output& x, int i) {
            x = chain(i < 2 ? x : gg::reshape(x, {16 >> i, 1 << i}));
          }) == 2);
    // The constant that is added is another one in each round, which is no difference.
    CHECK(rounds([&](gg::Graph&, Output& x, int i) { x = chain(x) + i; }) == 4);
    // Every other round reads the first value: two of them are a round.
    Output first;
    CHECK(rounds([&](gg::Graph&, Output& x, int i) {
            if (i == 0) first = x;
            x = chain(x) * (i % 2 == 0 ? x : first);
          }) == 2);
  }
}
