#include <doctest/doctest.h>

#include <string>

#include "gradgraph/gradgraph.h"
#include "gradgraph/op.h"

/// Building graphs: names, scopes, attributes, order, operators, shapes; and verify.
namespace gg = gradgraph;
using gg::Output;
using gg::Shape;
using gg::Tensor;

namespace {

Output floats(gg::Graph& graph, const Shape& shape, std::string_view name = {}) {
  return gg::placeholder(graph, gg::float32, shape, name);
}

std::string at_line(unsigned line) { return "  (test_graph.cpp:" + std::to_string(line) + ")"; }

/// CHECKs that `build` throws `Error` with this whole message and leaves the graph as it was.
template <class Error = gg::BuildError, class Build>
void check_refused(gg::Graph& graph, const std::string& message, const Build& build) {
  const int before = graph.num_nodes();
  CHECK_THROWS_WITH_AS(build(), message.c_str(), Error);
  CHECK(graph.num_nodes() == before);
  CHECK_NOTHROW(gg::verify(graph));
}

}  // namespace

TEST_SUITE("graph") {
  TEST_CASE("names are the op's unless given, and unique") {
    gg::Graph graph;
    const auto x = floats(graph, {2});
    CHECK(x.name() == "placeholder");
    CHECK(floats(graph, {2}).name() == "placeholder_1");
    CHECK(floats(graph, {2}, "x").name() == "x");
    CHECK(floats(graph, {2}, "x").name() == "x_1");
    CHECK(floats(graph, {2}, "x_1").name() == "x_1_1");
    CHECK(floats(graph, {2}, "x").name() == "x_2");
    CHECK(graph.find("x_1")->name() == "x_1");
    CHECK(graph.find("nothing") == nullptr);
    const auto named = gg::named(gg::exp(x), "loss");
    CHECK(named.name() == "loss");
    CHECK(graph.find("loss") == &named.node());
    CHECK(graph.find("exp") == nullptr);
    CHECK(gg::exp(x).name() == "exp");
  }

  TEST_CASE("outputs after the first carry their number") {
    gg::Graph graph;
    const auto parts = gg::split(floats(graph, {4}, "x"), {1, 3}, 0);
    CHECK(parts[0].name() == "split");
    CHECK(parts[1].name() == "split:1");
    CHECK(parts[0].index() == 0);
    CHECK(parts[0] != parts[1]);
    CHECK(&parts[0].node() == &parts[1].node());
  }

  TEST_CASE("attributes of a copy change alone, and moved ones are empty") {
    gg::Attributes first{{"rate", 0.5}, {"flag", true}};
    gg::Attributes second = first;
    second.set("rate", 0.25);
    second.set("axis", std::int64_t{3});
    CHECK(first.get<double>("rate") == 0.5);
    CHECK(first.find("axis") == nullptr);
    CHECK(second.get<double>("rate") == 0.25);
    CHECK(second.get<bool>("flag"));
    CHECK(second.get<std::int64_t>("axis") == 3);
    const gg::Attributes third = std::move(first);
    CHECK(third.get<double>("rate") == 0.5);
    CHECK(first.begin() == first.end());
    first.set("rate", 1.0);
    CHECK(first.get<double>("rate") == 1.0);
    CHECK(first.end() - first.begin() == 1);
  }
  TEST_CASE("handles compare, copy and may be empty") {
    gg::Graph graph;
    const auto x = floats(graph, {2});
    const Output copy = x, empty;
    CHECK(copy == x);
    CHECK(x != floats(graph, {2}));
    CHECK(static_cast<bool>(x));
    CHECK_FALSE(static_cast<bool>(empty));
    CHECK(empty == Output());
    CHECK(&x.graph() == &graph);
    CHECK(x.rank() == 1);
  }

  TEST_CASE("scopes nest, end, and never mix with another of the same name") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    {
      const auto outer = gg::scope(graph, "block");
      CHECK(gg::exp(x).name() == "block/exp");
      {
        const auto inner = gg::scope(graph, "attention");
        CHECK(gg::exp(x).name() == "block/attention/exp");
        CHECK(gg::exp(x).name() == "block/attention/exp_1");
      }
      CHECK(gg::named(gg::log(x), "y").name() == "block/y");
    }
    CHECK(gg::exp(x).name() == "exp");
    const auto again = gg::scope(graph, "block");
    CHECK(gg::exp(x).name() == "block_1/exp");
  }

  TEST_CASE("a scope and a node never have one name") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "fc");
    const auto scope = gg::scope(graph, "fc");
    CHECK(gg::exp(x).name() == "fc_1/exp");
  }

  TEST_CASE("numbered names avoid scopes and nodes, and names that were given up are free") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    for (const char* name : {"fc", "fc_1"}) const auto ended = gg::scope(graph, name);
    CHECK(floats(graph, {2}, "fc").name() == "fc_2");
    const auto y = gg::named(gg::exp(x), "y");
    gg::named(y, "z");
    CHECK(graph.find("y") == nullptr);
    CHECK(gg::named(gg::exp(x), "y").name() == "y");
    gg::named(y, "z");
    CHECK(y.name() == "z");
  }

  TEST_CASE("a thousand names, of all lengths, are told apart and found") {
    gg::Graph graph;
    for (int i = 0; i < 1000; ++i)
      floats(graph, {2}, std::string(static_cast<std::size_t>(i % 50 + 1), 'a'));
    for (const gg::Node& node : graph.nodes()) CHECK(graph.find(node.name()) == &node);
  }

  TEST_CASE("a scope ends when an error leaves it") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    try {
      const auto scope = gg::scope(graph, "broken");
      gg::matmul(x, x);
    } catch (const gg::BuildError&) {
    }
    CHECK(gg::exp(x).name() == "exp");
  }

  TEST_CASE("device scopes nest; the innermost counts") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    CHECK(x.node().device().empty());
    const auto outer = gg::device_scope(graph, "cuda:0");
    CHECK(gg::exp(x).node().device() == "cuda:0");
    {
      const auto inner = gg::device_scope(graph, "cpu");
      CHECK(gg::exp(x).node().device() == "cpu");
    }
    CHECK(gg::exp(x).node().device() == "cuda:0");
  }

  TEST_CASE("control inputs: by scope, by node, each once") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    const auto first = gg::exp(x), second = gg::log(x);
    Output after;
    {
      const auto order = gg::control_dependencies(graph, {first});
      const auto more = gg::control_dependencies(graph, {second});
      after = gg::neg(x);
    }
    REQUIRE(after.node().control_inputs().size() == 2);
    CHECK(after.node().control_inputs()[0] == &first.node());
    CHECK(after.node().control_inputs()[1] == &second.node());
    CHECK(gg::neg(x).node().control_inputs().empty());
    after.node().add_control_input(first.node());
    CHECK(after.node().control_inputs().size() == 2);
    const auto all = gg::group(graph, {first, second, first}, "all");
    CHECK(all.name() == "all");
    CHECK(all.node().num_outputs() == 0);
    CHECK(all.node().num_inputs() == 0);
  }

  TEST_CASE("attributes are found by name and type") {
    gg::Attributes attributes{{"axis", std::int64_t{2}}, {"name", std::string("x")}};
    CHECK(attributes.get<std::int64_t>("axis") == 2);
    CHECK(attributes.find("none") == nullptr);
    attributes.set("axis", std::int64_t{3});
    attributes.set("keep", true);
    CHECK(attributes.get<std::int64_t>("axis") == 3);
    CHECK(attributes.get<bool>("keep"));
    CHECK(std::distance(attributes.begin(), attributes.end()) == 3);
  }

  TEST_CASE("operators take Outputs, numbers and tensors, and keep the number's dtype out") {
    gg::Graph graph;
    const auto x = floats(graph, {2, 3}, "x");
    for (const Output& y : {0.5f * x, x * 0.5, x + 1, 1 - x, x / 2.0, 2 / x, -x, x - x}) {
      CHECK(y.dtype() == gg::float32);
      CHECK(y.shape() == Shape{2, 3});
    }
    const auto y = x + Tensor{1.f, 2.f, 3.f};
    CHECK(y.shape() == Shape{2, 3});
    CHECK(y.node().input(1).node().op().name == "constant");
    const auto i = gg::placeholder(graph, gg::int32, {3});
    CHECK((2 * i).dtype() == gg::int32);
    CHECK((i - 2.0).dtype() == gg::int32);
    CHECK((1 - i).node().input(0).node().op().name == "constant");
  }

  TEST_CASE("an operator's node knows the line it was written on") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    const auto y = 2.f * x + 1.f;
    const unsigned line = __LINE__ - 1;
    CHECK(y.node().where().line == line);
    CHECK(y.node().input(0).node().where().line == line);
    CHECK(y.node().input(1).node().where().line == line);
    CHECK(std::string(y.node().where().file).find("test_graph.cpp") != std::string::npos);
  }

  TEST_CASE("unknown dimensions are inferred through") {
    gg::Graph graph;
    const auto x = floats(graph, {gg::any, 3}, "x");
    const auto row = floats(graph, {3}, "row");
    const auto other = floats(graph, {gg::any, 3}, "other");
    const auto four = floats(graph, {4, 3}, "four");
    CHECK((x + row).shape() == Shape{gg::any, 3});
    CHECK((x + other).shape() == Shape{gg::any, 3});
    CHECK((x + four).shape() == Shape{4, 3});
    CHECK(gg::exp(x).shape() == Shape{gg::any, 3});
    CHECK(gg::matmul(x, floats(graph, {3, 5})).shape() == Shape{gg::any, 5});
    CHECK(gg::sum(x, 0).shape() == Shape{3});
    CHECK(gg::flatten(floats(graph, {gg::any, 4, 5})).shape() == Shape{gg::any, 20});
    CHECK(gg::shape_of(x).shape() == Shape{2});
    CHECK(gg::reshape(x, {-1, 3, 1}).shape() == Shape{gg::any, 3, 1});
  }

  TEST_CASE("known vectors are followed through shape arithmetic") {
    gg::Graph graph;
    const auto x = floats(graph, {gg::any, 3}, "x");
    const auto known = gg::known_vector(gg::shape_of(x));
    REQUIRE(known.has_value());
    CHECK(*known == Shape{gg::any, 3});
    CHECK_FALSE(gg::known_vector(gg::placeholder(graph, gg::int64, {2})).has_value());
    CHECK_FALSE(gg::known_vector(x).has_value());
  }

  TEST_CASE("variables remember where their value comes from") {
    gg::Graph graph;
    const auto initial = gg::constant(graph, Tensor{1.f, 2.f});
    const auto v = gg::variable(initial, "v");
    CHECK(graph.initial_value(v.node()) == initial);
    CHECK_FALSE(graph.initial_value(gg::variable(graph, gg::float32, {2}).node()));
    CHECK(gg::assign(v, initial).node().phase() == gg::Phase::update);
    CHECK(v.node().phase() == gg::Phase::forward);
  }

  TEST_CASE("copies of nodes know their origin") {
    gg::Graph user, session;
    const auto device = gg::device_scope(user, "cuda:0");
    const auto x = floats(user, {gg::any}, "x");
    const auto y = gg::exp(x);
    const auto fed = floats(session, {7}, "x");
    gg::Node& copy = session.add_copy(y.node(), {fed});
    CHECK(copy.origin() == &y.node());
    CHECK(copy.name() == "exp");
    CHECK(copy.device() == "cuda:0");
    CHECK(copy.where().line == y.node().where().line);
    CHECK(copy.shape() == Shape{7});
    gg::Graph third;
    CHECK(third.add_copy(copy, {floats(third, {7})}).origin() == &y.node());
    CHECK(session.find("exp") == nullptr);
  }

  TEST_CASE("the empty graph is in order") {
    gg::Graph graph;
    CHECK_NOTHROW(gg::verify(graph));
    CHECK(graph.num_nodes() == 0);
  }

  TEST_CASE("a chain of 100,000 nodes is quick") {
    gg::Graph graph;
    auto x = floats(graph, {2}, "x");
    for (int i = 0; i < 100000; ++i) x = gg::neg(x);
    CHECK(graph.num_nodes() == 100001);
    CHECK(x.name() == "neg_99999");
    CHECK_NOTHROW(gg::verify(graph));
  }
}

