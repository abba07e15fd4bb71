#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "gradgraph/op.h"
#include "messages.h"

/// What gg::cond builds and computes: values, gradients, errors.
namespace gg = gradgraph;
using gg::any;
using gg::Output;
using gg::Tensor;
using gg::tests::contains;
using gg::tests::message_of;
using Outputs = std::vector<Output>;

namespace {

std::string line(int number) { return "test_cond.cpp:" + std::to_string(number); }

std::vector<double> numbers(const Tensor& tensor) {
  const Tensor values = tensor.cast(gg::float64);
  return {values.span<double>().begin(), values.span<double>().end()};
}

struct Choice {
  gg::Graph graph;
  Output predicate = gg::placeholder(graph, gg::boolean, {}, "predicate");
  Output x = gg::placeholder(graph, gg::float32, {any}, "x");

  gg::Feeds feeds(bool value, const Tensor& at = Tensor{1.f, 2.f, 3.f}) const {
    return {{predicate, Tensor(value)}, {x, at}};
  }
};

const gg::OpDef& op_without_gradient() {
  static const gg::OpDef& op =
      gg::op_registry()
          .add({.name = "test_opaque",
                .traits = {.internal = true, .non_differentiable = true},
                .infer = [](gg::InferContext& in) { in.output(in.dtype(0), in.shape(0)); }})
          .describe("x", {"x"});
  return op;
}

/// What building says, after which the graph must be as it was.
template <class Build>
std::string refusal(gg::Graph& graph, const Build& build) {
  const int nodes = graph.num_nodes();
  const std::string message = message_of<gg::BuildError>(build);
  CHECK(graph.num_nodes() == nodes);
  return message;
}

}  // namespace

