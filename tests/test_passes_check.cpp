#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "passes/node_sweep.h"

/// The self-check: a wrong rewrite is found and named.
using namespace gradgraph;

namespace {

/// Takes every third "sin" for a "cos".
class WrongSine : public NodePass {
 public:
  NodeRewrite rewrite(Node& node, NodeSweep& sweep) override {
    if (node.op().name != "sin") return {};
    if (++count_ % 3 == 0) return {sweep.make(node, "cos", {node.input(0)}), "sin(x) -> cos(x)"};
    // A rewrite that changes nothing: double negation.
    const Output negated = sweep.make(node, "neg", {node.input(0)});
    return {sweep.make(node, "cos", {sweep.make(node, "sub", {negated, half_pi(node, sweep)})}),
            "sin(x) -> cos(-x - pi/2)"};
  }

 private:
  static Output half_pi(const Node& node, NodeSweep& sweep) {
    return sweep.constant(node, Tensor(-1.57079632679489661923));
  }
  int count_ = 0;
};

/// The list of passes with the wrong one, while it lives.
struct WithWrongPass {
  WithWrongPass() {
    pass_list().insert(pass_list().begin(),
                       {.name = "wrong_sine", .make = []() {
                          return std::unique_ptr<NodePass>(std::make_unique<WrongSine>());
                        }});
  }
  ~WithWrongPass() { pass_list().erase(pass_list().begin()); }
};

struct Sines {
  Graph graph;
  Output x = placeholder(graph, float64, {2}, "x");
  Output w = variable(graph, Tensor{0.5, 0.25}, "w");
  Output total = x;
  Output update;
  Feeds feeds = {{x, Tensor{0.3, -0.7}}};

  Sines() {
    for (int i = 0; i < 5; ++i) total = total * 1.0 + gradgraph::sin(total * w);
    update = assign_add(w, gradgraph::sin(total));
  }
};

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("check_passes names the rewrite that is wrong") {
    const WithWrongPass wrong;
    Sines g;
    Session session(g.graph, {.threads = 1, .check_passes = true});
    std::string message;
    try {
      session.run(g.feeds, g.total);
    } catch (const RunError& error) {
      message = error.what();
    }
    for (const char* part : {"changes results: wrong_sine: 'sin_2' = cos('mul",
                             "'): sin(x) -> cos(x) (element 0 of"})
      CHECK_MESSAGE(message.find(part) != std::string::npos, message);
    // The plan is not kept: the next run is checked again.
    CHECK_THROWS_AS(session.run(g.feeds, g.total), RunError);
    Session without(g.graph, {.disabled_passes = {"wrong_sine"}, .check_passes = true});
    CHECK_NOTHROW(without.run(g.feeds, g.total));
  }

  TEST_CASE("check_passes sees variables, and leaves them as they were") {
    Sines g;
    const Output done = group(g.graph, {g.update});
    {
      const WithWrongPass wrong;
      Session session(g.graph, {.check_passes = true});
      CHECK_THROWS_WITH_AS(session.run(g.feeds, done), doctest::Contains("of 'w' is"), RunError);
      CHECK(session.value(g.w).at<double>({0}) == 0.5);
      CHECK(session.step() == 0);
    }
    Session checked(g.graph, {.check_passes = true}), plain(g.graph);
    for (int i = 0; i < 2; ++i) checked.run(g.feeds, done), plain.run(g.feeds, done);
    CHECK(checked.value(g.w).at<double>({1}) == plain.value(g.w).at<double>({1}));
    CHECK(checked.step() == 2);
  }

  TEST_CASE("check_passes: an error in both runs is the user's") {
    Graph graph;
    const Output i = placeholder(graph, int64, {1}, "i");
    const Output y = gather(constant(graph, Tensor{1.f, 2.f}), i) * 1.f;
    Session session(graph, {.check_passes = true});
    CHECK(session.run({{i, Tensor{std::int64_t{1}}}}, y).at<float>({0}) == 2.f);
    CHECK_THROWS_WITH_AS(session.run({{i, Tensor{std::int64_t{7}}}}, y),
                         doctest::Contains("gather"), RunError);
  }
}
