#include <doctest/doctest.h>

#include <vector>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"

/// What is added at indices, in their order whatever finds it.
namespace gg = gradgraph;

namespace {

/// Whether a GPU adds `count` rows at random indices to zeros of `shape` as the CPU does.
void check_scatter_add(const gg::Shape& shape, std::int64_t axis, std::int64_t count,
                       gg::DType dtype) {
  CAPTURE(shape);
  CAPTURE(count);
  gg::Graph graph;
  const std::int64_t size = shape[static_cast<int>(axis)];
  gg::Shape all = shape;
  all.set(static_cast<int>(axis), count);
  gg::Tensor where(gg::int32, {count});
  for (std::int64_t i = 0; i < count; ++i)
    where.data<std::int32_t>()[i] = static_cast<std::int32_t>(i * i * 7919 % size);
  const gg::Output indices = gg::placeholder(graph, gg::int32, {count});
  const gg::Output updates = gg::placeholder(graph, dtype, all);
  const gg::Output sums = gg::scatter_add(shape, indices, updates, axis);
  const gg::Feeds feeds = {{indices, where},
                           {updates, gg::tests::noise(all, 3, gg::float64).cast(dtype)}};
  gg::Session host(graph, {.device = "cpu"}), session(graph, {.device = "cuda:0"});
  CHECK(gg::tests::same_bits(session.run(feeds, sums), host.run(feeds, sums)));
}

}  // namespace

TEST_SUITE("cuda indexing") {
  TEST_CASE("few rows take what is added in the order of many indices") {
    for (const gg::DType dtype : {gg::float32, gg::float64, gg::int32})
      for (const std::int64_t count : {1, 31, 256, 257, 700}) {
        check_scatter_add({5, 40}, 0, count, dtype);
        check_scatter_add({3, 7, 2}, 1, count, dtype);
      }
  }

  TEST_CASE("many rows do so too, where indices are sorted first") {
    check_scatter_add({1 << 17, 1}, 0, 2100, gg::float32);
  }
}
