#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "core/text.h"
#include "gradgraph/gradgraph.h"
#include "pass_drawing.h"
#include "pass_patterns.h"
#include "passes/rewrites.h"
#include "special_values.h"

/// Rewrites change no more of a value than they say: every rule of simplify, for every dtype that
/// it can be written for, with the numbers that arithmetic treats in a way of its own.
using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

bool contains(const Expression& expression, Expression::Kind kind) {
  return expression.kind == kind ||
         std::ranges::any_of(expression.operands,
                             [&](const auto& each) { return contains(each, kind); });
}

/// What to write a rule with: dtypes, and special numbers where the rule has some of its own.
std::vector<RuleChoice> choices_for(const Expression& pattern) {
  std::vector<RuleChoice> choices;
  for (const DType dtype : {float32, float64, int32, int64, uint8, boolean}) {
    const Tensor specials = special_values(dtype);
    const std::int64_t n = specials.num_elements();
    RuleChoice choice{.dtype = dtype, .shape = {n, n}};
    const auto number = [&](std::int64_t i) {  // also as one in each element
      return repeat(specials, i, i % 3 == 0 ? choice.shape : Shape());
    };
    if (contains(pattern, Expression::Kind::constant)) {
      for (std::int64_t i = 0; i < n; ++i) {
        choice.constants = {number(i), number(i * 7 + 3)};
        choices.push_back(choice);
      }
      choice.constants = {arrange(specials, choice.shape, [](auto i) { return i; }),
                          arrange(specials, choice.shape, [n](auto i) { return i / n; })};
    }
    for (choice.axis = 0; choice.axis < 2; ++choice.axis) choices.push_back(choice);
    if (!contains(pattern, Expression::Kind::number)) continue;
    for (std::int64_t i = 0; i < n; ++i) {
      choice.number = number(i);
      choices.push_back(choice);
    }
  }
  return choices;
}

/// Pairs of special values, each with each.
Feeds special_feeds(Graph& graph) {
  Feeds feeds;
  for (Node& node : graph.nodes()) {
    if (node.op().name != "placeholder") continue;
    const std::int64_t n = node.shape()[0], nth = static_cast<std::int64_t>(feeds.size());
    feeds.emplace_back(node.output(),
                       arrange(special_values(node.dtype()), node.shape(),
                               [=](auto i) { return nth == 1 ? i / n : i + nth * (i / n); }));
  }
  return feeds;
}

/// The values, or what went wrong.
struct Outcome {
  std::vector<Tensor> values;
  std::string error;
};
Outcome run(Graph& graph, const Feeds& feeds, const std::vector<Output>& fetches,
            SessionOptions options) {
  options.threads = 1;
  try {
    return {Session(graph, options).run(feeds, fetches), {}};
  } catch (const RunError& error) {
    return {{}, error.what()};
  }
}

/// How much the rules that were applied, by the lines that they left, may change.
Effect worst_effect(const std::string& lines) {
  Effect worst = Effect::exact;
  for (const Rule& rule : simplify_rules())
    if (lines.find(fmt::format(": {} -> {}", rule.pattern, rule.result)) != std::string::npos)
      worst = std::max(worst, rule.effect);
  return worst;
}

