#include <doctest/doctest.h>

#include <initializer_list>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "settings.h"

/// The GPU's products of matrices that take in a program, at sizes around their tiles.
namespace gg = gradgraph;
using gg::Output;
using gg::Shape;
using gg::Tensor;
using gg::tests::close;
using gg::tests::contains;
using gg::tests::noise;
using gg::tests::same_bits;

namespace {

struct Sizes {
  std::int64_t rows, inner, columns;
};

Output value(gg::Graph& graph, const Shape& shape, std::uint32_t seed, const char* name) {
  return gg::variable(graph, noise(shape, seed).cast(gg::float32), name);
}

/// Calls body(graph, product, size) for products of all layouts.
template <class Body>
void for_each_layout(std::initializer_list<Sizes> all, const Body& body) {
  for (const Sizes& size : all)
    for (const bool transpose_a : {false, true})
      for (const bool transpose_b : {false, true}) {
        CAPTURE(size.rows);
        CAPTURE(transpose_a);
        CAPTURE(transpose_b);
        const auto [rows, inner, columns] = size;
        gg::Graph graph;
        const Output a =
            value(graph, transpose_a ? Shape{inner, rows} : Shape{rows, inner}, 1, "a");
        const Output b =
            value(graph, transpose_b ? Shape{columns, inner} : Shape{inner, columns}, 2, "b");
        body(graph, gg::matmul(a, b, {transpose_a, transpose_b}), size);
      }
}

}  // namespace

