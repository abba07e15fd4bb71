#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "noise.h"
#include "pass_drawing.h"
#include "random_placement.h"
#include "refused_plan.h"
#include "session/session_state.h"
#include "special_values.h"

/// What is taken apart is read where it lies, and what is put together is made there.
using namespace gradgraph;
using tests::is_refused;

namespace {

using Outputs = std::vector<Output>;

/// A row of so many floats is as long as an arena's alignment.
constexpr std::int64_t kRow = 16;

Output rows(Graph& graph, std::int64_t count, unsigned seed, std::int64_t columns = kRow) {
  return variable(graph, tests::noise({count, columns}, seed, float32));
}

/// The plan of what is fetched, without rewrites.
class Planned {
 public:
  Planned(Graph& graph, const Outputs& fetches)
      : session_(graph, {.disabled_passes = tests::all_passes_but({})}),
        plan_(session_.cached({}, fetches, {}).plan_for(nullptr, 0).plan()) {}

  const Plan& plan() const { return plan_; }
  std::int64_t steps(const std::string& op) const {
    return std::ranges::count_if(
        plan_.steps, [&](const PlannedStep& step) { return step.node->op().name == op; });
  }

 private:
  SessionState session_;
  const Plan& plan_;
};

/// With parts, and with memory of its own for every value, as where numbers are watched.
void check_same_values(Graph& graph, const Outputs& fetches) {
  const auto disabled = tests::all_passes_but({});
  Session shared(graph, {.threads = 2, .disabled_passes = disabled});
  Session apart(graph, {.threads = 1, .disabled_passes = disabled, .check_numerics = true});
  for (int i = 0; i < 2; ++i) {
    const auto actual = shared.run({}, fetches), expected = apart.run({}, fetches);
    for (std::size_t f = 0; f < fetches.size(); ++f) {
      CAPTURE(f);
      if (expected[f]) CHECK(tests::find_difference(actual[f], expected[f]) == "");
    }
  }
}

/// Values that are taken apart and put together at random, and a gradient through them.
Outputs draw_parts(Graph& graph, std::mt19937_64& random) {
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  Outputs values = {rows(graph, 2, 1), tanh(rows(graph, 4, 2)), exp(rows(graph, 3, 3))};
  const auto any_value = [&] {
    return values[static_cast<std::size_t>(below(std::ssize(values)))];
  };
  for (int i = 0; i < 16; ++i) {
    const Output x = any_value();
    const std::int64_t count = x.shape()[0], cut = below(count);
    switch (below(6)) {
      case 0: values.push_back(tanh(x + 0.25F)); break;
      case 1:
        for (const Output& part : split(x, {cut, count - cut}, 0))
          if (part.shape()[0] > 0) values.push_back(part);
        break;
      case 2: values.push_back(slice(x, {cut, 0}, {count - cut, kRow})); break;
      case 3: values.push_back(x * strided_slice(x, {Slice{cut, cut + 1}})); break;
      default: {
        Outputs parts;
        for (std::int64_t n = 2 + below(3); n > 0; --n) parts.push_back(any_value());
        const Output joined = concat(parts, 0);
        if (joined.shape()[0] < 24) values.push_back(joined);
      }
    }
  }
  Outputs fetches = {values.back(), any_value(), any_value()};
  const Output loss = sum(sin(any_value())) + sum(cos(values.back()));
  fetches.push_back(loss);
  for (const Output& gradient : gradients({loss}, {values[1], values[2]}))
    if (gradient) fetches.push_back(gradient);
  return fetches;
}

}  // namespace