TEST_SUITE("cond") {
  TEST_CASE("one branch runs, and what the other would refuse is not looked at") {
    Choice c;
    const Output index = gg::placeholder(c.graph, gg::int64, {}, "index");
    const auto rows = [&] { return gg::gather(c.x, gg::reshape(index, {1})); };
    const int made = __LINE__ - 1;
    const Output first = gg::cond(c.predicate, rows, [&] { return gg::slice(c.x, {0}, {1}); });
    gg::Session session(c.graph);
    auto feeds = c.feeds(false);
    feeds.emplace_back(index, Tensor(std::int64_t{7}));
    CHECK(session.run(feeds, first).item<float>() == 1);
    feeds = c.feeds(true);
    feeds.emplace_back(index, Tensor(std::int64_t{7}));
    const std::string message = message_of<gg::RunError>([&] { session.run(feeds, first); });
    CHECK_MESSAGE(contains(message, "[gather] 'cond/then/gather'"), message);
    CHECK_MESSAGE(contains(message, "index 7 (number 0) is outside [0,3)"), message);
    CHECK_MESSAGE(contains(message, line(made)), message);
    feeds.back().second = Tensor(std::int64_t{2});
    CHECK(session.run(feeds, first).item<float>() == 3);
  }

  TEST_CASE("constants that must be refused are, where their branch runs") {
    Choice c;
    const Output zero = gg::constant(c.graph, Tensor(0)), one = gg::constant(c.graph, Tensor(1));
    const Output y = gg::cond(
        c.predicate, [&] { return one / zero; }, [&] { return one; });
    gg::Session session(c.graph);
    CHECK(session.run(c.feeds(false), y).item<int>() == 1);
    CHECK(contains(message_of<gg::RunError>([&] { session.run(c.feeds(true), y); }),
                   "[div] 'cond/then/div'"));
  }

  TEST_CASE("values of every dtype pass through, with and without elements") {
    for (const gg::DType dtype : {gg::boolean, gg::uint8, gg::int32, gg::int64, gg::float16,
                                  gg::bfloat16, gg::float32, gg::float64})
      for (const gg::Shape& shape : {gg::Shape{}, gg::Shape{3}, gg::Shape{0, 2}}) {
        CAPTURE(dtype);
        CAPTURE(shape);
        gg::Graph graph;
        const Output p = gg::placeholder(graph, gg::boolean, {}),
                     a = gg::placeholder(graph, dtype, shape),
                     b = gg::placeholder(graph, dtype, shape);
        const Output y = gg::cond(
            p, [&] { return a; },
            [&] { return gg::reshape(gg::concat({gg::reshape(b, {-1})}, 0), shape); });
        gg::Session session(graph);
        const Tensor one = Tensor::full(dtype, shape, 1), zero = Tensor::zeros(dtype, shape);
        CHECK(numbers(session.run({{p, Tensor(true)}, {a, one}, {b, zero}}, y)) == numbers(one));
        CHECK(numbers(session.run({{p, Tensor(false)}, {a, one}, {b, zero}}, y)) ==
              numbers(zero));
      }
  }

  TEST_CASE("feeds of other shapes, and shapes that only a run knows to differ") {
    Choice c;
    const Output y = gg::cond(
        c.predicate, [&] { return c.x * 2; }, [&] { return c.x + gg::sum(c.x); });
    CHECK(y.shape() == gg::Shape{any});
    gg::Session session(c.graph);
    for (const std::int64_t size : {4, 1, 0, 4}) {
      const Tensor ones = Tensor::full(gg::float32, {size}, 1);
      CHECK(numbers(session.run(c.feeds(true, ones), y)) ==
            std::vector<double>(static_cast<std::size_t>(size), 2));
      CHECK(numbers(session.run(c.feeds(false, ones), y)) ==
            std::vector<double>(static_cast<std::size_t>(size), 1 + static_cast<double>(size)));
    }
    const int made = __LINE__ + 1;
    const Output z = gg::cond(
        c.predicate, [&] { return c.x; },
        [&] { return gg::zeros_like(gg::slice(gg::tile(c.x, {3}), {0}, {3})); });
    CHECK(z.shape() == gg::Shape{3});
    CHECK(session.run(c.feeds(false), z).shape() == gg::Shape{3});
    const std::string message = message_of<gg::RunError>([&] {
      session.run(c.feeds(false, Tensor{1.f, 2.f}), z);
    });
    CHECK_MESSAGE(contains(message, "result 0 is float32[2] ('x', "), message);
    CHECK_MESSAGE(contains(message, "in one branch, float32[3] ("), message);
    CHECK_MESSAGE(contains(message, line(made)), message);
  }

  TEST_CASE("what decides a shape in a branch may be fed, and may be chosen") {
    Choice c;
    const Output dims = gg::placeholder(c.graph, gg::int64, {2}, "dims");
    const Output y = gg::cond(
        c.predicate, [&] { return gg::sum(gg::reshape(c.x, dims), {0}); },
        [&] { return gg::sum(gg::reshape(c.x + 1, dims), {0}); });
    auto feeds = c.feeds(true, Tensor{1.f, 2.f, 3.f, 4.f});
    feeds.emplace_back(dims, Tensor{std::int64_t{2}, std::int64_t{2}});
    gg::Session session(c.graph);
    CHECK(numbers(session.run(feeds, y)) == std::vector<double>{4, 6});
    feeds.back().second = Tensor{std::int64_t{4}, std::int64_t{1}};
    CHECK(numbers(session.run(feeds, y)) == std::vector<double>{10});

    const Output pair = gg::constant(c.graph, Tensor{std::int64_t{2}, std::int64_t{2}});
    const Output chosen = gg::cond(
        c.predicate, [&] { return dims; }, [&] { return pair; });
    const Output z = gg::reshape(c.x, chosen);
    CHECK(session.run(feeds, z).shape() == gg::Shape{4, 1});
    feeds.front().second = Tensor(false);
    CHECK(session.run(feeds, z).shape() == gg::Shape{2, 2});
  }

  TEST_CASE("a predicate that is known takes its branch into the graph") {
    Choice c;
    const Output flat = gg::reshape(gg::less(gg::shape_of(c.x), 2), {});
    const Output y = gg::cond(
        flat, [&] { return gg::exp(c.x); }, [&] { return gg::log(c.x); });
    gg::Session session(c.graph);
    const gg::Feeds feeds = {{c.x, Tensor{0.f}}};
    CHECK(session.run(feeds, y).item<float>() == 1);
    const std::string nodes = session.explain_placement(feeds, {y});
    CHECK_MESSAGE(contains(nodes, "cond/then/exp"), nodes);
    CHECK_MESSAGE(!contains(nodes, "\ncond/cond"), nodes);
    CHECK_MESSAGE(!contains(nodes, "log"), nodes);
  }

  TEST_CASE("wrong predicates and branches are refused, with the line") {
    Choice c;
    const auto x = [&] { return c.x; };
    const auto check = [](const std::string& message, const std::string& part, int made) {
      CHECK_MESSAGE(contains(message, "[cond] 'cond/cond': "), message);
      CHECK_MESSAGE(contains(message, part), message);
      CHECK_MESSAGE(contains(message, line(made)), message);
    };
    const Output flags = gg::placeholder(c.graph, gg::boolean, {1}, "flags");
    const Output number = gg::placeholder(c.graph, gg::int32, {}, "number");
    check(refusal(c.graph, [&] { gg::cond(flags, x, x); }), "input 0 must have 0 axes, not 1",
          __LINE__ - 1);
    check(refusal(c.graph, [&] { gg::cond(number, x, x); }), "input 0 must be bool, not int32",
          __LINE__ - 1);
    const auto halves = [&] { return gg::cast(c.x, gg::float16); };
    const int halves_made = __LINE__ - 1;
    const std::string dtypes = refusal(c.graph, [&] { gg::cond(c.predicate, x, halves); });
    check(dtypes, "result 0 is float32[?] ('x', ", __LINE__ - 1);
    check(dtypes, "in one branch, float16[?] ('cond/else/cast', ", halves_made);
    const auto row = [&] { return gg::expand_dims(c.x, 0); };
    check(refusal(c.graph, [&] { gg::cond(c.predicate, row, x); }),
          "result 0 is float32[1,?] ('cond/then/expand_dims', ", __LINE__ - 1);
    const auto two = [&] { return Outputs{c.x, c.x}; };
    const auto one = [&] { return Outputs{c.x}; };
    check(refusal(c.graph, [&] { gg::cond(c.predicate, one, two); }),
          "its branches give 1 and 2 results", __LINE__ - 1);
    check(refusal(c.graph, [&] { gg::cond(c.predicate, one, [] { return Outputs(); }); }),
          "its else branch gives no result", __LINE__ - 1);
    check(refusal(c.graph, [&] { gg::cond(c.predicate, x, [] { return Output(); }); }),
          "its else branch gives an empty Output as result 0", __LINE__ - 1);
    const auto nothing = [&] { return gg::group(c.graph, {}); };
    check(refusal(c.graph, [&] { gg::cond(c.predicate, nothing, x); }),
          "its then branch gives 'cond/then/group', which has no value", __LINE__ - 1);
    gg::Graph other;
    const Output y = gg::placeholder(other, gg::float32, {any}, "y");
    check(refusal(c.graph, [&] { gg::cond(c.predicate, x, [&] { return y; }); }),
          "its else branch gives 'y', which is of another graph", __LINE__ - 1);
    Output stray;
    const auto leaks = [&] { return stray = c.x + 1; };
    check(refusal(c.graph, [&] { gg::cond(c.predicate, leaks, [&] { return stray; }); }),
          "its else branch gives 'cond/then/add', which belongs to another branch", __LINE__ - 1);
    CHECK(contains(refusal(c.graph, [&] { gg::cond(c.predicate, std::function<Output()>(), x); }),
                   "[cond] 'cond': a branch is missing"));
    CHECK(contains(message_of([&] { gg::cond(Output(), x, x); }), "input 0 is empty"));
  }

  TEST_CASE("nothing outside reads what belongs to a branch") {
    Choice c;
    Output inside;
    const Output y = gg::cond(
        c.predicate, [&] { return gg::exp(inside = c.x + 1); }, [&] { return c.x; });
    CHECK(inside.node().region() != 0);
    const std::string message = refusal(c.graph, [&] { gg::relu(inside); });
    CHECK_MESSAGE(contains(message, "[relu] 'relu': input 'cond/then/add' belongs to a branch"),
                  message);
    CHECK(contains(refusal(c.graph,
                           [&] {
                             const auto after = gg::control_dependencies(c.graph, {inside});
                             gg::relu(c.x);
                           }),
                   "waits for 'cond/then/add', which belongs to a branch"));
    gg::Session session(c.graph);
    CHECK(contains(message_of<gg::RunError>([&] { session.run(c.feeds(true), inside); }),
                   "fetch 'cond/then/add' belongs to a branch"));
    CHECK(contains(message_of<gg::RunError>([&] {
                     session.run({{inside, Tensor{1.f}}}, y);
                   }),
                   "feed 'cond/then/add' belongs to a branch"));
    gg::verify(c.graph);
  }

  TEST_CASE("a branch updates nothing") {
    Choice c;
    const Output total = gg::variable(c.graph, Tensor{1.f, 1.f, 1.f}, "total");
    const auto update = [&] { return gg::assign_add(total, c.x); };
    const int made = __LINE__ - 1;
    const std::string message =
        refusal(c.graph, [&] { gg::cond(c.predicate, update, [&] { return c.x; }); });
    CHECK_MESSAGE(contains(message, "[assign_add] 'cond/then/assign_add': updates a variable"),
                  message);
    CHECK_MESSAGE(contains(message, line(made)), message);
  }

  TEST_CASE("variables have their values from before the run, or from after what is waited for") {
    Choice c;
    const Output total = gg::variable(c.graph, Tensor(10.f), "total");
    const Output update = gg::assign_add(total, 1);
    const auto read = [&] { return total * 2; };
    const auto other = [&] { return total * 3; };
    const Output before = gg::cond(c.predicate, read, other);
    Output after, after_inside;
    {
      const auto guard = gg::control_dependencies(c.graph, {update});
      after = gg::cond(c.predicate, read, other);
    }
    after_inside = gg::cond(
        c.predicate,
        [&] {
          const auto guard = gg::control_dependencies(c.graph, {update});
          return total * 2;
        },
        other);
    gg::Session session(c.graph);
    const auto run = [&](const Output& y) { return session.run(c.feeds(true), {y, update}); };
    CHECK(run(before)[0].item<float>() == 20);
    CHECK(run(after)[0].item<float>() == 24);
    CHECK(run(after_inside)[0].item<float>() == 26);
    CHECK(session.value(total).item<float>() == 13);
  }

  TEST_CASE("a branch that fails leaves variables as they were") {
    Choice c;
    const Output count = gg::variable(c.graph, Tensor(std::int64_t{0}), "count");
    const Output update = gg::assign_add(count, std::int64_t{5});
    const Output y = [&] {
      const auto guard = gg::control_dependencies(c.graph, {update});
      return gg::cond(
          c.predicate, [&] { return gg::gather(c.x, gg::reshape(count, {1})); },
          [&] { return gg::sum(c.x, {0}, true); });
    }();
    gg::Session session(c.graph);
    CHECK_THROWS_AS(session.run(c.feeds(true), {y, update}), gg::RunError);
    CHECK(session.value(count).item<std::int64_t>() == 0);
    session.run(c.feeds(false), {y, update});
    CHECK(session.value(count).item<std::int64_t>() == 5);
  }

  TEST_CASE("layers in branches train, the chosen one alone") {
    Choice c;
    const Output inputs = gg::placeholder(c.graph, gg::float64, {any, 3}, "inputs");
    const auto layer = [&](const char* name) {
      return [&inputs, name] {
        return gg::nn::dense(inputs, {.units = 2, .activation = gg::tanh}, name);
      };
    };
    const Output y = gg::cond(c.predicate, layer("left"), layer("right"));
    const Output loss = gg::mean(gg::square(y - 0.5));
    const Output train = gg::GradientDescent{.learning_rate = 0.5}.minimize(loss);
    const Outputs variables = gg::trainable_variables(c.graph);
    REQUIRE(variables.size() == 4);
    const Outputs grads = gg::gradients({loss}, variables);
    Tensor data(gg::float64, {4, 3});
    for (std::int64_t i = 0; i < 12; ++i)
      data.data<double>()[i] = std::sin(static_cast<double>(i));
    for (const bool left : {true, false}) {
      gg::Session session(c.graph, {.seed = 5});
      const gg::Feeds feeds = {{c.predicate, Tensor(left)}, {inputs, data}};
      const std::vector<Tensor> exact = session.run(feeds, grads);
      for (std::size_t k = 0; k < variables.size(); ++k) {
        CAPTURE(variables[k]);
        const bool is_left = contains(variables[k].name(), "left");
        Tensor value = session.value(variables[k]);
        for (std::int64_t i = 0; i < value.num_elements(); ++i) {
          const auto at = [&](double shift) {
            Tensor shifted = value.clone();
            shifted.data<double>()[i] += shift;
            session.set_value(variables[k], shifted);
            return session.run(feeds, loss).item<double>();
          };
          const double numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
          CHECK(exact[k].data<double>()[i] == doctest::Approx(numeric).epsilon(1e-6));
          if (is_left != left) CHECK(exact[k].data<double>()[i] == 0);
        }
        session.set_value(variables[k], value);
      }
      const double before = session.run(feeds, loss).item<double>();
      for (int step = 0; step < 20; ++step) session.run(feeds, train);
      CHECK(session.run(feeds, loss).item<double>() < 0.5 * before);
    }
  }

  TEST_CASE("branches draw numbers of their own, and their gradients the same again") {
    Choice c;
    const auto draw = [&] { return gg::random_uniform(c.graph, {4}, gg::float32); };
    const Output outside = draw();
    const Output first = gg::cond(c.predicate, draw, draw),
                 second = gg::cond(c.predicate, draw, draw);
    gg::Session session(c.graph, {.seed = 3});
    const std::vector<Tensor> yes = session.run(c.feeds(true), {outside, first, second});
    session.set_step(0);
    const std::vector<Tensor> no = session.run(c.feeds(false), {outside, first, second});
    CHECK(numbers(yes[0]) == numbers(no[0]));
    const std::vector<double> draws[] = {numbers(yes[0]), numbers(yes[1]), numbers(yes[2]),
                                         numbers(no[1]), numbers(no[2])};
    for (int i = 0; i < 5; ++i)
      for (int j = 0; j < i; ++j) CHECK(draws[i] != draws[j]);
    CHECK(numbers(session.run(c.feeds(true), first)) != draws[1]);  // another step

    const Output training = gg::constant(c.graph, Tensor(true));
    const Output dropped = gg::cond(
        c.predicate, [&] { return gg::dropout(c.x, 0.5, training); }, [&] { return 2 * c.x; });
    const Output grad = gg::gradients({dropped}, {c.x})[0];
    const Tensor ones = Tensor::full(gg::float32, {64}, 1);
    const std::vector<Tensor> both = session.run(c.feeds(true, ones), {dropped, grad});
    CHECK(numbers(both[0]) == numbers(both[1]));
    CHECK(numbers(both[0]) != numbers(ones));
    CHECK(numbers(session.run(c.feeds(false, ones), grad)) == std::vector<double>(64, 2));
  }

  TEST_CASE("gradients: of what a branch passes on, of part of the results, and none") {
    Choice c;
    const Output w = gg::variable(c.graph, Tensor{2.f, 3.f, 4.f}, "w");
    const Output v = c.x * w;  // read beside w: only the way through the op counts
    const Outputs y = gg::cond(
        c.predicate,
        [&] {
          return Outputs{v + w, gg::stop_gradient(w)};
        },
        [&] {
          return Outputs{w, w * w};
        });
    gg::Session session(c.graph);
    const auto grads_of = [&](const Output& loss, bool value) {
      return numbers(session.run(c.feeds(value), gg::gradients({loss}, {w})[0]));
    };
    CHECK(grads_of(y[0], true) == std::vector<double>{2, 3, 4});
    CHECK(grads_of(y[0], false) == std::vector<double>{1, 1, 1});
    CHECK(grads_of(y[1], true) == std::vector<double>{0, 0, 0});
    CHECK(grads_of(y[1], false) == std::vector<double>{4, 6, 8});
    CHECK(grads_of(gg::sum(y[0]) + gg::sum(y[1]), false) == std::vector<double>{5, 7, 9});
    const Output stopped = gg::cond(
        c.predicate, [&] { return gg::stop_gradient(w); }, [&] { return gg::floor(c.x); });
    const int nodes = c.graph.num_nodes();
    CHECK(!gg::gradients({stopped}, {w}, {}, {.unconnected = gg::Unconnected::empty})[0]);
    CHECK(c.graph.num_nodes() <= nodes + 3);  // ones, the gradient of `stopped` by itself

    // An op without a gradient is in nobody's way where its input's is not asked for.
    const Output other = gg::placeholder(c.graph, gg::float32, {3}, "other");
    const Output mixed = gg::cond(
        c.predicate,
        [&] { return w * c.graph.add(op_without_gradient(), {other}, {}, {}).output(); },
        [&] { return w; });
    CHECK(gg::gradients({mixed}, {w})[0].shape() == gg::Shape{3});
    CHECK(contains(message_of<gg::GradientError>([&] { gg::gradients({mixed}, {other}); }),
                   "[test_opaque] 'cond_2/then/test_opaque': has no gradient"));
  }

  TEST_CASE("gradients taken in a branch, and gradients of the user's own") {
    Choice c;
    const Output y = gg::cond(
        c.predicate,
        [&] {
          const Output cube = c.x * c.x * c.x;
          return gg::gradients({cube}, {c.x})[0];
        },
        [&] {
          return gg::custom_gradient(
              {c.x}, [](const Outputs& in) { return Outputs{gg::floor(in[0])}; },
              [](const Outputs&, const Outputs&, const Outputs& grads) {
                return Outputs{grads[0] * 7};
              })[0];
        });
    gg::Session session(c.graph);
    CHECK(numbers(session.run(c.feeds(true), y)) == std::vector<double>{3, 12, 27});
    const Output grad = gg::gradients({y}, {c.x})[0];
    CHECK(numbers(session.run(c.feeds(true), grad)) == std::vector<double>{6, 12, 18});
    CHECK(numbers(session.run(c.feeds(false), grad)) == std::vector<double>{7, 7, 7});
  }

  TEST_CASE("scopes whose values are computed again, around and inside") {
    for (const bool again : {false, true}) {
      CAPTURE(again);
      Choice c;
      const auto block = [&](const char* name) {
        return again ? gg::recompute(c.graph, name) : gg::scope(c.graph, name);
      };
      Output y;
      {
        const auto guard = block("outer");
        const Output h = gg::exp(c.x * 0.5f);
        y = gg::cond(
            c.predicate,
            [&] {
              const auto inner = block("inner");
              return gg::tanh(h) * h + gg::random_uniform(c.graph, gg::shape_of(h), gg::float32);
            },
            [&] { return gg::sigmoid(h); });
        y = gg::sin(y);
      }
      const Output grad = gg::gradients({gg::sum(y * y)}, {c.x})[0];
      gg::Session session(c.graph, {.seed = 1});
      static std::vector<double> expected;
      const std::vector<Tensor> values = session.run(c.feeds(true), {y, grad});
      std::vector<double> all = numbers(values[0]);
      for (const double number : numbers(values[1])) all.push_back(number);
      if (!again) expected = all;
      CHECK(all == expected);
    }
  }

  TEST_CASE("an initial value may be chosen") {
    gg::Graph graph;
    const Output coin = gg::less(gg::random_uniform(graph, {}, gg::float32), 2);
    const Output start = gg::cond(
        coin,
        [&] {
          return gg::constant(graph, Tensor{1.f, 2.f}) * 3;
        },
        [&] {
          return gg::constant(graph, Tensor{0.f, 0.f});
        });
    const Output v = gg::variable(start, "v");
    gg::Session session(graph);
    CHECK(numbers(session.value(v)) == std::vector<double>{3, 6});
  }

  TEST_CASE("many choices, one after the other and one in the other") {
    Choice c;
    Output y = c.x;
    for (int i = 0; i < 100; ++i)
      y = gg::cond(
          c.predicate, [&] { return y + 1; }, [&] { return y * 1.01f; });
    constexpr int kDepth = 20;
    const std::function<Output(int)> nest = [&](int depth) {
      return depth == 0 ? y * y
                        : gg::cond(
                              c.predicate, [&] { return nest(depth - 1) + 1; },
                              [&] { return nest(depth - 1); });
    };
    y = nest(4);
    const std::function<Output(int)> deep = [&](int depth) {
      return depth == 0
                 ? y * 2
                 : gg::cond(
                       c.predicate, [&] { return deep(depth - 1) + 1; }, [&] { return c.x; });
    };
    y = deep(kDepth);
    const Output grad = gg::gradients({y}, {c.x})[0];
    gg::Session session(c.graph);
    const std::vector<Tensor> values = session.run(c.feeds(true, Tensor{1.f}), {y, grad});
    CHECK(values[0].data<float>()[0] == 2 * (101 * 101 + 4) + kDepth);
    CHECK(values[1].data<float>()[0] == 404);
  }
}