TEST_SUITE("cuda products") {
  TEST_CASE("products of all layouts take in what follows") {
    for_each_layout(
        {{32, 64, 16},
         {36, 68, 20},
         {31, 65, 15},
         {1, 3, 33},
         {70, 7, 10},
         {200, 9, 190},
         {644, 6, 322}},
        [](gg::Graph& graph, const Output& product, const Sizes& size) {
          const auto own = [&](const Shape& shape, std::uint32_t seed, const char* name) {
            return value(graph, shape, seed, name);
          };
          const Output y = gg::relu(product + own({size.columns}, 3, "c")) *
                               own({size.rows, size.columns}, 4, "m") -
                           own({size.rows, 1}, 5, "r") / own({}, 6, "s");
          gg::Session host(graph, {.device = "cpu", .disabled_passes = {"fuse_epilogue"}});
          const Tensor expected = host.run({}, {y})[0];
          gg::tests::in_every_setting([&] {
            gg::Session session(graph, {.device = "cuda:0"});
            CHECK(contains(session.explain_passes({}, {y}), "fuse_epilogue: "));
            CHECK(close(session.run({}, {y})[0], expected, 1e-4));
          });
        });
  }

  TEST_CASE("products alone, of few results") {
    for_each_layout({{32, 64, 16}, {31, 65, 15}, {1, 512, 33}},
                    [](gg::Graph& graph, const Output& product, const Sizes&) {
                      gg::Session host(graph,
                                       {.device = "cpu", .disabled_passes = {"fuse_epilogue"}});
                      const Tensor expected = host.run({}, {product})[0];
                      gg::tests::in_every_setting([&] {
                        gg::Session session(graph, {.device = "cuda:0"});
                        CHECK(close(session.run({}, {product})[0], expected, 1e-4));
                      });
                    });
  }

  TEST_CASE("steps behind a product, with it on either side") {
    gg::Graph graph;
    const Output a = value(graph, {20, 40}, 1, "a"), b = value(graph, {40, 24}, 2, "b");
    const Output full = value(graph, {20, 24}, 3, "full"), row = value(graph, {24}, 4, "row"),
                 column = value(graph, {20, 1}, 5, "column"), one = value(graph, {}, 6, "one");
    const auto ab = [&] { return gg::matmul(a, b); };
    const auto check = [&](const char* what, const Output& y, bool takes_in) {
      CAPTURE(what);
      gg::Session host(graph, {.device = "cpu", .disabled_passes = {"fuse_epilogue"}});
      const Tensor expected = host.run({}, {y})[0];
      gg::tests::in_every_setting([&] {
        gg::Session session(graph, {.device = "cuda:0"});
        CHECK(contains(session.explain_passes({}, {y}), "fuse_epilogue: ") == takes_in);
        CHECK(close(session.run({}, {y})[0], expected, 1e-4));
      });
    };
    check("subtracted from", full - ab(), true);
    check("a number less it", one - ab(), true);
    check("a column", gg::maximum(column, ab()) - row, true);
    check("unary", gg::abs(-gg::relu(ab())), true);
    check("the least", gg::square(gg::minimum(ab(), row) * full), true);
    // Not one value and another at each step, too many steps, or longer ones.
    const Output twice = ab();
    check("twice", (twice + full) * twice, false);
    check("two at once", ab() + gg::relu(full * row), false);
    check("five", gg::relu((ab() + row) * full - column) * one, false);
    check("a root", gg::sqrt(gg::abs(ab())), false);
  }

  TEST_CASE("weights are updated with equal bits in every order") {
    for (const auto& sizes : {std::pair{644, 322}, {24, 20}, {9, 7}}) {
      const int inputs = sizes.first, units = sizes.second;
      CAPTURE(inputs);
      gg::Graph graph;
      const Output x = gg::placeholder(graph, gg::float32, {6, inputs}, "x");
      const Output h = gg::nn::dense(x, {.units = units, .activation = gg::relu}, "a");
      const Output train = gg::Adam{.learning_rate = 0.01}.minimize(gg::mean(gg::square(h)));
      const Output kernel = graph.find("a/kernel")->output();
      const std::vector<std::pair<Output, Tensor>> feeds = {
          {x, noise({6, inputs}, 5).cast(gg::float32)}};
      gg::Session host(graph, {.device = "cpu", .seed = 3, .disabled_passes = {"fuse_epilogue"}});
      for (int step = 0; step < 2; ++step) host.run(feeds, {train});
      std::vector<Tensor> first;
      gg::tests::in_every_setting([&] {
        gg::Session session(graph, {.device = "cuda:0", .seed = 3});
        for (int step = 0; step < 2; ++step) session.run(feeds, {train});
        first.push_back(session.value(kernel).clone());
        CHECK(close(first.back(), host.value(kernel), 1e-4));
        CHECK(same_bits(first.back(), first.front()));
      });
    }
  }

  TEST_CASE("an update does nothing behind a value that was refused") {
    gg::Graph graph;
    const Output x = gg::placeholder(graph, gg::float32, {4, 8}, "x");
    const Output labels = gg::placeholder(graph, gg::int64, {4}, "labels");
    const Output w = gg::variable(graph, noise({8, 5}, 1).cast(gg::float32), "w");
    const Output loss = gg::mean(gg::sparse_softmax_cross_entropy(gg::matmul(x, w), labels));
    const Output train = gg::GradientDescent{.learning_rate = 0.1}.minimize(loss);
    gg::Session session(graph, {.device = "cuda:0"});
    const Tensor before = session.value(w).clone();
    std::vector<std::pair<Output, Tensor>> feeds = {
        {x, noise({4, 8}, 2).cast(gg::float32)},
        {labels, Tensor::full(gg::int64, {4}, std::int64_t{9})}};
    CHECK_THROWS_AS(session.run(feeds, {train}), gg::RunError);
    CHECK(same_bits(session.value(w), before));
    feeds[1].second = Tensor::full(gg::int64, {4}, std::int64_t{2});
    session.run(feeds, {train});
    CHECK_FALSE(same_bits(session.value(w), before));
  }

  TEST_CASE("what is too large, or deep, or not of short arithmetic, stays with cuBLAS") {
    const auto takes_in = [](std::int64_t rows, bool is_short, std::int64_t inner = 1024,
                             std::int64_t columns = 1024) {
      gg::Graph graph;
      const Output a = gg::placeholder(graph, gg::float32, {rows, inner}, "a");
      const Output b = gg::placeholder(graph, gg::float32, {inner, columns}, "b");
      const Output product = gg::matmul(a, b);
      const Output y = is_short ? gg::relu(product) : gg::tanh(product);
      gg::Session session(graph, {.device = "cuda:0"});
      return contains(session.explain_passes({{a, Tensor::zeros(gg::float32, a.shape())},
                                              {b, Tensor::zeros(gg::float32, b.shape())}},
                                             {y}),
                      "fuse_epilogue: ");
    };
    CHECK(takes_in(128, true));
    CHECK_FALSE(takes_in(129, true));
    CHECK_FALSE(takes_in(128, false));
    // Few tiles, of which each takes long.
    CHECK(takes_in(64, true, 1000, 128));
    CHECK_FALSE(takes_in(64, true, 1024, 128));
    CHECK_FALSE(takes_in(128, true, 1280, 512));
  }
}
