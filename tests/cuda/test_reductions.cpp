#include <doctest/doctest.h>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "settings.h"

/// The GPU's reductions at sizes around what a thread, a block and one launch take.
namespace gg = gradgraph;
using gg::Output;
using gg::Shape;
using gg::Tensor;
using gg::tests::close;
using gg::tests::noise;
using gg::tests::same_bits;

TEST_SUITE("cuda reductions") {
  TEST_CASE("rows, columns and axes in between, in one launch and in several") {
    const struct {
      Shape shape;
      std::vector<std::int64_t> axes;
    } cases[] = {
        {{128, 10}, {0}},        {{7, 65}, {0}},   {{130, 64}, {0}},  {{1000, 1}, {0}},
        {{9000, 3}, {0}},        {{300, 40}, {0}}, {{3, 5, 70}, {1}}, {{20, 9, 4, 6}, {0, 2}},
        {{2, 3, 11, 5}, {0, 3}}, {{3, 32}, {1}},   {{3, 33}, {1}},    {{2, 4097}, {1}},
        {{513, 2}, {0, 1}},
    };
    for (const auto& c : cases) {
      CAPTURE(c.shape);
      gg::Graph graph;
      const Output x =
          gg::variable(gg::constant(graph, noise(c.shape, 1).cast(gg::float32)), "x");
      const std::vector<Output> fetches = {gg::sum(x, c.axes), gg::mean(x, c.axes),
                                           gg::max(x, c.axes)};
      gg::Session host(graph, {.device = "cpu"});
      const auto expected = host.run({}, fetches);
      std::vector<Tensor> first;
      gg::tests::in_every_setting([&] {
        gg::Session session(graph, {.device = "cuda:0", .threads = 1});
        const auto values = session.run({}, fetches);
        for (std::size_t i = 0; i < values.size(); ++i) {
          CHECK(close(values[i], expected[i], 1e-4));
          if (!first.empty()) CHECK(same_bits(values[i], first[i]));
        }
        first = values;
      });
    }
  }
}
