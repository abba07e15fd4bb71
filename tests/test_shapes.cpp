#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>

#include "gradgraph/gradgraph.h"
#include "gradgraph/op.h"

/// What ops that shape, move and index infer while dimensions are unknown, and what they refuse.
using namespace gradgraph;

namespace {

struct Values {
  Graph graph;
  Output input(const Shape& shape, DType dtype = float32) {
    return placeholder(graph, dtype, shape);
  }
  Output vector(const std::vector<std::int64_t>& values) {
    return constant(graph, Tensor::from(values, {static_cast<std::int64_t>(values.size())}));
  }
  /// An int64 vector of which nothing but the length is known.
  Output unknown(std::int64_t length) { return input({length}, int64); }
};

/// `build` throws a BuildError that names every part, and a line of this file near `here`.
void check_refused(const std::function<void()>& build, const std::vector<std::string>& parts,
                   SourceLocation here = SourceLocation::current()) {
  CAPTURE(here.line);
  try {
    build();
  } catch (const BuildError& error) {
    const std::string message = error.what();
    for (const std::string& part : parts)
      CHECK_MESSAGE(message.find(part) != std::string::npos, message, " lacks ", part);
    CHECK(std::string(error.where().file) == here.file);
    CHECK(std::abs(static_cast<int>(error.where().line) - static_cast<int>(here.line)) <= 2);
    return;
  }
  FAIL_CHECK("nothing was thrown");
}

}  // namespace

TEST_CASE("reshape infers what is left over") {
  Values v;
  CHECK(reshape(v.input({4, 6}), {3, -1}).shape() == Shape{3, 8});
  CHECK(reshape(v.input({any, 28, 28}), {-1, 784}).shape() == Shape{any, 784});
  CHECK(reshape(v.input({any, 28}), {2, -1}).shape() == Shape{2, any});
  CHECK(reshape(v.input({any, any}), {3, 4}).shape() == Shape{3, 4});
  CHECK(reshape(v.input({0, 3}), {-1, 3}).shape() == Shape{0, 3});
  CHECK(reshape(v.input({2, 3}), v.unknown(2)).shape() == Shape{any, any});
  // One unknown entry of a computed shape is as good as -1.
  const Output x = v.input({any, 5});
  const Output batch = slice(shape_of(x), {0}, {1});
  CHECK(reshape(x, concat({batch, v.vector({10})}, 0)).shape() == Shape{any, 10});
  const Output known = v.input({8, 5});
  CHECK(reshape(known, concat({v.unknown(1), v.vector({10})}, 0)).shape() == Shape{4, 10});
}

TEST_CASE("shape arithmetic is seen through while building") {
  Values v;
  const Output x = v.input({any, 28, 28, 3});
  const auto value = [](Output vector) { return known_vector(vector).value(); };
  CHECK(value(shape_of(x)) == Shape{any, 28, 28, 3});
  CHECK(value(slice(shape_of(x), {1}, {-1})) == Shape{28, 28, 3});
  CHECK(value(gather(shape_of(x), constant(v.graph, Tensor{3, 0}))) == Shape{3, any});
  CHECK(value(concat({v.vector({7}), v.unknown(1), slice(shape_of(x), {3}, {1})}, 0)) ==
        Shape{7, any, 3});
  CHECK(value(identity(reshape(shape_of(x), {4}))) == Shape{any, 28, 28, 3});
  CHECK_FALSE(known_vector(gather(shape_of(x), v.unknown(2))).has_value());
  CHECK_FALSE(known_vector(slice(shape_of(x), v.unknown(1), {2})).has_value());
}