double tolerance_of(DType dtype, Effect effect) {
  if (effect == Effect::exact) return 0;
  return dtype == float32 ? 1e-6 : dtype == float64 ? 1e-14 : 0;
}

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("every rule keeps of special values what it says") {
    std::set<std::string> applied;
    for (const Rule& rule : simplify_rules()) {
      INFO(std::string(rule.pattern));
      const Expression pattern = parse_expression(rule.pattern);
      for (const RuleChoice& choice : choices_for(pattern)) {
        Graph graph;
        Output value;
        try {
          value = write_rule(graph, pattern, choice);
        } catch (const BuildError&) {
          continue;  // not for this dtype
        }
        const Feeds feeds = special_feeds(graph);
        CAPTURE(choice.dtype);
        if (choice.number) CAPTURE(choice.number.to_string());
        if (!choice.constants.empty()) CAPTURE(choice.constants[0].to_string());
        const auto outcome = [&](const SessionOptions& options) {
          return run(graph, feeds, {value}, options);
        };
        const std::string lines = rewrites(graph, {value}, {"simplify"});
        if (lines.find(rule.pattern) != std::string::npos) applied.insert(rule.pattern);
        const Outcome expected = outcome({.disabled_passes = all_passes_but({})});
        const Effect effect = worst_effect(lines);
        const double tolerance = tolerance_of(choice.dtype, std::min(effect, Effect::rounds));
        for (const auto& passes : {std::vector<std::string>{"simplify"},
                                   std::vector<std::string>{"simplify", "fuse_elementwise"}})
          for (const bool exact : {false, true}) {
            if (!exact && effect == Effect::improves) continue;
            const Outcome actual =
                outcome({.disabled_passes = all_passes_but(passes), .exact_rewrites = exact});
            CHECK(actual.error == expected.error);
            for (std::size_t i = 0; i < actual.values.size(); ++i)
              CHECK(find_difference(actual.values[i], expected.values[i], tolerance) == "");
          }
      }
    }
    for (const Rule& rule : simplify_rules())
      CHECK_MESSAGE(applied.contains(rule.pattern), rule.pattern);
  }

  TEST_CASE("casts of casts: every three dtypes, at the ends of their ranges") {
    const DType dtypes[] = {float32, float64, int32, int64, uint8, boolean};
    for (const DType from : dtypes)
      for (const DType between : dtypes)
        for (const DType to : dtypes) {
          CAPTURE(from);
          CAPTURE(between);
          CAPTURE(to);
          Graph graph;
          const Tensor values = special_values(from);
          const Output x = placeholder(graph, from, values.shape());
          const Output y = cast(cast(x, between), to);
          const Feeds feeds = {{x, values}};
          const Tensor expected =
              Session(graph, {.disabled_passes = all_passes_but({})}).run(feeds, y);
          CHECK(find_difference(Session(graph).run(feeds, y), expected) == "");
        }
  }

  TEST_CASE("signs of zero, infinities and NaN are those of the graph as it is written") {
    Graph graph;
    const Output x = placeholder(graph, float32, {4});
    const Output y = placeholder(graph, float32, {4});
    const Feeds feeds = {{x, Tensor{-0.f, 0.f, 1e38f, 2e38f}}, {y, Tensor{0.f, -0.f, 1.f, 2.f}}};
    const auto check = [&](Output value, const Tensor& expected) {
      CHECK(find_difference(Session(graph).run(feeds, value), expected) == "");
    };
    constexpr float kInf = std::numeric_limits<float>::infinity();
    check(1 / (x + 0.f), Tensor{kInf, kInf, 1 / 1e38f, 1 / 2e38f});
    check((x * 0x1p24f) * 0x1p-24f, Tensor{-0.f, 0.f, kInf, kInf});
    check((x / 0x1p-24f) / 0x1p24f, Tensor{-0.f, 0.f, kInf, kInf});
    check(-(x - x), Tensor{-0.f, -0.f, -0.f, -0.f});
    check(0 - y, Tensor{0.f, 0.f, -1.f, -2.f});
    check(maximum(x, 0), Tensor{0.f, 0.f, 1e38f, 2e38f});
    // Of two zeros the second, so these are two nodes.
    const auto largest = Session(graph).run(feeds, {maximum(x, y), maximum(y, x)});
    CHECK(find_difference(largest[0], Tensor{0.f, -0.f, 1e38f, 2e38f}) == "");
    CHECK(find_difference(largest[1], Tensor{-0.f, 0.f, 1e38f, 2e38f}) == "");
    // The sum of all would be too large.
    check(mean(mean(reshape(maximum(x, 1e38f), {2, 2}), 1)), Tensor(1.25e38f));
  }

  TEST_CASE("exact_rewrites leaves out what makes numbers better") {
    Graph graph;
    const Output x = placeholder(graph, float32, {2});
    const Output y = gradgraph::log(softmax(x));
    const Feeds feeds = {{x, Tensor{0.f, -400.f}}};
    const float inf = std::numeric_limits<float>::infinity();
    CHECK(find_difference(Session(graph).run(feeds, y), Tensor{0.f, -400.f}) == "");
    CHECK(find_difference(Session(graph, {.exact_rewrites = true}).run(feeds, y),
                          Tensor{0.f, -inf}) == "");
  }
}
