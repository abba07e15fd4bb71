#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"

using namespace gradgraph;
using tests::contains;
using tests::message_of;

namespace {

struct Fixture {
  Graph graph;
  Output scalar(const char* name) { return placeholder(graph, float64, {}, name); }
  Output vector(const char* name) { return placeholder(graph, float64, {3}, name); }
  double at(Output y, const Feeds& feeds) { return Session(graph).run(feeds, y).item<double>(); }
  /// An op without a gradient, of floating values.
  Output opaque(Output x, SourceLocation where = SourceLocation::current()) {
    static const OpDef& op =
        op_registry()
            .add({.name = "opaque",
                  .traits = {.internal = true, .non_differentiable = true},
                  .infer = [](InferContext& c) { c.output(c.dtype(0), c.shape(0)); }})
            .describe("x", {"x"});
    return graph.add(op, {x}, {}, where).output();
  }
};

/// Nodes that were made from number `first` on.
template <class Body>
void each_new_node(Graph& graph, int first, const Body& body) {
  for (int id = first; id < graph.num_nodes(); ++id)
    body(graph.nodes()[static_cast<std::size_t>(id)]);
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "gradients: nodes carry the forward node's name, line and device") {
  const Output x = vector("x");
  Output y;
  unsigned line = 0;
  {
    const auto s = scope(graph, "layer");
    const auto d = device_scope(graph, "cuda:0");
    y = mul(x, x), line = __LINE__;
  }
  const Output loss = sum(y);
  const int first = graph.num_nodes();
  const auto user_scope = scope(graph, "user");
  const auto user_control = control_dependencies(graph, {x});
  const Output grad = gradients({loss}, {x})[0];
  bool found = false;
  each_new_node(graph, first, [&](const Node& node) {
    CHECK(node.name().starts_with("gradients/"));
    CHECK(node.phase() == Phase::gradient);
    CHECK(node.control_inputs().empty());
    REQUIRE(node.differentiates() != nullptr);
    CHECK(node.where().line == node.differentiates()->where().line);
    CHECK(node.device() == node.differentiates()->device());
    if (node.differentiates() != &y.node()) return;
    found = true;
    CHECK(node.where().line == line);
    CHECK(node.device() == "cuda:0");
    CHECK(node.name().starts_with("gradients/layer/mul"));
  });
  CHECK(found);
  CHECK(grad.shape() == x.shape());
  verify(graph);

  // The user's own context is back.
  CHECK(neg(x).node().name() == "user/neg");
  CHECK(neg(x).node().phase() == Phase::forward);

  // A second call makes nodes of its own.
  const Output again = gradients({loss}, {x})[0];
  CHECK(again.node().name() != grad.node().name());
}

TEST_CASE_FIXTURE(Fixture, "gradients: unconnected inputs give zeros or nothing, as asked") {
  const Output x = vector("x"), other = vector("other");
  const Output y = sum(x);
  const auto zeros = gradients({y}, {x, other});
  REQUIRE(zeros[1]);
  CHECK(zeros[1].shape() == other.shape());
  const auto empty = gradients({y}, {x, other}, {}, {.unconnected = Unconnected::empty});
  CHECK(empty[0]);
  CHECK_FALSE(empty[1]);
  // Made after y.
  const Output late = vector("late");
  CHECK_FALSE(gradients({y}, {late}, {}, {.unconnected = Unconnected::empty})[0]);
  CHECK(gradients({y}, {}).empty());
}

TEST_CASE_FIXTURE(Fixture, "gradients: an x that is a y gets its grad_y") {
  const Output x = vector("x"), g = vector("g");
  CHECK(gradients({x}, {x}, {g})[0] == g);
  const Output doubled = gradients({x, x}, {x}, {g, g})[0];
  CHECK(doubled.node().op().name == "add");
}

TEST_CASE_FIXTURE(Fixture, "gradients: only the output that is used carries") {
  const Output x = placeholder(graph, float64, {4}, "x");
  const std::vector<Output> parts = split(x, {1, 3}, 0);
  const Output y = sum(parts[0]);
  CHECK_FALSE(gradients({y}, {parts[1]}, {}, {.unconnected = Unconnected::empty})[0]);
  CHECK(gradients({y}, {parts[0]}, {}, {.unconnected = Unconnected::empty})[0]);
}

TEST_CASE_FIXTURE(Fixture, "gradients: stop_gradient and integers block") {
  const Output x = vector("x");
  const auto by_x = [&](Output y) {
    return gradients({y}, {x}, {}, {.unconnected = Unconnected::empty})[0];
  };
  CHECK_FALSE(by_x(sum(stop_gradient(x))));
  CHECK_FALSE(by_x(sum(cast(cast(x, int64), float64))));
  CHECK_FALSE(by_x(sum(cast(less(x, 1.0), float64))));
  // What lies behind a block is not looked at.
  CHECK_FALSE(by_x(sum(stop_gradient(opaque(x)))));
}

TEST_CASE_FIXTURE(Fixture, "gradients: a path through an op without one names it and its line") {
  const Output x = vector("x");
  const Output hidden = opaque(x);
  const unsigned line = __LINE__ - 1;
  const Output y = sum(hidden * x);
  CHECK_THROWS_AS(gradients({y}, {x}), GradientError);
  const std::string message = message_of([&] { gradients({y}, {x}); });
  CHECK(contains(message, "[opaque] 'opaque'"));
  CHECK(contains(message, "test_gradients.cpp:" + std::to_string(line)));
  // Not on the path: no error.
  CHECK(gradients({sum(opaque(x)) + sum(x * x)}, {hidden})[0]);
  // The graph stays usable, and its context the user's.
  CHECK(graph.context().fixed_name.empty());
}

TEST_CASE_FIXTURE(Fixture, "gradients: bad arguments") {
  const Output x = vector("x"), y = sum(x);
  const Output count = placeholder(graph, int64, {}, "count");
  Graph elsewhere;
  const Output foreign = placeholder(elsewhere, float64, {3}, "foreign");
  const std::string here = "test_gradients.cpp:";
  const auto fails = [&](const std::vector<Output>& ys, const std::vector<Output>& xs,
                         const std::vector<Output>& grad_ys, const std::string& part) {
    const std::string message = message_of([&] { gradients(ys, xs, grad_ys); });
    CHECK_MESSAGE(contains(message, part), message);
    CHECK_MESSAGE(contains(message, here), message);
  };
  fails({}, {x}, {}, "at least one y");
  fails({Output()}, {x}, {}, "at least one y");
  fails({y, Output()}, {x}, {}, "y 1 is empty");
  fails({y}, {Output()}, {}, "x 0 is empty");
  fails({count}, {x}, {}, "y 'count' is int64");
  fails({y}, {count}, {}, "x 'count' is int64");
  fails({y}, {foreign}, {}, "another graph");
  fails({y}, {x}, {foreign}, "another graph");
  fails({y}, {x}, {y, y}, "2 grad_ys for 1 ys");
  fails({y}, {x}, {x}, "float64[3]");
  fails({y}, {x}, {cast(y, float32)}, "float32[]");
  fails({group(graph, {x})}, {x}, {}, "has no value");
}

TEST_CASE_FIXTURE(Fixture, "gradients: values of a diamond, a fan, and several ys") {
  const Output x = scalar("x");
  const Output a = x * x, b = 3.0 * x;
  const Output y = a * b + a;  // 3 x^3 + x^2
  CHECK(at(gradients({y}, {x})[0], {{x, Tensor(2.0)}}) == doctest::Approx(9 * 4 + 2 * 2));
  // By an inner node: all of y that goes through it.
  CHECK(at(gradients({y}, {a})[0], {{x, Tensor(2.0)}}) == doctest::Approx(3 * 2 + 1));

  Output fan = x;
  for (int i = 0; i < 10; ++i) fan = fan + x;
  CHECK(at(gradients({fan}, {x})[0], {{x, Tensor(2.0)}}) == 11);

  const Output weight = scalar("weight");
  const Output several = gradients({a, b}, {x}, {weight, Output()})[0];
  CHECK(at(several, {{x, Tensor(2.0)}, {weight, Tensor(10.0)}}) == doctest::Approx(10 * 4 + 3));
}

TEST_CASE_FIXTURE(Fixture, "gradients: third order") {
  const Output x = scalar("x");
  Output y = square(square(x)) * exp(x);  // x^4 e^x
  for (int order = 0; order < 3; ++order) y = gradients({y}, {x})[0];
  verify(graph);
  const double v = 0.7;
  const double expected = std::exp(v) * (v * v * v * v + 12 * v * v * v + 36 * v * v + 24 * v);
  CHECK(at(y, {{x, Tensor(v)}}) == doctest::Approx(expected).epsilon(1e-12));
}

TEST_CASE_FIXTURE(Fixture,
                  "gradients: broadcast operands, also of unknown size, keep their shape") {
  const Output batch = placeholder(graph, float64, {any, 3}, "batch");
  const Output row = vector("row"), number = scalar("number");
  const auto grads = gradients({sum(batch * row + number)}, {batch, row, number});
  CHECK(grads[0].shape() == batch.shape());
  CHECK(grads[1].shape() == row.shape());
  CHECK(grads[2].shape() == number.shape());
  const Tensor values = {{1.0, 2.0, 3.0}, {4.0, 5.0, 6.0}};
  const auto result = Session(graph).run(
      {{batch, values}, {row, Tensor{1.0, 1.0, 1.0}}, {number, Tensor(0.0)}}, grads);
  CHECK(result[0].shape() == Shape{2, 3});
  CHECK(result[1].at<double>({2}) == 9);
  CHECK(result[2].item<double>() == 6);
}

TEST_CASE_FIXTURE(Fixture, "gradients: deep graphs need no stack and linear memory") {
  const int depth = 200'000;
  const Output x = scalar("x");
  Output y = x;
  for (int i = 0; i < depth; ++i) y = neg(y);
  const int before = graph.num_nodes();
  gradients({y}, {x});
  CHECK(graph.num_nodes() - before <= depth + 10);
}

TEST_CASE_FIXTURE(Fixture, "custom_gradient: the user's gradient replaces the op's own") {
  const Output x = vector("x"), scale = scalar("scale");
  int calls = 0;
  // Rounds, and lets the gradient through, scaled.
  const auto rounded = custom_gradient(
      {x, scale},
      [&](const std::vector<Output>& in) -> std::vector<Output> {
        return {opaque(in[0]), in[0] * in[1]};
      },
      [&](const std::vector<Output>& in, const std::vector<Output>& out,
          const std::vector<Output>& grads) -> std::vector<Output> {
        ++calls;
        CHECK(out.size() == 2);
        CHECK(grads.size() == 2);
        return {grads[0] * in[1] + grads[1], Output()};
      });
  REQUIRE(rounded.size() == 2);
  CHECK(rounded[0].shape() == x.shape());
  const auto grads =
      gradients({sum(rounded[0])}, {x, scale}, {}, {.unconnected = Unconnected::empty});
  CHECK(calls == 1);
  CHECK(grads[0].shape() == x.shape());
  CHECK_FALSE(grads[1]);
  // Higher order: the gradient depends on scale.
  CHECK(gradients({sum(grads[0])}, {scale}, {}, {.unconnected = Unconnected::empty})[0]);
  verify(graph);
}

TEST_CASE("custom_gradient: a gradient that does not fit is told by the user's number") {
  Graph graph;
  const Output x = variable(graph, Tensor{1.f, 2.f}, "x"), z = variable(graph, Tensor(1.f), "z");
  const Output y = custom_gradient(
      {z, x}, [](const std::vector<Output>& in) { return std::vector<Output>{in[0] * in[1]}; },
      [](const auto& in, const auto&, const auto& grads) {
        return std::vector<Output>{sum(grads[0] * in[1]), sum(grads[0])};
      })[0];
  CHECK(tests::contains(tests::message_of([&] { gradients({y}, {x}); }),
                        "its gradient by input 1 is float32[], the input is float32[2]"));
}

TEST_CASE_FIXTURE(Fixture, "custom_gradient: values") {
  const Output x = scalar("x");
  const auto clipped = custom_gradient(
      {x}, [](const std::vector<Output>& in) -> std::vector<Output> { return {in[0] * in[0]}; },
      [](const std::vector<Output>& in, const std::vector<Output>&,
         const std::vector<Output>& grads) -> std::vector<Output> {
        return {clip_by_value(grads[0], -1, 1) * in[0]};
      });
  const Output y = 5.0 * clipped[0];
  CHECK(at(y, {{x, Tensor(3.0)}}) == 45);
  CHECK(at(gradients({y}, {x})[0], {{x, Tensor(3.0)}}) == 3);
}

TEST_CASE_FIXTURE(Fixture, "custom_gradient: wrong results are errors with the line") {
  const Output x = vector("x");
  const auto make = [&](std::vector<Output> grads) {
    return custom_gradient(
        {x}, [](const std::vector<Output>& in) { return in; },
        [grads](const std::vector<Output>&, const std::vector<Output>&,
                const std::vector<Output>&) { return grads; })[0];
  };
  const auto fails = [&](std::vector<Output> grads, const std::string& part) {
    const Output y = sum(make(std::move(grads)));
    const std::string message = message_of([&] { gradients({y}, {x}); });
    CHECK_MESSAGE(contains(message, part), message);
    CHECK_MESSAGE(contains(message, "test_gradients.cpp:"), message);
  };
  fails({}, "gives 0 values for 1 inputs");
  fails({sum(x)}, "float64[], the input is float64[3]");
  fails({cast(x, float32)}, "float32[3], the input is float64[3]");
  CHECK_THROWS_AS(custom_gradient({}, [](const auto& in) { return in; }, {}), BuildError);
}

TEST_CASE_FIXTURE(Fixture, "clipping: by value, norm and global norm") {
  const Output x = vector("x"), y = vector("y");
  const Tensor three_four = {3.0, 0.0, 4.0}, small = {0.1, 0.0, 0.0}, zero = {0.0, 0.0, 0.0};
  Session session(graph);
  const auto values = [&](Output fetch, const Tensor& at_x) {
    const Tensor result = session.run({{x, at_x}, {y, Tensor{0.0, 12.0, 0.0}}}, fetch);
    return std::vector<double>(result.span<double>().begin(), result.span<double>().end());
  };
  CHECK(values(clip_by_value(x, -1, 3.5), three_four) == std::vector<double>{3, 0, 3.5});
  const auto by_norm = values(clip_by_norm(x, 1), three_four);
  CHECK(by_norm[0] == doctest::Approx(0.6));
  CHECK(by_norm[2] == doctest::Approx(0.8));
  CHECK(values(clip_by_norm(x, 1), small) == std::vector<double>{0.1, 0, 0});
  CHECK(values(clip_by_norm(x, 1), zero) == std::vector<double>{0, 0, 0});
  // The gradient at 0 is that of the identity.
  CHECK(values(gradients({sum(clip_by_norm(x, 1))}, {x})[0], zero) ==
        std::vector<double>{1, 1, 1});

  const auto clipped = clip_by_global_norm({x, Output(), y}, 6.5);
  CHECK_FALSE(clipped[1]);
  CHECK(values(clipped[0], three_four)[0] == doctest::Approx(1.5));
  CHECK(values(clipped[2], three_four)[1] == doctest::Approx(6));

  CHECK_THROWS_AS(clip_by_norm(x, 0), BuildError);
  CHECK_THROWS_AS(clip_by_norm(x, -1), BuildError);
  CHECK_THROWS_AS(clip_by_global_norm({x}, std::nan("")), BuildError);
  CHECK_THROWS_AS(clip_by_value(x, 1, -1), BuildError);
}