TEST_SUITE("parts of values") {
  TEST_CASE("what is one piece of a value is read where it lies") {
    Graph graph;
    const Output x = tanh(rows(graph, 6, 1));
    const Outputs parts = split(x, {1, 2, 3}, 0);
    const Output block = slice(x, {2, 0}, {4, kRow});
    const Output row = strided_slice(x, {Slice{3, 4}});
    const Output of_part = slice(parts[2], {1, 0}, {2, kRow});
    const Outputs fetches = {parts[0] * 2.F, parts[1], exp(parts[2]), block + 1.F, -row, of_part};
    const Planned planned(graph, fetches);
    CHECK(planned.steps("split") == 0);
    CHECK(planned.steps("slice") == 0);
    CHECK(planned.steps("strided_slice") == 0);
    check_same_values(graph, fetches);
  }

  TEST_CASE("what is no piece, or begins within a cache line, or is a small part is copied") {
    Graph graph;
    const Output x = tanh(rows(graph, 8, 1));
    CHECK(Planned(graph, {split(x, {8, 8}, 1)[0]}).steps("split") == 1);
    CHECK(Planned(graph, {strided_slice(x, {Slice{0, 8, 2}})}).steps("strided_slice") == 1);
    CHECK(Planned(graph, {strided_slice(x, {Slice{7, -9, -1}})}).steps("strided_slice") == 1);
    CHECK(Planned(graph, {slice(x, {0, 0}, {8, 15})}).steps("slice") == 1);
    CHECK(Planned(graph, {slice(x, {1, 0}, {3, kRow})}).steps("slice") == 1);
    CHECK(Planned(graph, {slice(x, {1, 0}, {4, kRow})}).steps("slice") == 0);
    const Output narrow = tanh(rows(graph, 4, 2, 15));
    CHECK(Planned(graph, {split(narrow, {2, 2}, 0)[1]}).steps("split") == 1);
    // A variable's memory is not the run's.
    CHECK(Planned(graph, {split(rows(graph, 4, 3), {2, 2}, 0)[1]}).steps("split") == 1);
    check_same_values(graph, {split(x, {8, 8}, 1)[0], strided_slice(x, {Slice{0, 8, 2}}),
                              slice(x, {0, 0}, {8, 15}), split(narrow, {2, 2}, 0)[1]});
  }

  TEST_CASE("what is put together is made in its place") {
    Graph graph;
    Outputs steps = {tanh(rows(graph, 2, 1))};
    for (int i = 0; i < 4; ++i) steps.push_back(tanh(steps.back() * 1.5F));
    const Output all = concat(steps, 0);
    const Output first = concat({steps[0], steps[1], steps[2]}, 0);
    const Output layers = stack(steps, 0);
    const Outputs fetches = {sin(all), sin(first), layers, steps[3] + 1.F};
    const Planned planned(graph, fetches);
    CHECK(planned.steps("concat") == 0);
    check_same_values(graph, fetches);
  }

  TEST_CASE("what has been put together becomes a part in turn") {
    Graph graph;
    const Output a = tanh(rows(graph, 1, 1)), b = tanh(rows(graph, 2, 2)), c = exp(b);
    const Output later = concat({b, c}, 0);
    const Output all = concat({a, b, c}, 0);  // `later` within it
    const Outputs halves = split(all, {2, 3}, 0);
    const Outputs fetches = {sin(later), sin(all), halves[0] * 2.F, halves[1] * 3.F};
    CHECK(Planned(graph, fetches).steps("concat") == 0);
    CHECK(Planned(graph, fetches).steps("split") == 0);
    check_same_values(graph, fetches);
  }

  TEST_CASE("what is elsewhere already is copied to what is put together") {
    Graph graph;
    const Output w = rows(graph, 2, 1), x = tanh(w), y = exp(w);
    CHECK(Planned(graph, {concat({x, x}, 0)}).steps("concat") == 1);  // twice
    CHECK(Planned(graph, {concat({x, w}, 0)}).steps("concat") == 1);  // a variable
    CHECK(Planned(graph, {concat({x, y}, 1)}).steps("concat") == 1);  // in rows
    // In another order, and in part: one of them is made in its place.
    CHECK(Planned(graph, {concat({x, y}, 0), concat({y, x}, 0)}).steps("concat") == 1);
    const Output z = sin(w);
    CHECK(Planned(graph, {concat({x, y}, 0), concat({y, z}, 0)}).steps("concat") == 1);
    const Output narrow = tanh(rows(graph, 2, 2, 15));
    CHECK(Planned(graph, {concat({narrow, exp(narrow)}, 0)}).steps("concat") == 1);
    check_same_values(graph, {concat({x, x}, 0), concat({x, w}, 0), concat({x, y}, 1),
                              concat({y, x}, 0), concat({y, z}, 0), concat({x, y}, 0)});
  }

  TEST_CASE("no value is written over while a part of it is read") {
    Graph graph;
    constexpr std::int64_t kLong = 4096;
    const Output x = tanh(rows(graph, 2, 1, kLong));
    const Output row = slice(x, {0, 0}, {1, kLong});
    // In place of x, if its first row were not read for the second one.
    const Outputs fetches = {x * row};
    CHECK(Planned(graph, fetches).steps("slice") == 0);
    check_same_values(graph, fetches);
    // What is made in its place stays there.
    const Output sum = x + 1.F, joined = concat({sum, exp(x)}, 0);
    check_same_values(graph, {sum * 2.F, sin(joined), sum});
  }

  TEST_CASE("an update does not reach parts of the old value") {
    Graph graph;
    const Output w = rows(graph, 4, 1);
    const Outputs halves = split(w * 1.F, {2, 2}, 0);
    const Output joined = concat({halves[1] + 0.5F, halves[0] + 0.5F}, 0);
    const Output update = assign(w, joined);
    check_same_values(graph, {update, halves[0] * 2.F, joined});
  }

  TEST_CASE("verify finds a part that is out of place") {
    Graph graph;
    const Output x = tanh(rows(graph, 4, 1));
    const Outputs halves = split(x, {2, 2}, 0);
    const Output joined = concat({exp(halves[0]), sin(halves[1])}, 0);
    const Planned planned(graph, {joined * 2.F, halves[1] * 3.F});
    verify(planned.plan());
    int parts = 0;
    for (std::size_t v = 0; v < planned.plan().values.size(); ++v) {
      if (planned.plan().values[v].whole == kNoValue) continue;
      ++parts;
      Plan longer = planned.plan();
      longer.values[v].bytes += 1 << 20;
      CHECK(is_refused(longer));
      Plan plan = planned.plan();
      plan.values[v].whole = static_cast<std::int32_t>(v);
      CHECK(is_refused(plan));
    }
    CHECK(parts == 4);
    // Two results in one place.
    Plan plan = planned.plan();
    for (PlannedValue& value : plan.values)
      if (value.whole != kNoValue)
        value.offset = plan.values[static_cast<std::size_t>(value.whole)].offset;
    CHECK(is_refused(plan));
  }

  TEST_CASE("random graphs of parts, here and on several devices") {
    std::int64_t shared = 0;
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
      CAPTURE(seed);
      std::mt19937_64 random(seed);
      Graph graph;
      const Outputs fetches = draw_parts(graph, random);
      shared += std::ranges::count_if(
          Planned(graph, fetches).plan().values,
          [](const PlannedValue& value) { return value.whole != kNoValue; });
      check_same_values(graph, fetches);
      const auto expected = tests::open_session(graph).run({}, fetches);
      const std::string device = tests::scatter(graph, random);
      tests::check_same(tests::open_session(graph, device).run({}, fetches), expected);
    }
    CHECK(shared > 1000);
  }
}