TEST_SUITE("verify") {
  TEST_CASE("finds an input of another shape than inference used") {
    gg::Graph graph;
    const auto two = floats(graph, {2}, "two"), three = floats(graph, {3}, "three");
    const auto y = gg::exp(two);
    graph.set_input(y.node(), 0, three);
    CHECK_THROWS_WITH_AS(gg::verify(graph),
                         doctest::Contains("[exp] 'exp': verify: output 0 is float32[2], "
                                           "inference gives float32[3]"),
                         gg::BuildError);
  }

  TEST_CASE("finds inputs that no longer fit together") {
    gg::Graph graph;
    const auto a = floats(graph, {2}, "a"), b = floats(graph, {2}, "b");
    const auto sum = a + b;
    graph.set_input(sum.node(), 1, floats(graph, {5}, "wrong"));
    CHECK_THROWS_WITH_AS(gg::verify(graph), doctest::Contains("shapes do not broadcast"),
                         gg::BuildError);
  }

  TEST_CASE("finds a cycle") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    const auto a = gg::exp(x), b = gg::neg(a), c = gg::log(b);
    graph.set_input(a.node(), 0, c);
    CHECK_THROWS_WITH_AS(gg::verify(graph), doctest::Contains("is part of a cycle"),
                         gg::BuildError);
  }

  TEST_CASE("finds a cycle through order alone") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    const auto a = gg::exp(x), b = gg::neg(x);
    b.node().add_control_input(a.node());
    graph.set_input(a.node(), 0, b);
    CHECK_THROWS_WITH_AS(gg::verify(graph), doctest::Contains("is part of a cycle"),
                         gg::BuildError);
  }

  TEST_CASE("accepts readers that were made before what they read") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    const auto y = gg::exp(x);
    graph.set_input(y.node(), 0, gg::neg(x));
    CHECK_NOTHROW(gg::verify(graph));
  }
}

