#include <doctest/doctest.h>

#include <limits>
#include <optional>
#include <sstream>
#include <vector>

#include "core/text.h"
#include "gradgraph/error.h"
#include "gradgraph/shape.h"

using namespace gradgraph;

TEST_CASE("a shape knows its rank, its dimensions and their product") {
  const Shape shape{2, 3, 4};
  CHECK(shape.rank() == 3);
  CHECK(shape[1] == 3);
  CHECK(shape.num_elements() == 24);
  CHECK(shape.fully_known());
  CHECK(std::vector<std::int64_t>(shape.begin(), shape.end()) ==
        std::vector<std::int64_t>{2, 3, 4});
  CHECK(shape.dims().size() == 3);
  CHECK(shape == Shape(std::vector<std::int64_t>{2, 3, 4}));
  CHECK_FALSE(shape == Shape{2, 3});
  CHECK_FALSE(shape == Shape{2, 3, 5});
}

TEST_CASE("axes are counted from either end, and there are no others") {
  Shape shape{2, 3, 5};
  CHECK(shape[-1] == 5);
  CHECK(shape[-3] == 2);
  shape.set(-2, 7);
  CHECK(shape == Shape{2, 7, 5});
  CHECK_THROWS_WITH_AS(shape[3], "[2,7,5] has no axis 3: those are -3 to 2", BuildError);
  CHECK_THROWS_AS(shape[-4], BuildError);
  CHECK_THROWS_AS(shape.set(3, 1), BuildError);
  CHECK_THROWS_WITH_AS(Shape{}[0], "a scalar's shape has no axis 0", BuildError);
}

TEST_CASE("a scalar has one element, a zero dimension none") {
  CHECK(Shape().rank() == 0);
  CHECK(Shape{}.num_elements() == 1);
  CHECK(Shape{0}.num_elements() == 0);
  CHECK(Shape{3, 0, 5}.num_elements() == 0);
  // 0 elements, although the other dimensions alone would overflow.
  CHECK(Shape{std::int64_t{1} << 40, std::int64_t{1} << 40, 0}.num_elements() == 0);
}

TEST_CASE("shapes print with a question mark for what is not known") {
  CHECK(Shape{any, 28, 28, 1}.to_string() == "[?,28,28,1]");
  CHECK(Shape{}.to_string() == "[]");
  std::ostringstream stream;
  stream << Shape{7, any};
  CHECK(stream.str() == "[7,?]");
  CHECK(fmt::format("{}", Shape{1, 2}) == "[1,2]");
}

TEST_CASE("a shape that cannot be is refused") {
  CHECK_THROWS_WITH_AS(
      (Shape{2, -2}),
      doctest::Contains("-2 is not a dimension: these are 0 or more, or gg::any for unknown  "
                        "(test_core_shape.cpp:"),
      BuildError);
  CHECK_THROWS_WITH_AS((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}),
                       doctest::Contains("a shape has at most 8 axes  (test_core_shape.cpp:"),
                       BuildError);
  CHECK_THROWS_WITH_AS(Shape(std::vector<std::int64_t>(9, 1)),
                       doctest::Contains("a shape has at most 8 axes  (test_core_shape.cpp:"),
                       BuildError);
  Shape full(std::vector<std::int64_t>(8, 1));
  CHECK_THROWS_WITH_AS(full.append(1),
                       doctest::Contains("a shape has at most 8 axes  (test_core_shape.cpp:"),
                       BuildError);
  const std::vector<std::int64_t> dims = {2, -2};
  CHECK_THROWS_WITH_AS(Shape(std::span(dims)), doctest::Contains("  (test_core_shape.cpp:"),
                       BuildError);
  CHECK(full.rank() == 8);
}

TEST_CASE("elements are counted only when they can be") {
  CHECK_THROWS_WITH_AS(
      (Shape{any, 4}.num_elements()),
      doctest::Contains("the number of elements of [?,4] is not known  (test_core_shape.cpp:"),
      BuildError);
  CHECK_FALSE(Shape{any, 4}.fully_known());
  const std::int64_t large = std::int64_t{1} << 32;
  CHECK_THROWS_WITH_AS(
      (Shape{large, large}.num_elements()),
      doctest::Contains("[4294967296,4294967296] has too many elements  (test_core_shape.cpp:"),
      BuildError);
  CHECK(Shape{std::numeric_limits<std::int64_t>::max()}.num_elements() ==
        std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("compatible shapes could be the same") {
  CHECK(Shape{any, 4}.compatible_with(Shape{3, 4}));
  CHECK(Shape{3, 4}.compatible_with(Shape{any, any}));
  CHECK(Shape{}.compatible_with(Shape{}));
  CHECK_FALSE(Shape{any, 4}.compatible_with(Shape{3, 5}));
  CHECK_FALSE(Shape{any}.compatible_with(Shape{3, 4}));
  CHECK_FALSE(Shape{3}.compatible_with(Shape{}));
}

TEST_CASE("broadcasting follows NumPy's rules") {
  struct Row {
    Shape a, b;
    std::optional<Shape> result;
  };
  const Row rows[] = {
      {{2, 3}, {2, 3}, Shape{2, 3}},
      {{2, 3}, {3}, Shape{2, 3}},
      {{2, 1}, {1, 3}, Shape{2, 3}},
      {{}, {4, 5}, Shape{4, 5}},
      {{}, {}, Shape{}},
      {{1}, {0}, Shape{0}},
      {{2, 0}, {1, 1}, Shape{2, 0}},
      {{5, 1, 4}, {3, 1}, Shape{5, 3, 4}},
      {{any, 3}, {3}, Shape{any, 3}},
      {{any}, {1}, Shape{any}},
      {{any}, {4}, Shape{4}},
      {{any}, {any}, Shape{any}},
      {{any}, {0}, Shape{0}},
      {{2, 3}, {2}, std::nullopt},
      {{0}, {2}, std::nullopt},
      {{2, 3}, {3, 2}, std::nullopt},
      {{any, 3}, {any, 4}, std::nullopt},
  };
  for (const Row& row : rows) {
    CAPTURE(row.a.to_string());
    CAPTURE(row.b.to_string());
    Shape result;
    REQUIRE(broadcast_shapes(row.a, row.b, result) == row.result.has_value());
    if (row.result) CHECK(result.to_string() == row.result->to_string());
    REQUIRE(broadcast_shapes(row.b, row.a, result) == row.result.has_value());
    if (row.result) CHECK(result.to_string() == row.result->to_string());
  }
}