TEST_CASE("unknown dimensions pass through") {
  Values v;
  const Output x = v.input({any, 4}), y = v.input({2, any});
  CHECK(flatten(v.input({any, 2, 3})).shape() == Shape{any, 6});
  CHECK(flatten(v.input({2, any, 3})).shape() == Shape{2, any});
  CHECK(expand_dims(x, -1).shape() == Shape{any, 4, 1});
  CHECK(squeeze(v.input({1, any, 1})).shape() == Shape{any});
  CHECK(squeeze(v.input({1, any}), 1).shape() == Shape{1});
  CHECK(transpose(v.input({any, 2, 3}), {2, 0, -2}).shape() == Shape{3, any, 2});
  CHECK(concat({x, y}, 0).shape() == Shape{any, 4});
  CHECK(concat({v.input({3, any}), y}, 0).shape() == Shape{5, any});
  const auto parts = split(x, {1, 3}, 0);
  CHECK(parts[0].shape() == Shape{1, 4});
  CHECK(parts[1].shape() == Shape{3, 4});
  CHECK(slice(x, {1, 1}, {-1, 2}).shape() == Shape{any, 2});
  CHECK(slice(v.input({5, 4}), v.unknown(2), {2, -1}).shape() == Shape{2, any});
  CHECK(slice(v.input({5, 4}), {1, 1}, {-1, -1}).shape() == Shape{4, 3});
  CHECK(pad(x, {1, 1}, {1, 2}).shape() == Shape{any, 7});
  CHECK(pad(v.input({3}), v.unknown(1), {0}).shape() == Shape{any});
  CHECK(tile(x, {2, 3}).shape() == Shape{any, 12});
  CHECK(gather(x, v.input({any, 7}, int32), 1).shape() == Shape{any, any, 7});
  CHECK(gather(x, v.input({}, int64)).shape() == Shape{4});
  const Output updates = v.input({2, any, 4});
  CHECK(scatter_add(v.unknown(2), v.input({2, any}, int64), updates).shape() == Shape{any, 4});
  CHECK(one_hot(v.input({any}, int64), 10).shape() == Shape{any, 10});
  CHECK(fill(shape_of(x), v.input({})).shape() == Shape{any, 4});
  CHECK(ones_like(x).shape() == Shape{any, 4});
  CHECK(random_normal(v.graph, shape_of(x)).shape() == Shape{any, 4});
  CHECK(dropout(x, 0.5, v.input({}, boolean)).shape() == Shape{any, 4});
}

TEST_CASE("broadcast_to and sum_to with unknown dimensions") {
  Values v;
  CHECK(broadcast_to(v.input({any, 4}), {3, 4}).shape() == Shape{3, 4});
  CHECK(broadcast_to(v.input({4}), v.unknown(2)).shape() == Shape{any, 4});
  CHECK(broadcast_to(v.input({1}), v.unknown(1)).shape() == Shape{any});
  CHECK(sum_to(v.input({any, 4}), {4}).shape() == Shape{4});
  CHECK(sum_to(v.input({5, 1}), v.unknown(2)).shape() == Shape{any, 1});
}

TEST_CASE("squeeze keeps an axis that only happens to be 1 in a run") {
  Values v;
  const Output x = v.input({any, 1, 2});
  const Output y = squeeze(x);
  const Tensor result = Session(v.graph).run({{x, Tensor{{{1.f, 2.f}}}}}, y);
  CHECK(result.shape() == Shape{1, 2});
}

