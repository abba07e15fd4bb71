#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "gradgraph/gradgraph.h"
#include "noise.h"

using namespace gradgraph;
using gradgraph::tests::noise;

namespace {

const SessionOptions kPlain = {.seed = 3, .disabled_passes = {"fuse_epilogue"}};

void check_close(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  for (std::int64_t i = 0; i < a.num_elements(); ++i)
    REQUIRE(std::fabs(a.data<float>()[i] - b.data<float>()[i]) <= 1e-4F);
}

bool takes_in(Session& session, const Feeds& feeds, const Output& fetch) {
  return session.explain_passes(feeds, {fetch}).find("fuse_epilogue: ") != std::string::npos;
}

}  // namespace

TEST_SUITE("passes") {
  //  a ─┐                                     a ─┐
  //  b ─┴ matmul ── fused(add, relu)    =>    b ─┤ matmul_with_epilogue
  //  c ──────────────┘                        c ─┘
  TEST_CASE("fuse_epilogue: products of all layouts take in what follows") {
    for (const bool transpose_a : {false, true})
      for (const bool transpose_b : {false, true})
        for (const std::int64_t columns : {1, 10, 33, 512, 2100}) {
          CAPTURE(columns);
          Graph graph;
          const Output a = placeholder(graph, float32, {any, any}, "a");
          const Output b = placeholder(graph, float32, {any, any}, "b");
          const Output c = placeholder(graph, float32, {any}, "c");
          const Output m = placeholder(graph, float32, {any, any}, "m");
          const Output y = relu(matmul(a, b, {transpose_a, transpose_b}) + c) * m;
          const Feeds feeds = {
              {a, noise(transpose_a ? Shape{300, 70} : Shape{70, 300}, 1, float32)},
              {b, noise(transpose_b ? Shape{columns, 300} : Shape{300, columns}, 2, float32)},
              {c, noise({columns}, 3, float32)},
              {m, noise({70, columns}, 4, float32)}};
          Session fused(graph, {.threads = 2}), plain(graph, kPlain);
          CHECK(takes_in(fused, feeds, y));
          check_close(fused.run(feeds, y), plain.run(feeds, y));
          CHECK(fused.last_run().nodes_run + 1 == plain.last_run().nodes_run);
        }
  }

  TEST_CASE("fuse_epilogue: an op on its own, in either place") {
    Graph graph;
    const Output a = placeholder(graph, float32, {5, 7}, "a");
    const Output b = placeholder(graph, float32, {7, 9}, "b");
    const Output x = placeholder(graph, float32, {5, 9}, "x");
    const Output y = x - matmul(a, b), z = matmul(a, b) / x;
    const Feeds feeds = {{a, noise({5, 7}, 1, float32)},
                         {b, noise({7, 9}, 2, float32)},
                         {x, Tensor::full(float32, {5, 9}, 3)}};
    Session fused(graph), plain(graph, kPlain);
    CHECK(takes_in(fused, feeds, y));
    check_close(fused.run(feeds, y), plain.run(feeds, y));
    check_close(fused.run(feeds, z), plain.run(feeds, z));
  }

  //  a ─┐                                        a ─┐
  //  b ─┴ matmul ─┬─ relu ── (fetched)    =>    b ─┴ matmul ─┬─ ...   as it was
  //               └──────── (fetched)                        └─ ...
  TEST_CASE("fuse_epilogue leaves a product that somebody else reads") {
    Graph graph;
    const Output a = placeholder(graph, float32, {4, 4}, "a");
    const Output product = matmul(a, a);
    const Output twice = product + sum(product),
                 larger = matmul(a, a) + placeholder(graph, float32, {2, 4, 4}, "l");
    const Feeds feeds = {{a, noise({4, 4}, 1, float32)},
                         {larger.node().input(1), noise({2, 4, 4}, 2, float32)}};
    Session session(graph), plain(graph, kPlain);
    CHECK(!takes_in(session, feeds, twice));
    CHECK(!takes_in(session, feeds, larger));
    check_close(session.run(feeds, {product, relu(product)})[1], plain.run(feeds, relu(product)));
  }

  TEST_CASE("fuse_epilogue: weights are updated as without it") {
    // Also in chunks that are not as wide as the weights.
    std::int64_t units = 0;
    SUBCASE("narrow") { units = 130; }
    SUBCASE("wide") { units = 2200; }
    Graph graph;
    const Output x = placeholder(graph, float32, {any, 40}, "x");
    const Output h = nn::dense(x, {.units = units, .activation = gg::relu}, "a");
    const Output loss = mean(square(nn::dense(h, {.units = 3}, "b")));
    const Output train = Adam{.learning_rate = 0.01}.minimize(loss);
    Session fused(graph, {.seed = 3}), plain(graph, kPlain), again(graph, {.seed = 3});
    const Feeds feeds = {{x, noise({150, 40}, 5, float32)}};
    CHECK(fused.explain_passes(feeds, {train}).find("takes in 'train/a/kernel") !=
          std::string::npos);
    for (int step = 0; step < 5; ++step)
      for (Session* session : {&fused, &plain, &again}) session->run(feeds, {train, loss});
    for (const char* name : {"a/kernel", "a/bias", "b/kernel"}) {
      const Output variable = graph.find(name)->output();
      check_close(fused.value(variable), plain.value(variable));
      const Tensor one = fused.value(variable), other = again.value(variable);
      for (std::int64_t i = 0; i < one.num_elements(); ++i)
        REQUIRE(one.data<float>()[i] == other.data<float>()[i]);
    }
  }

  // The product reads the variable that is updated: it must see the old value throughout.
  TEST_CASE("fuse_epilogue leaves an update of what the product reads") {
    Graph graph;
    const Output w = variable(graph, noise({40, 40}, 6, float32), "w");
    const Output train = assign(w, w - 0.1F * matmul(w, w));
    Session session(graph), plain(graph, kPlain);
    for (Session* each : {&session, &plain}) each->run({}, std::vector<Output>{train});
    check_close(session.value(w), plain.value(w));
  }
}