TEST_SUITE("bad input") {
  TEST_CASE("graph: shapes that do not broadcast, in a scope") {
    gg::Graph graph;
    const auto a = floats(graph, {2, 3}, "a"), b = floats(graph, {4}, "b");
    const auto scope = gg::scope(graph, "fc1");
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::add(a, b); };
    check_refused(
        graph,
        "[add] 'fc1/add': shapes do not broadcast: float32[2,3] x float32[4]" + at_line(line),
        build);
  }
  TEST_CASE("graph: an operator's operands of different shapes") {
    gg::Graph graph;
    const auto a = floats(graph, {2}, "a"), b = floats(graph, {3}, "b");
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { return a * b; };
    check_refused(graph,
                  "[mul] 'mul': shapes do not broadcast: float32[2] x float32[3]" + at_line(line),
                  build);
  }

  TEST_CASE("graph: different dtypes") {
    gg::Graph graph;
    const auto a = floats(graph, {2}, "a"), b = gg::placeholder(graph, gg::float64, {2}, "b");
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::sub(a, b); };
    check_refused(graph,
                  "[sub] 'sub': dtypes differ: float32 and float64: float32[2] x float64[2]" +
                      at_line(line),
                  build);
  }

  TEST_CASE("graph: a dtype that the op does not take") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::int32, {2}, "x");
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::exp(x); };
    check_refused(
        graph,
        "[exp] 'exp': input 0 must be of a floating dtype, not int32: int32[2]" + at_line(line),
        build);
  }

  TEST_CASE("graph: a fraction beside integers") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::int32, {2}, "x");
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { return 0.5f * x; };
    check_refused(
        graph, "[mul] 'mul': 0.5 is no int32, the dtype of 'x' int32[2]" + at_line(line), build);
  }

  TEST_CASE("graph: a number beyond an integer's range") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::uint8, {2}, "x");
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { return x + 300; };
    check_refused(
        graph, "[add] 'add': 300 is no uint8, the dtype of 'x' uint8[2]" + at_line(line), build);
  }

  TEST_CASE("graph: no operand that says which graph") {
    gg::Graph graph;
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::add(1.f, 2.f); };
    check_refused(graph,
                  "[add] 'add': one operand must be an Output that is not empty" + at_line(line),
                  build);
  }

  TEST_CASE("graph: an empty Output as input") {
    gg::Graph graph;
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::exp(Output()); };
    check_refused(graph, "[exp] 'exp': input 0 is empty" + at_line(line), build);
  }

  TEST_CASE("graph: an empty Output among others") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::matmul(x, Output()); };
    check_refused(graph,
                  "[matmul] 'matmul': input 1 is empty: float32[2] x (empty)" + at_line(line),
                  build);
  }

  TEST_CASE("graph: an input of another graph") {
    gg::Graph graph, other;
    const auto a = floats(graph, {2}, "a"), b = floats(other, {2}, "b");
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::add(a, b); };
    check_refused(
        graph,
        "[add] 'add': input 'b' is of another graph: float32[2] x float32[2]" + at_line(line),
        build);
  }

  TEST_CASE("graph: the value of an op that has none") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    const unsigned line = __LINE__ + 1;
    const auto all = gg::group(graph, {x}, "all");
    check_refused(graph, "[group] 'all': has no value" + at_line(line), [&] { gg::exp(all); });
    check_refused(graph, "[group] 'all': has no value" + at_line(line),
                  [&] { static_cast<void>(all.shape()); });
    check_refused(graph, "[group] 'all': has no value" + at_line(line), [&] { return x + all; });
  }

  TEST_CASE("graph: asking an empty Output") {
    gg::Graph graph;
    const std::string message =
        "an Output is empty: only what an op gave has a dtype and a shape";
    check_refused(graph, message, [] { static_cast<void>(Output().dtype()); });
    check_refused(graph, message, [] { static_cast<void>(Output().shape()); });
  }

  TEST_CASE("graph: naming an empty Output") {
    gg::Graph graph;
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::named(Output(), "loss"); };
    check_refused(graph, "an empty Output cannot be named 'loss'" + at_line(line), build);
  }

  TEST_CASE("graph: scopes without a proper name") {
    gg::Graph graph;
    for (const std::string name : {"", "a/b", "a b", "größe", "a\n"}) {
      const unsigned line = __LINE__ + 1;
      const auto build = [&] { static_cast<void>(gg::scope(graph, name)); };
      check_refused(graph,
                    "'" + name + "' is no scope name: letters, digits, '_', '-', '.'" +
                        (name == "a/b" ? "; gg::scope opens one inside another" : "") +
                        at_line(line),
                    build);
    }
  }

  TEST_CASE("graph: a control input that was made later, or elsewhere") {
    gg::Graph graph, other;
    const unsigned line = __LINE__ + 1;
    const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    const auto y = gg::exp(x), z = floats(other, {2}, "z");
    check_refused(graph, "[placeholder] 'x': control input 'exp' was made later" + at_line(line),
                  [&] { x.node().add_control_input(y.node()); });
    check_refused(graph,
                  "[placeholder] 'x': control input 'z' is of another graph" + at_line(line),
                  [&] { x.node().add_control_input(z.node()); });
  }

  TEST_CASE("graph: a variable of unknown shape") {
    gg::Graph graph;
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::variable(graph, gg::float32, {gg::any, 2}, "v"); };
    check_refused(
        graph,
        "[variable] 'v': a variable's shape must be fully known, not [?,2]" + at_line(line),
        build);
  }

  TEST_CASE("graph: a variable that starts from an empty Output") {
    gg::Graph graph;
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::variable(Output(), "v"); };
    check_refused(graph, "[variable] 'variable': input 0 is empty" + at_line(line), build);
  }

  TEST_CASE("graph: assigning to what is no variable") {
    gg::Graph graph;
    const auto x = floats(graph, {2}, "x");
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::assign(x, x); };
    check_refused(
        graph,
        "[assign] 'assign': input 0 must be a variable, but 'x' is a placeholder: float32[2] x "
        "float32[2]" +
            at_line(line),
        build);
    const unsigned empty_line = __LINE__ + 1;
    const auto empty = [&] { gg::assign_add(Output(), x); };
    check_refused(graph, "[assign_add] 'assign_add': input 0 is empty" + at_line(empty_line),
                  empty);
  }

  TEST_CASE("graph: assigning another shape or dtype") {
    gg::Graph graph;
    const auto v = gg::variable(graph, gg::float32, {2}, "v");
    const auto wide = floats(graph, {3}, "wide"),
               precise = gg::placeholder(graph, gg::float64, {2}, "precise");
    const unsigned shape_line = __LINE__ + 1;
    const auto shape = [&] { gg::assign_sub(v, wide); };
    check_refused(graph,
                  "[assign_sub] 'assign_sub': the value's shape is not the variable's: "
                  "float32[2] x float32[3]" +
                      at_line(shape_line),
                  shape);
    const unsigned dtype_line = __LINE__ + 1;
    const auto dtype = [&] { gg::assign(v, precise); };
    check_refused(
        graph,
        "[assign] 'assign': dtypes differ: float32 and float64: float32[2] x float64[2]" +
            at_line(dtype_line),
        dtype);
  }

  TEST_CASE("graph: a constant without a value") {
    gg::Graph graph;
    const unsigned line = __LINE__ + 1;
    const auto build = [&] { gg::constant(graph, Tensor(), "c"); };
    check_refused(graph, "[constant] 'c': the value is an empty tensor" + at_line(line), build);
  }

  TEST_CASE("graph: dimensions below -1, and too many") {
    gg::Graph graph;
    CHECK_THROWS_AS(floats(graph, {2, -2}), gg::BuildError);
    CHECK_THROWS_AS(floats(graph, {1, 1, 1, 1, 1, 1, 1, 1, 1}), gg::BuildError);
    CHECK(graph.num_nodes() == 0);
  }

  TEST_CASE("graph: attributes that are missing or of another type") {
    gg::Graph graph;
    const gg::Attributes attributes{{"axis", std::int64_t{2}}};
    check_refused(graph, "attribute 'axis' is missing or of another type",
                  [&] { attributes.get<bool>("axis"); });
    check_refused(graph, "attribute 'rate' is missing or of another type",
                  [&] { attributes.get<double>("rate"); });
  }

  TEST_CASE("graph: ops that nobody registered, or somebody did before") {
    gg::Graph graph;
    auto& registry = gg::op_registry();
    check_refused(graph, "there is no op 'nonsense'", [&] { registry.at("nonsense"); });
    gg::OpDef again = registry.at("add"), shapeless;
    shapeless.name = "shapeless";
    check_refused(graph, "op 'add' is registered already", [&] { registry.add(again); });
    check_refused(graph, "op 'shapeless' has no shape inference",
                  [&] { registry.add(shapeless); });
  }

  TEST_CASE("graph: replacing an input by another dtype or graph") {
    gg::Graph graph, other;
    const auto x = floats(graph, {2}, "x");
    const unsigned line = __LINE__ + 1;
    const auto y = gg::exp(x);
    const auto i = gg::placeholder(graph, gg::int32, {2}, "i"), z = floats(other, {2}, "z");
    check_refused(graph, "[exp] 'exp': input 0 cannot become 'i', int32 [2]" + at_line(line),
                  [&] { graph.set_input(y.node(), 0, i); });
    check_refused(graph, "[exp] 'exp': input 0 cannot become 'z', float32 [2]" + at_line(line),
                  [&] { graph.set_input(y.node(), 0, z); });
  }
}
