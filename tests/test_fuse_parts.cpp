#include <doctest/doctest.h>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"

/// Elementwise programs that read and write columns of values where they lie.
namespace gg = gradgraph;
using gg::Output;
using gg::Shape;
using gg::Tensor;
using gg::tests::noise;
using gg::tests::same_bits;
using Outputs = std::vector<Output>;

namespace {

/// The values with and without the pass; `fuses`: whether it finds something.
void check_same(gg::Graph& graph, const gg::Feeds& feeds, const Outputs& fetches, bool fuses) {
  gg::Session plain(graph, {.threads = 1, .disabled_passes = {"fuse_parts"}});
  const auto expected = plain.run(feeds, fetches);
  for (const int threads : {1, 3}) {
    CAPTURE(threads);
    gg::Session session(graph, {.threads = threads});
    const std::string passes = session.explain_passes(feeds, fetches);
    CHECK_MESSAGE((passes.find("fuse_parts: ") != std::string::npos) == fuses, passes);
    const auto actual = session.run(feeds, fetches);
    for (std::size_t i = 0; i < fetches.size(); ++i) CHECK(same_bits(actual[i], expected[i]));
  }
}

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("fuse_parts: parts are read and written where they lie") {
    struct Case {
      Shape shape;
      std::vector<std::int64_t> sizes;
      int axis;
    };
    // Rows that a tile holds many of, some, and a part of; and parts of another size.
    const Case cases[] = {{{6, 40}, {10, 10, 10, 10}, 1},
                          {{2, 8}, {2, 2, 2, 2}, 1},
                          {{70, 512}, {128, 128, 128, 128}, 1},
                          {{9, 1200}, {300, 300, 300, 300}, 1},
                          {{3, 12000}, {3000, 3000, 3000, 3000}, 1},
                          {{4, 12, 5}, {3, 3, 3, 3}, 1},
                          {{4, 15, 5}, {3, 3, 6, 3}, 1}};
    for (const Case& c : cases)
      for (const gg::DType dtype : {gg::float32, gg::float64, gg::bfloat16}) {
        const Shape& shape = c.shape;
        CAPTURE(shape);
        CAPTURE(dtype);
        gg::Graph graph;
        const Output x = gg::placeholder(graph, dtype, shape);
        const Output row = gg::placeholder(graph, dtype, {shape[shape.rank() - 1]});
        const Outputs parts = gg::split(x, c.sizes, c.axis);
        const Output bias = gg::slice(row, {0}, {parts[0].shape()[shape.rank() - 1]});
        const bool is_even = c.sizes[2] == c.sizes[0];
        const Output gate = gg::sigmoid(parts[0]) * gg::tanh(parts[1] + bias);
        const Output state = gate * (is_even ? parts[2] : parts[0]) + parts[3];
        const Output other = gg::tanh(parts[2]);
        check_same(graph,
                   {{x, noise(shape, 1).cast(dtype)}, {row, noise(row.shape(), 2).cast(dtype)}},
                   {gg::square(gg::concat({state, gate * state, state - parts[0]}, c.axis)),
                    gg::relu(state), gg::neg(other)},
                   true);
      }
  }

  TEST_CASE("fuse_parts: an LSTM's gates, and their gradients") {
    gg::Graph graph;
    const Output x = gg::placeholder(graph, gg::float32, {5, 7, 6});
    const Output states = gg::nn::Lstm({.units = 12})(x).outputs;
    const Output train = gg::Adam{.learning_rate = 0.1}.minimize(gg::mean(gg::square(states)));
    const Output total = gg::sum(states);
    gg::Session plain(graph, {.seed = 1, .threads = 1, .disabled_passes = {"fuse_parts"}});
    gg::Session session(graph, {.seed = 1, .threads = 1});
    const gg::Feeds feeds = {{x, noise(x.shape(), 1, gg::float32)}};
    for (int step = 0; step < 3; ++step)
      CHECK(
          same_bits(session.run(feeds, {total, train})[0], plain.run(feeds, {total, train})[0]));
    const std::string passes = session.explain_passes(feeds, {total, train});
    CHECK_MESSAGE(passes.find("reads parts of values") != std::string::npos, passes);
    CHECK_MESSAGE(passes.find("writes parts of values") != std::string::npos, passes);
  }

  TEST_CASE("fuse_parts: what refuses values still does") {
    gg::Graph graph;
    const Output x = gg::placeholder(graph, gg::int32, {2, 8});
    const Outputs parts = gg::split(x, {4, 4}, 1);
    const Output y = gg::abs(parts[0] / parts[1]);
    gg::Session session(graph);
    CHECK_THROWS_WITH_AS(session.run({{x, Tensor::zeros(gg::int32, {2, 8})}}, y),
                         doctest::Contains("division by zero"), gg::RunError);
  }

  TEST_CASE("fuse_parts: what is copied all the same") {
    const auto check = [](int axis, bool fuses, const auto& make) {
      gg::Graph graph;
      const Output x = gg::placeholder(graph, gg::float32, {8, 8});
      check_same(graph, {{x, noise({8, 8}, 1, gg::float32)}}, make(x, gg::split(x, {4, 4}, axis)),
                 fuses);
    };
    const auto product = [](const Outputs& parts) { return parts[0] * gg::tanh(parts[1]); };
    check(1, true, [&](const Output&, const Outputs& parts) {
      return Outputs{gg::square(product(parts))};
    });
    // Parts in one piece each, ones that others read, are fetched, or meet as rows of more.
    check(0, false, [&](const Output&, const Outputs& parts) {
      return Outputs{gg::square(product(parts))};
    });
    check(1, false, [&](const Output& x, const Outputs& parts) {
      return Outputs{product(parts), gg::matmul(x, parts[0])};
    });
    check(1, false, [&](const Output&, const Outputs& parts) {
      return Outputs{product(parts), parts[1]};
    });
    check(1, false, [&](const Output& x, const Outputs& parts) {
      return Outputs{gg::reshape(x, {2, 8, 4}) * gg::tanh(parts[0]) - parts[1]};
    });
    // A whole of which another one makes a part, or that has a part twice.
    check(0, false, [&](const Output& x, const Outputs& parts) {
      return Outputs{gg::softmax(gg::concat({gg::tanh(parts[0]), gg::matmul(parts[1], x)}, 1))};
    });
    check(0, false, [&](const Output&, const Outputs& parts) {
      const Output y = product(parts);
      return Outputs{gg::softmax(gg::concat({y, y}, 1))};
    });
  }
}