TEST_CASE("shapes that do not fit are refused where they are written") {
  Values v;
  const Output x = v.input({2, 3}), batch = v.input({any, 4});
  check_refused(
      [&] {
        reshape(x, {4, 2});
      },
      {"[reshape] 'reshape'", "6 elements do not fit [4,2]", "float32[2,3]"});
  check_refused([&] { reshape(x, {4, -1}); }, {"6 elements do not fit [4,?]"});
  check_refused([&] { reshape(x, {-1, -1}); }, {"at most one dimension may be -1"});
  check_refused([&] { reshape(x, {-2, 3}); }, {"entry -2 of input 1 is below -1"});
  check_refused([&] { reshape(batch, {3, 5}); }, {"[3,5] is no multiple of 4 elements"});
  check_refused([&] { reshape(v.input({0, 3}), {-1, 0}); }, {"-1 could be anything", "[?,0]"});
  check_refused([&] { reshape(x, v.input({2}, int32)); }, {"int64 vector of known length"});
  check_refused([&] { reshape(x, v.unknown(any)); }, {"int64 vector of known length"});
  check_refused([&] { reshape(Output(), {1}); }, {"[reshape]", "empty"});
  const std::int64_t huge = std::int64_t{1} << 62;
  check_refused([&] { reshape(x, {huge, 4}); }, {"[reshape]", "too many elements"});
  check_refused(
      [&] {
        placeholder(v.graph, float32, {1, huge, 4});
      },
      {"[placeholder]", "too many elements"});
  check_refused([&] { tile(x, {1, huge}); }, {"axis 1 overflows"});
  check_refused([&] { pad(x, {huge, 0}, {huge, 0}); }, {"[pad]", "too long"});
  check_refused([&] { split(x, {huge, huge}, 0); }, {"[split]", "too long"});
  check_refused([&] { flatten(v.input({})); }, {"[flatten]", "at least one axis"});
  check_refused([&] { expand_dims(x, 3); }, {"axis 3 is outside [-3,3)"});
  check_refused([&] { expand_dims(x, -4); }, {"axis -4 is outside"});
  check_refused([&] { squeeze(x, 1); }, {"axis 1 has size 3, not 1"});
  check_refused([&] { squeeze(x, {0, 2}); }, {"axis 2 is outside [-2,2)"});
  check_refused([&] { broadcast_to(x, {2, 4}); }, {"[2,3] does not broadcast to [2,4]"});
  check_refused([&] { broadcast_to(x, {3}); }, {"[2,3] does not broadcast to [3]"});
  check_refused(
      [&] {
        broadcast_to(x, {-1, 3});
      },
      {"entry -1 of input 1 is below 0; for a dimension that only a run knows, take the vector "
       "that "
       "gg::shape_of gives"});
  check_refused([&] { sum_to(x, {2}); }, {"[2] does not broadcast to [2,3]"});
  check_refused([&] { sum_to(v.input({2}, boolean), {}); }, {"[sum_to]", "not bool"});
  check_refused([&] { fill({2}, x); }, {"[fill]", "input 1 must have 0 axes"});
  check_refused([&] { fill({-1}, v.input({})); }, {"entry -1 of input 0 is below 0"});
  check_refused([&] { tile(x, {2}); }, {"1 multiples for 2 axes"});
  check_refused([&] { tile(x, {2, -1}); }, {"entry -1 of input 1 is below 0"});
}

TEST_CASE("moves that do not fit are refused where they are written") {
  Values v;
  const Output x = v.input({2, 3}), batch = v.input({any, 4});
  check_refused([&] { transpose(x, {0, 0}); }, {"(0,0) is no permutation of 2 axes"});
  check_refused([&] { transpose(x, {1, 2}); }, {"(1,2) is no permutation"});
  check_refused([&] { transpose(x, {0}); }, {"(0) is no permutation of 2 axes"});
  check_refused([&] { concat({}, 0); }, {"[concat]"});
  check_refused([&] { concat({x, batch}, 0); }, {"axis 1 has size 3 in part 0 but 4 in part 1"});
  check_refused([&] { concat({x, v.input({2, 3}, int32)}, 0); }, {"dtypes differ"});
  check_refused([&] { concat({x, v.input({2})}, 0); }, {"input 1 must have 2 axes"});
  check_refused([&] { concat({x, x}, 2); }, {"axis 2 is outside [-2,2)"});
  check_refused([&] { concat({v.input({}), v.input({})}, 0); }, {"axis 0 is outside [0,0)"});
  check_refused([&] { split(x, {1, 1}, 1); }, {"sizes (1,1) do not make up axis 1", "[2,3]"});
  check_refused([&] { split(x, {4, -1}, 1); }, {"sizes (4,-1) do not make up axis 1"});
  check_refused([&] { split(x, {}, 0); }, {"sizes () do not make up axis 0"});
  check_refused([&] { slice(x, {0, 2}, {1, 2}); }, {"2 elements from 2 on do not fit axis 1"});
  check_refused([&] { slice(x, {0, 4}, {1, -1}); }, {"from 4 on do not fit axis 1"});
  check_refused([&] { slice(x, {0}, {1}); }, {"1 entries in input 1 for 2 axes"});
  check_refused([&] { slice(x, {-1, 0}, {1, 1}); }, {"entry -1 of input 1 is below 0"});
  check_refused([&] { slice(x, {0, 0}, {-2, 1}); }, {"entry -2 of input 2 is below -1"});
  check_refused([&] { slice(x, v.unknown(2), {3, 1}); }, {"3 elements from 0 on do not fit"});
  check_refused([&] { pad(x, {1}, {1}); }, {"1 entries in input 1 for 2 axes"});
  check_refused([&] { pad(x, {0, -1}, {0, 0}); }, {"entry -1 of input 1 is below 0"});
  check_refused([&] { pad(v.input({2}, int32), {1}, {0}, 0.5); }, {"0.5 is no int32"});
  check_refused([&] { pad(v.input({2}, uint8), {1}, {0}, 256); }, {"256 is no uint8"});
}

