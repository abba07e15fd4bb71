#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "core/convert.h"
#include "core/text.h"
#include "gradgraph/dtype.h"

using namespace gradgraph;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("every dtype has a name, a size and a C++ type") {
  struct Row {
    DType dtype;
    const char* name;
    std::size_t size;
    bool floating, integer;
  };
  const Row rows[] = {{float32, "float32", 4, true, false}, {float64, "float64", 8, true, false},
                      {int32, "int32", 4, false, true},     {int64, "int64", 8, false, true},
                      {uint8, "uint8", 1, false, true},     {boolean, "bool", 1, false, false}};
  for (const Row& row : rows) {
    CAPTURE(row.name);
    CHECK(name(row.dtype) == row.name);
    CHECK(size_of(row.dtype) == row.size);
    CHECK(is_floating(row.dtype) == row.floating);
    CHECK(is_integer(row.dtype) == row.integer);
    CHECK(visit_dtype(row.dtype, []<class T>() { return dtype_of<T>; }) == row.dtype);
    CHECK(visit_dtype(row.dtype, []<class T>() { return sizeof(T); }) == row.size);
    std::ostringstream stream;
    stream << row.dtype;
    CHECK(stream.str() == row.name);
    CHECK(fmt::format("{}", row.dtype) == row.name);
  }
  static_assert(dtype_of<const float> == float32);
}

TEST_CASE("a float beyond an integer's range takes the nearest end") {
  CHECK(convert<std::uint8_t>(300.F) == 255);
  CHECK(convert<std::uint8_t>(255.9F) == 255);
  CHECK(convert<std::uint8_t>(-0.9F) == 0);
  CHECK(convert<std::uint8_t>(-kInfinity) == 0);
  CHECK(convert<std::int32_t>(2147483648.F) == std::numeric_limits<std::int32_t>::max());
  CHECK(convert<std::int32_t>(2147483647.0) == 2147483647);
  CHECK(convert<std::int32_t>(-2147483648.0) == std::numeric_limits<std::int32_t>::min());
  CHECK(convert<std::int32_t>(-1e10) == std::numeric_limits<std::int32_t>::min());
  CHECK(convert<std::int64_t>(kInfinity) == std::numeric_limits<std::int64_t>::max());
  CHECK(convert<std::int64_t>(9223372036854775808.0) == std::numeric_limits<std::int64_t>::max());
  CHECK(convert<std::int64_t>(9223372036854774784.0) == 9223372036854774784);
  CHECK(convert<std::int64_t>(-1e30F) == std::numeric_limits<std::int64_t>::min());
}

TEST_CASE("other conversions are C++'s, NaN is 0, and booleans are 'is not zero'") {
  CHECK(convert<std::int32_t>(2.9F) == 2);
  CHECK(convert<std::int32_t>(-2.9F) == -2);
  CHECK(convert<std::int32_t>(kNan) == 0);
  CHECK(convert<std::uint8_t>(kNan) == 0);
  CHECK(convert<bool>(kNan));
  CHECK(convert<bool>(0.25F));
  CHECK_FALSE(convert<bool>(-0.F));
  CHECK(convert<bool>(std::uint8_t{7}));
  CHECK(convert<float>(true) == 1);
  CHECK(convert<std::uint8_t>(std::int32_t{257}) == 1);
  CHECK(convert<std::int32_t>(std::int64_t{4294967295}) == -1);
  CHECK(std::isinf(convert<float>(1e300)));
  CHECK(std::isnan(convert<double>(kNan)));
}
