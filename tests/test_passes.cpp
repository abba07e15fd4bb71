#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "gradgraph/gradgraph.h"
#include "noise.h"
#include "pass_drawing.h"

using namespace gradgraph;
using gradgraph::tests::noise;

namespace {

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

const SessionOptions kPlain = {.disabled_passes = tests::all_passes_but({})};
/// Fusing elementwise ops changes no bit; other passes may round otherwise.
const SessionOptions kFused = {.disabled_passes = tests::all_passes_but({"fuse_elementwise"})};

/// A value that is the same in every run of the test.
}  // namespace

TEST_SUITE("passes") {
  //  x ── mul ── add ── relu ── sum         x ─┐
  //        │      │                  =>     w ─┤ fused(mul, add, relu) ── sum
  //        w      b                         b ─┘
  TEST_CASE("fuse_elementwise makes one node of a chain") {
    Graph graph;
    const Output x = placeholder(graph, float32, {any, 3}, "x");
    const Output w = placeholder(graph, float32, {any, 3}, "w");
    const Output b = placeholder(graph, float32, {3}, "b");
    const Output y = sum(relu(x * w + b));
    const Feeds feeds = {{x, noise({700, 3}, 1, float32)},
                         {w, noise({700, 3}, 2, float32)},
                         {b, Tensor{1.f, 2.f, -3.f}}};
    Session fused(graph, kFused), plain(graph, kPlain);
    CHECK(fused.explain_passes(feeds, {y}) == "fuse_elementwise: 'relu' = mul, add, relu");
    CHECK(plain.explain_passes(feeds, {y}) == "");
    const Tensor expected = plain.run(feeds, y);
    CHECK(plain.last_run().nodes_run == 5);
    CHECK(same_bits(fused.run(feeds, y), expected));
    CHECK(fused.last_run().nodes_run == 3);
  }

  //  x ── exp ──┬── mul ── (fetched)        x ── exp ─┬── fused(add, mul)
  //             └── add ──┘                           └── (fetched)
  TEST_CASE("fuse_elementwise keeps what is fetched") {
    Graph graph;
    const Output x = placeholder(graph, float32, {4}, "x");
    const Output e = exp(x);
    const Output y = e * (e + 1.f);
    const Feeds feeds = {{x, noise({4}, 3, float32)}};
    Session fused(graph, kFused), plain(graph, kPlain);
    const auto a = fused.run(feeds, {e, y}), b = plain.run(feeds, {e, y});
    CHECK(same_bits(a[0], b[0]));
    CHECK(same_bits(a[1], b[1]));
    CHECK(fused.run(feeds, y).shape() == Shape{4});  // here exp is part of it
    CHECK(fused.last_run().nodes_run == 2);
  }

  TEST_CASE("all updates of one shape are one node, and give the same bits") {
    Graph graph;
    const Output x = placeholder(graph, float32, {any, 6}, "x");
    const Output h = nn::dense(x, {.units = 6, .activation = gg::tanh}, "a");
    const Output loss = mean(square(nn::dense(h, {.units = 6}, "b") - x));
    const Output train = Adam{.learning_rate = cosine_schedule(0.01, 50)}.minimize(loss);
    const Output weights = identity(graph.find("a/kernel")->output());
    Session fused(graph, {.seed = 3, .disabled_passes = kFused.disabled_passes});
    Session plain(graph, {.seed = 3, .disabled_passes = kPlain.disabled_passes});
    for (unsigned i = 0; i < 30; ++i) {
      const Feeds feeds = {{x, noise({5, 6}, i, float32)}};
      CHECK(same_bits(fused.run(feeds, {train, loss})[1], plain.run(feeds, {train, loss})[1]));
    }
    CHECK(same_bits(fused.run(weights), plain.run(weights)));
    const std::string rewrites =
        fused.explain_passes({{x, noise({5, 6}, 0, float32)}}, {train, loss});
    CHECK(rewrites.find("assign") != std::string::npos);
  }

  TEST_CASE("many updates, and long ways to one, are some nodes of a size that kernels have") {
    Graph graph;
    std::vector<Output> updates;
    for (int i = 0; i < 100; ++i) {
      const Output v = variable(graph, noise({3}, static_cast<unsigned>(i), float32));
      updates.push_back(assign(v, sin(v) * 0.5f));
    }
    const Output w = variable(graph, noise({5}, 1, float32), "w");
    Output y = w;
    for (int i = 0; i < 400; ++i) y = i % 2 == 0 ? sin(y) : exp(y);
    updates.push_back(assign(w, y));
    const Output train = group(graph, updates);
    const std::string drawn = tests::draw(graph, {train}, {"fuse_elementwise"});
    const auto count = [&](const std::string& text) {
      std::size_t found = 0;
      for (auto at = drawn.find(text); at != std::string::npos; at = drawn.find(text, at + 1))
        ++found;
      return found;
    };
    // Three nodes each, so that 85 variables fill one.
    CHECK(count("= fused_update(") == 3);
    CHECK(count("= fused(") == 1);
    CHECK(count("= assign(") == 0);
    CHECK(count("= sin(") == 0);
  }

  TEST_CASE("fused updates keep step semantics") {
    Graph graph;
    const Output a = variable(graph, Tensor{1.f, 2.f}, "a");
    const Output b = variable(graph, Tensor{10.f, 20.f}, "b");
    const Output swap = group(graph, {assign(a, b * 1.f), assign(b, a * 1.f)});
    const Output old = a + b;
    Session session(graph);
    const auto results = session.run({}, {swap, old});
    CHECK(results[1].at<float>({0}) == 11.f);
    CHECK(session.value(a).at<float>({0}) == 10.f);
    CHECK(session.value(b).at<float>({1}) == 2.f);
  }

  TEST_CASE("a chain that begins before an update and ends after it keeps the old value") {
    Graph graph;
    const Output w = variable(graph, Tensor{1.f, 2.f}, "w");
    const Output early = w * 2.f;
    const Output update = assign(w, Tensor{5.f, 5.f});
    Output late;
    {
      const auto after = control_dependencies(graph, {update});
      late = identity(w);
    }
    const Output both = early + late;
    Session session(graph);
    CHECK(session.run(both).at<float>({1}) == 9.f);
  }

  TEST_CASE("random graphs give the same bits with passes and without") {
    for (unsigned seed = 0; seed < 300; ++seed) {
      CAPTURE(seed);
      std::minstd_rand random(seed + 1);
      const auto pick = [&](std::size_t count) {
        return static_cast<std::size_t>(random()) % count;
      };
      Graph graph;
      const Shape shapes[] = {{7, 5}, {5}, {7, 1}, {}, {2, 7, 5}};
      Feeds feeds;
      std::vector<Output> values;
      for (int i = 0; i < 4; ++i) {
        const Shape& shape = shapes[pick(5)];
        values.push_back(placeholder(graph, float32, shape));
        feeds.emplace_back(values.back(), noise(shape, static_cast<unsigned>(random()), float32));
      }
      const std::size_t nodes = 5 + pick(40);
      while (values.size() < nodes) {
        const Output a = values[pick(values.size())], b = values[pick(values.size())];
        Shape unused;
        const bool fits = broadcast_shapes(a.shape(), b.shape(), unused);
        switch (pick(12)) {
          case 0: values.push_back(relu(a)); break;
          case 1: values.push_back(tanh(a)); break;
          case 2: values.push_back(-a); break;
          case 3: values.push_back(sigmoid(a)); break;
          case 4: values.push_back(sum(a, {}, false)); break;
          case 5: values.push_back(a.rank() > 0 ? mean(a, -1, true) : square(a)); break;
          case 6: values.push_back(cast(cast(a, int32), float32)); break;
          case 7: values.push_back(where(less(a, 0), a, 1)); break;
          case 8: values.push_back(fits ? a * b : abs(a)); break;
          case 9: values.push_back(fits ? maximum(a, b) : sign(a)); break;
          case 10: values.push_back(fits ? where(greater(a, b), a, b) : a + 1); break;
          default: values.push_back(fits ? a - b : a * 0.5f); break;
        }
      }
      std::vector<Output> fetches = {values.back(), values[pick(values.size())]};
      for (const Output& grad : gradients({sum(values.back())}, {values[0], values[1]}))
        fetches.push_back(grad);
      Session fused(graph, kFused), plain(graph, kPlain);
      const auto got = fused.run(feeds, fetches), expected = plain.run(feeds, fetches);
      for (std::size_t i = 0; i < fetches.size(); ++i) CHECK(same_bits(got[i], expected[i]));
    }
  }

  TEST_CASE("bad input: a pass that does not exist") {
    Graph graph;
    CHECK_THROWS_WITH_AS(Session(graph, {.disabled_passes = {"fuse_everything"}}),
                         doctest::Contains("there is no pass 'fuse_everything', only simplify"),
                         RunError);
  }
}
