#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "drawn.h"
#include "gradgraph/gradgraph.h"
#include "gradgraph/op.h"
#include "temporary_directory.h"

/// What a picture shows, and that Graphviz can draw it.
namespace gg = gradgraph;
using gg::Output;
using gg::tests::contains;
using gg::tests::count;
using gg::tests::dot;
using gg::tests::draw;

namespace {

/// The line that declares the box whose label starts with `label`.
std::string line_of(const std::string& text, const std::string& label) {
  const auto at = text.find("[label=<" + label);
  if (at == std::string::npos) return {};
  return text.substr(at, text.find('\n', at) - at);
}

bool has_graphviz(const std::string& svg) { return !svg.empty(); }

struct Classifier {
  gg::Graph graph;
  Output images = gg::placeholder(graph, gg::float32, {gg::any, 28, 28, 1}, "images");
  Output labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
  Output loss, accuracy, train;

  template <class Optimizer>
  void finish(Output logits, const Optimizer& optimizer) {
    loss = gg::named(gg::mean(gg::sparse_softmax_cross_entropy(logits, labels)), "loss");
    accuracy = gg::named(
        gg::mean(gg::cast(gg::equal(gg::argmax(logits, -1), labels), gg::float32)), "accuracy");
    train = optimizer.minimize(loss);
  }
};

void build_softmax(Classifier& c) {
  c.finish(gg::nn::dense(gg::flatten(c.images), {.units = 10}, "logits"), gg::GradientDescent{});
}
void build_mlp(Classifier& c) {
  auto x = gg::flatten(c.images);
  x = gg::nn::dense(x, {.units = 512, .activation = gg::relu}, "dense1");
  x = gg::nn::dense(x, {.units = 512, .activation = gg::relu}, "dense2");
  x = gg::nn::dropout(x, 0.2, gg::placeholder(c.graph, gg::boolean, {}, "training"));
  c.finish(gg::nn::dense(x, {.units = 10}, "logits"), gg::Adam{.clip = {.by_global_norm = 1}});
}
void build_cnn(Classifier& c) {
  auto x =
      gg::nn::conv2d(c.images, {.filters = 24, .kernel = 5, .activation = gg::relu}, "conv1");
  x = gg::nn::max_pool2d(x, 2, "pool1");
  x = gg::nn::conv2d(x, {.filters = 48, .kernel = 5, .activation = gg::relu}, "conv2");
  x = gg::flatten(gg::nn::max_pool2d(x, 2, "pool2"));
  x = gg::nn::dense(x, {.units = 512, .activation = gg::relu}, "dense1");
  c.finish(gg::nn::dense(x, {.units = 10}, "logits"),
           gg::Adam{.learning_rate = gg::cosine_schedule(1e-3, 1000)});
}

}  // namespace