TEST_CASE("indices and draws that do not fit are refused where they are written") {
  Values v;
  const Output x = v.input({2, 3}), indices = v.input({4}, int64);
  check_refused([&] { gather(x, v.input({4})); }, {"[gather]", "int32 or int64, not float32"});
  check_refused([&] { gather(x, indices, 2); }, {"axis 2 is outside [-2,2)"});
  check_refused([&] { gather(v.input({}), indices); }, {"axis 0 is outside [0,0)"});
  check_refused(
      [&] {
        gather(x, v.input({1, 1, 1, 1, 1, 1, 1, 1}, int64));
      },
      {"more than 8 axes"});
  check_refused(
      [&] {
        scatter_add({5, 3}, indices, x);
      },
      {"the updates of [5,3] must have the shape [4,3]"});
  check_refused([&] { scatter_add({5, 3}, indices, v.input({4, 3}, boolean)); }, {"not bool"});
  check_refused([&] { scatter_add({-1, 3}, indices, x); }, {"entry -1 of input 0"});
  check_refused([&] { one_hot(x, 3); }, {"[one_hot]", "not float32"});
  check_refused([&] { one_hot(indices, -1); }, {"the depth is -1"});
  check_refused([&] { random_uniform(v.graph, {2}, int32); }, {"not int32"});
  check_refused([&] { random_uniform(v.graph, {2}, float32, 1, 1); }, {"[1,1) is no interval"});
  check_refused([&] { random_uniform(v.graph, {2}, float32, 0, INFINITY); }, {"no interval"});
  check_refused([&] { random_uniform(v.graph, {-1}); }, {"entry -1 of input 0 is below 0"});
  check_refused([&] { random_normal(v.graph, {2}, float32, 0, -1); }, {"stddev -1"});
  check_refused([&] { truncated_normal(v.graph, {2}, float32, NAN); }, {"mean nan"});
  check_refused([&] { dropout(x, 1, v.input({}, boolean)); }, {"rate 1 is outside [0,1)"});
  check_refused([&] { dropout(x, -0.1, v.input({}, boolean)); }, {"rate -0.1"});
  check_refused([&] { dropout(x, 0.1, v.input({})); }, {"must be bool, not float32"});
  check_refused([&] { dropout(x, 0.1, v.input({1}, boolean)); }, {"must have 0 axes"});
}

TEST_CASE("what only a run can know is refused in the run") {
  Values v;
  const Output x = v.input({any, 2}), begin = v.unknown(2), indices = v.input({any}, int32);
  const Tensor value = {{1.f, 2.f}, {3.f, 4.f}};
  const auto refusal = [&](Output y, Feeds feeds) {
    feeds.emplace_back(x, value);
    try {
      Session(v.graph).run(feeds, y);
    } catch (const RunError& error) {
      CHECK(std::string(error.what()).find("test_shapes.cpp:") != std::string::npos);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const auto has = [](const std::string& text, const char* part) {
    CHECK_MESSAGE(text.find(part) != std::string::npos, text, " lacks ", part);
  };
  has(refusal(slice(x, begin, {1, 1}), {{begin, Tensor{std::int64_t{0}, std::int64_t{2}}}}),
      "1 elements from 2 on do not fit axis 1");
  has(refusal(split(x, {1, 2}, 0)[0], {}), "sizes (1,2) do not make up axis 0");
  has(refusal(reshape(x, {3, -1}), {}), "4 elements do not fit [3,?]");
  has(refusal(pad(x, begin, {0, 0}), {{begin, Tensor{std::int64_t{0}, std::int64_t{-1}}}}), "-1");
  has(refusal(gather(x, indices), {{indices, Tensor{0, 2}}}),
      "index 2 (number 1) is outside [0,2)");
  has(refusal(scatter_add({1, 2}, indices, x), {{indices, Tensor{0, -1}}}),
      "index -1 (number 1) is outside [0,1)");
}
