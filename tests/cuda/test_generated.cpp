#include <doctest/doctest.h>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "settings.h"

/// Kernels that are generated for programs of elementwise ops.
namespace gg = gradgraph;
using gg::Output;
using gg::Shape;
using gg::Tensor;
using gg::tests::noise;
using gg::tests::same_bits;

namespace {

/// Of one program: all kinds of ops, ways to read an input and types of results.
struct Mixture {
  gg::Graph graph;
  gg::Feeds feeds;
  std::vector<Output> results;

  explicit Mixture(const Shape& shape) {
    Shape row = shape, column = shape;
    for (int axis = 0; axis + 1 < shape.rank(); ++axis) row.set(axis, 1);
    if (shape.rank() > 0) column.set(shape.rank() - 1, 1);
    const Output x = feed(shape, gg::float32), y = feed(row, gg::float32);
    const Output z = feed(column, gg::float16), s = feed({}, gg::float32);
    const Output mask = feed(shape, gg::boolean), count = feed(row, gg::uint8);
    const Output wide = gg::cast(z, gg::float32), ones = gg::cast(count, gg::float32);
    const Output a =
        gg::where(gg::greater(x, y), gg::leaky_relu(x * s, 0.1), gg::elu(x - ones, 0.5));
    const Output b = gg::softplus(a) + gg::log1p(gg::abs(x)) - gg::expm1(gg::minimum(x, wide));
    const Output c = gg::clip(b, -1, 1) + gg::floor(x) * gg::ceil(wide) - gg::sign(y);
    const Output both = gg::logical_or(
        gg::logical_and(gg::greater_equal(x, s), gg::logical_not(mask)), gg::is_nan(y));
    const Output d = gg::where(both, gg::pow(gg::abs(b), s), gg::round(c));
    results = {a,
               d,
               both,
               gg::cast(c, gg::float16),
               gg::cast(d, gg::bfloat16),
               gg::tanh(d) * gg::sigmoid(x) + gg::exp(-gg::square(wide))};
  }

 private:
  Output feed(const Shape& shape, gg::DType dtype) {
    const Output input = gg::placeholder(graph, dtype, shape);
    Tensor value = noise(shape, static_cast<std::uint32_t>(feeds.size() + 1));
    if (dtype == gg::uint8 || dtype == gg::boolean)
      for (double& element : value.span<double>()) element = element > 0.3 ? 1 : 0;
    feeds.emplace_back(input, value.cast(dtype));
    return input;
  }
};

}  // namespace

TEST_SUITE("cuda generated") {
  TEST_CASE("programs of all kinds of ops have the CPU's bits") {
    // The last ones have four elements a thread, and more than one round.
    for (const Shape& shape : {Shape{}, Shape{7}, Shape{5, 33}, Shape{3, 8, 64},
                               Shape{2, 512, 128}, Shape{3, 43693}, Shape{5, 110000}}) {
      CAPTURE(shape);
      Mixture mixture(shape);
      gg::Session host(mixture.graph, {.device = "cpu"});
      gg::Session session(mixture.graph, {.device = "cuda:0"});
      const auto expected = host.run(mixture.feeds, mixture.results);
      const auto actual = session.run(mixture.feeds, mixture.results);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        CAPTURE(i);
        CHECK(same_bits(actual[i], expected[i]));
      }
    }
  }

  TEST_CASE("they are the same in every setting") {
    Mixture mixture({6, 43});
    gg::Session host(mixture.graph, {.device = "cpu"});
    const auto expected = host.run(mixture.feeds, mixture.results);
    gg::tests::in_every_setting([&] {
      gg::Session session(mixture.graph, {.device = "cuda:0", .threads = 1});
      const auto actual = session.run(mixture.feeds, mixture.results);
      for (std::size_t i = 0; i < expected.size(); ++i) CHECK(same_bits(actual[i], expected[i]));
    });
  }

  TEST_CASE("fuse_parts: parts are read and written where they lie") {
    struct Case {
      Shape shape;
      std::vector<std::int64_t> sizes;
      int axis;
      gg::DType dtype = gg::float32;
    };
    const Case cases[] = {
        {{6, 40}, {10, 10, 10, 10}, 1}, {{6, 40}, {10, 10, 10, 10}, 1, gg::bfloat16},
        {{5, 28}, {7, 7, 7, 7}, 1},     {{4, 12, 5}, {3, 3, 3, 3}, 1},
        {{4, 15, 5}, {3, 3, 6, 3}, 1},  {{512, 1024}, {256, 256, 256, 256}, 1}};
    for (const Case& c : cases) {
      const Shape& shape = c.shape;
      const std::vector<std::int64_t>& sizes = c.sizes;
      const gg::DType dtype = c.dtype;
      const int axis = c.axis;
      CAPTURE(shape);
      CAPTURE(dtype);
      gg::Graph graph;
      const Output x = gg::placeholder(graph, dtype, shape);
      const std::vector<Output> parts = gg::split(x, sizes, axis);
      const bool is_even = sizes[2] == sizes[0];
      const Output gate = gg::sigmoid(parts[0]) * gg::tanh(parts[1]);
      const Output state = is_even ? gate * parts[2] + parts[3] : gate + parts[3];
      const Output other = is_even ? state - parts[0] : gg::tanh(parts[2]);
      const std::vector<Output> results = {
          is_even ? gg::square(gg::concat({state, other, gate * state}, axis))
                  : gg::square(gg::concat({state, gate * state, state}, axis)),
          gg::relu(state), gg::sum(other)};
      const gg::Feeds feeds = {{x, noise(shape, 1).cast(dtype)}};
      gg::Session host(graph, {.device = "cpu"});
      const auto expected = host.run(feeds, results);
      gg::Session session(graph, {.device = "cuda:0"});
      const std::string passes = session.explain_passes(feeds, results);
      CHECK_MESSAGE(passes.find("fuse_parts: ") != std::string::npos, passes);
      const auto actual = session.run(feeds, results);
      for (std::size_t i = 0; i < 2; ++i) CHECK(same_bits(actual[i], expected[i]));
      CHECK(gg::tests::close(actual[2], expected[2], dtype == gg::float32 ? 1e-4 : 1e-2));
    }
  }
}