TEST_SUITE("dot") {
  TEST_CASE("a node shows its name, op, dtype and shape; an edge its shape") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any, 3}, "x");
    Output y;
    {
      const auto scope = gg::scope(graph, "layer");
      y = gg::named(x * x, "twice");
    }
    const std::string text = dot(graph);
    CHECK(contains(line_of(text, "<B>x</B>"), "placeholder<BR/>float32[?,3]"));
    CHECK(contains(line_of(text, "<B>twice</B>"), "mul<BR/>float32[?,3]"));
    CHECK(contains(line_of(text, "<B>twice</B>"), "layer/twice (test_dot.cpp:"));
    CHECK(contains(text, "n0 -> n1 "));
    CHECK(contains(text, "label=<[?,3]>"));
    CHECK(count(text, "->") == 1);
    gg::DotOptions plain;
    plain.shapes_on_edges = false;
    CHECK_FALSE(contains(dot(graph, plain), "label=<[?,3]>"));
    draw(text);
  }

  TEST_CASE("scopes are nested clusters") {
    gg::Graph graph;
    const auto outer = gg::scope(graph, "block");
    const auto x = gg::placeholder(graph, gg::float32, {}, "x");
    {
      const auto inner = gg::scope(graph, "attention");
      gg::neg(x);
    }
    gg::exp(x);
    const std::string text = dot(graph);
    const auto block = text.find("subgraph \"cluster block\"");
    const auto attention = text.find("subgraph \"cluster block/attention\"");
    REQUIRE(block != std::string::npos);
    REQUIRE(attention != std::string::npos);
    CHECK(block < attention);
    CHECK(count(text, "subgraph") == 2);
    CHECK(count(text, "{") == count(text, "}"));
    draw(text);
  }

  TEST_CASE("forward, gradient and update look different, and a legend says how") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {3}, "x");
    const auto v = gg::variable(graph, gg::Tensor{1.f, 2.f, 3.f}, "v");
    const auto loss = gg::sum(gg::square(x * v));
    gg::GradientDescent{.learning_rate = 0.1}.minimize(loss);
    const std::string text = dot(graph);
    const std::string forward = line_of(text, "<B>square</B><BR/>float32[3]>, shape=box");
    CHECK(contains(forward, "rounded"));
    CHECK(contains(text, "style=\"filled,dashed\""));
    CHECK(contains(text, "style=\"filled,bold\""));
    for (const char* phase : {">forward<", ">gradient<", ">update<"})
      CHECK(contains(text, phase));
    CHECK(contains(line_of(text, "<B>v</B>"), "shape=cylinder"));
    CHECK(contains(line_of(text, "<B>x</B>"), "shape=invhouse"));
    draw(text);
  }

  TEST_CASE("order without a value is a dashed arrow") {
    gg::Graph graph;
    const auto v = gg::variable(graph, gg::Tensor(1.f), "v");
    gg::group(graph, {gg::assign_add(v, v)}, "all");
    const std::string text = dot(graph);
    CHECK(count(text, "style=dashed]") == 1);
    CHECK(contains(line_of(text, "<B>all</B>"), "shape=ellipse"));
  }

  TEST_CASE("small constants are written into their readers") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {2, 2}, "x");
    const auto scaled = 0.5f * x;
    gg::reshape(scaled, {4});
    gg::add(x, gg::Tensor{{1.f, 2.f}, {3.f, 4.f}});  // not small: a matrix
    std::string text = dot(graph);
    CHECK(contains(text, "mul(0.5, ·)"));
    CHECK(contains(text, "reshape(·, [4])"));
    CHECK(count(text, "<B>constant") == 1);
    gg::DotOptions all;
    all.inline_constants = false;
    text = dot(graph, all);
    CHECK_FALSE(contains(text, "mul(0.5, ·)"));
    CHECK(count(text, "<B>constant") == 3);
    draw(text);
  }

  TEST_CASE("only what the fetches need") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    const auto wanted = gg::named(gg::exp(x), "wanted");
    gg::named(gg::log(x), "unwanted");
    gg::DotOptions options;
    options.fetches = {wanted};
    const std::string text = dot(graph, options);
    CHECK(contains(text, "<B>wanted</B>"));
    CHECK(contains(text, "<B>x</B>"));
    CHECK_FALSE(contains(text, "unwanted"));
  }

  TEST_CASE("initial values are left out, unless asked for or used otherwise") {
    gg::Graph graph;
    const auto initial = gg::named(gg::random_normal(graph, {2, 2}), "drawn");
    const auto shared = gg::named(gg::random_normal(graph, {2, 2}), "shared");
    gg::variable(initial, "v");
    gg::variable(shared, "w");
    gg::named(gg::exp(shared), "reader");
    gg::named(gg::random_normal(graph, {2, 2}), "alone");
    gg::DotOptions options;
    std::string text = dot(graph, options);
    CHECK_FALSE(contains(text, "<B>drawn</B>"));
    CHECK(contains(text, "<B>shared</B>"));
    CHECK(contains(text, "<B>alone</B>"));
    options.initial_values = true;
    CHECK(contains(dot(graph, options), "<B>drawn</B>"));
  }

  TEST_CASE("devices and times have colours") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    Output slow, fast;
    {
      const auto device = gg::device_scope(graph, "cuda:0");
      slow = gg::named(gg::exp(x), "slow");
    }
    fast = gg::named(gg::neg(x), "fast");
    gg::DotOptions options;
    options.node_devices[&fast.node()] = "cpu";
    std::string text = dot(graph, options);
    CHECK(contains(text, ">cuda:0<"));
    CHECK(contains(text, ">cpu<"));
    CHECK(contains(line_of(text, "<B>slow</B>"), "penwidth=2"));
    const auto color = [&](const std::string& node) {
      const std::string line = line_of(text, node);
      return line.substr(line.find(" color="), 16);
    };
    CHECK(color("<B>slow</B>") != color("<B>fast</B>"));
    options.node_seconds = {{&slow.node(), 3e-3}, {&fast.node(), 1e-3}};
    text = dot(graph, options);
    CHECK(contains(line_of(text, "<B>slow</B>"), "3 ms, 75.0 %"));
    CHECK(contains(line_of(text, "<B>fast</B>"), "1 ms, 25.0 %"));
    CHECK(contains(line_of(text, "<B>slow</B>"), "fillcolor=\"#FF1414\""));
    draw(text);
  }

  TEST_CASE("any name can be drawn") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    const std::vector<std::string> names = {"a\"b",
                                            "a\\",
                                            "<b>&amp;",
                                            "new\nline",
                                            "{a|b}",
                                            "größe→∞",
                                            "bad\xFFutf8",
                                            "half\xC3",
                                            "//",
                                            "/",
                                            "a/\"q\"/b\\/c",
                                            "x -> y; }",
                                            "%s\\N\\G",
                                            " ",
                                            "-->",
                                            "a:b:c",
                                            std::string("nul\0l", 5)};
    for (const std::string& name : names) gg::named(gg::neg(x), name);
    gg::DotOptions options;
    options.title = "\"<title>\" & \\";
    options.node_devices[&x.node()] = "<gpu \"0\">";
    const std::string svg = draw(dot(graph, options));
    if (!has_graphviz(svg)) return;
    for (const char* shown : {"a&quot;b", "&lt;b&gt;&amp;amp;", "größe→∞", "new?line"})
      CHECK_MESSAGE(contains(svg, shown), std::string(shown));
    CHECK(count(svg, "class=\"node\"") == names.size() + 1);
  }

  TEST_CASE("large pictures put gradients and updates into one box each") {
    Classifier c;
    build_cnn(c);
    gg::DotOptions options;
    const std::string text = dot(c.graph, options);
    CHECK(contains(text, "gradient of <B>conv2d</B>"));
    CHECK(contains(text, "update: 16 nodes; keeps first_moment, second_moment"));
    CHECK(contains(text, "for 8 variables"));
    CHECK_FALSE(contains(text, "assign"));
    CHECK(contains(text, "conv2d_filter_grad("));
    CHECK(contains(text, "rank=same"));
    options.fold_above = 1 << 20;
    const std::string unfolded = dot(c.graph, options);
    CHECK_FALSE(contains(unfolded, "rank=same"));
    const auto boxes = [](const std::string& t) { return count(t, "fillcolor="); };
    CHECK(boxes(text) < 60);
    CHECK(boxes(unfolded) > 150);
    options.fold_above = 0;
    CHECK(dot(c.graph, options) == text);
    draw(unfolded);
  }

  TEST_CASE("Graphviz draws every example, whole and in parts") {
    for (const auto build : {build_softmax, build_mlp, build_cnn}) {
      Classifier c;
      build(c);
      gg::DotOptions options;
      options.title = "example";
      const std::string svg = draw(dot(c.graph, options));
      if (!has_graphviz(svg)) return;
      for (const char* part : {"images", "logits", "loss", "accuracy"})
        CHECK(contains(svg, part));
      for (int fold : {0, 1 << 20}) {
        options.fold_above = fold;
        for (const Output& fetch : {c.loss, c.train}) {
          options.fetches = {fetch};
          draw(dot(c.graph, options));
        }
      }
    }
  }

  TEST_CASE("Graphviz draws gradients of gradients, folded") {
    gg::Graph graph;
    const auto x = gg::variable(graph, gg::Tensor{{1.f, 2.f}, {3.f, 4.f}}, "x");
    const auto y = gg::sum(gg::tanh(gg::matmul(x, x)));
    const auto first = gg::gradients({y}, {x})[0];
    const auto penalty = gg::sum(gg::square(first)) + y;
    gg::Adam{}.minimize(penalty);
    gg::DotOptions options;
    options.fold_above = 0;
    draw(dot(graph, options));
  }

  TEST_CASE("an empty graph is a picture too") {
    gg::Graph graph;
    draw(dot(graph));
  }

  TEST_CASE("a long chain is written in proportion") {
    gg::Graph graph;
    auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    for (int i = 0; i < 20000; ++i) x = gg::neg(x);
    CHECK(count(dot(graph, {.fold_above = 1 << 20}), "->") == 20000);
  }

  TEST_CASE("a file is complete") {
    const gg::tests::TemporaryDirectory directory;
    const auto path = directory / "graph.dot";
    gg::Graph graph;
    gg::placeholder(graph, gg::float32, {}, "x");
    gg::write_dot(graph, path.string());
    std::ostringstream written;
    written << std::ifstream(path).rdbuf();
    CHECK(written.str() == dot(graph));
    CHECK(std::distance(std::filesystem::directory_iterator(directory.path()), {}) == 1);
    CHECK_NOTHROW(gg::write_dot(graph, "/dev/null"));
  }
}

