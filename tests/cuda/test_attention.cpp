#include <doctest/doctest.h>

#include <algorithm>

#include "attention_networks.h"
#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "settings.h"
#include "special_values.h"

/// Attention whose scores stay in a block of a GPU.
namespace gradgraph::tests {
namespace {

const Sizes kSizes[] = {
    {2, 3, 32, 32, 16, 16},  // whole tiles
    {1, 2, 1, 2, 1, 1},      // the least
    {3, 1, 35, 67, 5, 3},    // parts of tiles
    {1, 2, 7, 128, 33, 40},  // as many keys as there may be, rows of more columns than lanes make
    {1, 1, 70, 3, 20, 8},    // fewer keys than lanes
};

void check(Network& network, const char* line) {
  const std::vector<std::string> without = {"fuse_attention"};
  Session plain(network.graph, {.device = "cpu", .disabled_passes = without});
  const auto expected = plain.run({}, network.fetches);
  in_every_setting([&] {
    Session session(network.graph, {.device = "cuda:0"});
    CHECK(contains(session.explain_passes({}, network.fetches), line));
    const auto actual = session.run({}, network.fetches);
    for (std::size_t i = 0; i < actual.size(); ++i)
      CHECK(find_difference(actual[i], expected[i], 2e-5, 1) == "");
  });
}

}  // namespace

TEST_SUITE("cuda attention") {
  TEST_CASE("the same results and gradients as without it") {
    for (const Sizes& s : kSizes)
      for (const MaskKind kind : kMasks) {
        CAPTURE(s.queries);
        CAPTURE(static_cast<int>(kind));
        Network network(s, [&](Network& n) { return attend(n, s, kind); });
        check(network, "' is part of attention and its gradients");
      }
  }

  TEST_CASE("what is hidden may count a little, and gradients may be all there is") {
    const Sizes s{2, 2, 33, 20, 6, 4};
    Network network(s, [&](Network& n) { return attend(n, s, MaskKind::scattered, -3); });
    check(network, "' is part of attention and its gradients");
    network.fetches.pop_back();
    check(network, "' is part of attention's gradients");
  }

  TEST_CASE("heads may lie inside of rows, and then nothing is transposed") {
    for (const int heads : {1, 3})
      for (const bool whole : {true, false}) {
        CAPTURE(heads);
        CAPTURE(whole);
        Graph graph;
        const auto value = [&](const Shape& shape, unsigned seed, const char* name) {
          return variable(graph, values(shape, seed), name);
        };
        const Output q = value({2, 35, heads, 8}, 1, "q"), k = value({2, 40, heads, 8}, 2, "k"),
                     v = value({2, 40, heads, 5}, 3, "v");
        const auto turned = [](const Output& x) { return transpose(x, {0, 2, 1, 3}); };
        const Output seen = constant(graph, mask_of(MaskKind::head, {2, heads, 35, 40, 8, 5}));
        const Output scores = matmul(turned(q), turned(k), {.transpose_b = true}) * 0.4F;
        const Output heads_first = matmul(softmax(where(seen, scores, -1e9)), turned(v));
        // Who else reads the result wants it as it is.
        const Output y = whole ? turned(heads_first) : turned(heads_first) * 2.0F;
        std::vector<Output> fetches = gradients({sum(y * value(y.shape(), 4, "g"))}, {q, k, v});
        fetches.push_back(y);
        if (!whole) fetches.push_back(heads_first);
        Session plain(graph, {.device = "cpu", .disabled_passes = {"fuse_attention"}});
        const auto expected = plain.run({}, fetches);
        in_every_setting([&] {
          Session session(graph, {.device = "cuda:0", .node_times = true});
          const auto actual = session.run({}, fetches);
          for (std::size_t i = 0; i < actual.size(); ++i)
            CHECK(find_difference(actual[i], expected[i], 2e-5, 1) == "");
          const auto& nodes = session.last_run().nodes;
          const bool transposes = std::ranges::any_of(
              nodes, [](const NodeTime& node) { return node.planned->op().name == "transpose"; });
          if (heads > 1) CHECK(transposes == !whole);
        });
      }
  }

  TEST_CASE("of more keys, or in other dtypes, its parts are nodes of their own") {
    const auto is_fused = [](const Sizes& s, DType dtype) {
      Graph graph;
      const auto value = [&](const Shape& shape, unsigned seed) {
        return variable(graph, noise(shape, seed).cast(dtype), "v");
      };
      const Output q = value(s.q(), 1), k = value(s.k(), 2), v = value(s.v(), 3);
      const Output y = matmul(softmax(matmul(q, k, {.transpose_b = true})), v);
      Session session(graph, {.device = "cuda:0"});
      return contains(session.explain_passes({}, {y}), "fuse_attention: ");
    };
    CHECK(is_fused({1, 2, 300, 128, 8, 8}, float32));
    CHECK_FALSE(is_fused({1, 2, 300, 129, 8, 8}, float32));
    CHECK_FALSE(is_fused({1, 2, 32, 32, 129, 8}, float32));
    CHECK_FALSE(is_fused({1, 2, 32, 32, 8, 8}, float64));
  }
}

}  // namespace gradgraph::tests