TEST_SUITE("bad input") {
  TEST_CASE("write_dot: a folder that is not there") {
    gg::Graph graph;
    CHECK_THROWS_WITH_AS(gg::write_dot(graph, "/nowhere/graph.dot"),
                         doctest::Contains("cannot write '/nowhere/graph.dot': No such file or "
                                           "directory  (test_dot.cpp:"),
                         gg::DataError);
  }

  TEST_CASE("write_dot: a folder instead of a file") {
    const gg::tests::TemporaryDirectory directory;
    gg::Graph graph;
    CHECK_THROWS_WITH_AS(gg::write_dot(graph, directory.path().string()),
                         doctest::Contains("Is a directory"), gg::DataError);
  }

  TEST_CASE("write_dot: a full disk") {
    gg::Graph graph;
    CHECK_THROWS_WITH_AS(gg::write_dot(graph, "/dev/full"),
                         doctest::Contains("cannot write '/dev/full': No space left on device"),
                         gg::DataError);
  }

  TEST_CASE("write_dot: what fails leaves the old file as it was") {
    const gg::tests::TemporaryDirectory directory;
    const std::string path = (directory / "graph.dot").string();
    std::ofstream(path) << "old";
    gg::Graph graph, other;
    gg::DotOptions options;
    options.fetches = {gg::placeholder(other, gg::float32, {}, "x")};
    CHECK_THROWS_WITH_AS(gg::write_dot(graph, path, options),
                         doctest::Contains("fetch 'x' is of another graph"), gg::BuildError);
    std::ostringstream kept;
    kept << std::ifstream(path).rdbuf();
    CHECK(kept.str() == "old");
    CHECK(std::distance(std::filesystem::directory_iterator(directory.path()), {}) == 1);
    options.fetches = {Output()};
    CHECK_THROWS_WITH_AS(gg::write_dot(graph, path, options),
                         doctest::Contains("write_dot: fetch 0 is empty"), gg::BuildError);
  }
}
