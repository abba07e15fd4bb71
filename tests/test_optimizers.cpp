#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "tests_folder.h"

using namespace gradgraph;
using nlohmann::json;
using tests::contains;
using tests::message_of;

namespace {

const json& golden() {
  static const json file =
      json::parse(std::ifstream(GRADGRAPH_TESTS_FOLDER "/golden/optimizer_trajectories.json"));
  return file;
}

Tensor matrix(const json& rows) {
  std::vector<double> values;
  for (const json& row : rows)
    for (const json& value : row) values.push_back(value);
  return Tensor::from(values, {static_cast<std::int64_t>(rows.size()),
                               static_cast<std::int64_t>(rows[0].size())});
}
Tensor vector(const json& row) {
  return Tensor::from(row.get<std::vector<double>>(), {static_cast<std::int64_t>(row.size())});
}

/// The network of tests/golden/make_optimizer_trajectories.py.
struct Network {
  Network() {
    const json& initial = golden()["initial"];
    const auto add = [&](const char* name, const Tensor& value) {
      variables.emplace_back(name, variable(graph, value, name));
      return variables.back().second;
    };
    const Output kernel1 = add("kernel1", matrix(initial["kernel1"]));
    const Output bias1 = add("bias1", vector(initial["bias1"]));
    const Output kernel2 = add("kernel2", matrix(initial["kernel2"]));
    const Output bias2 = add("bias2", vector(initial["bias2"]));
    const Output inputs = constant(graph, matrix(golden()["inputs"]));
    const Output hidden = tanh(matmul(inputs, kernel1) + bias1);
    loss = mean(square(matmul(hidden, kernel2) + bias2 - matrix(golden()["targets"])));
  }
  Graph graph;
  std::vector<std::pair<std::string, Output>> variables;
  Output loss;
};

Schedule schedule_of(const json& spec) {
  const std::string kind = spec["kind"];
  const double rate = spec["rate"];
  if (kind == "step") return step_schedule(rate, spec["every"], spec["factor"]);
  if (kind == "exponential") return exponential_schedule(rate, spec["every"], spec["factor"]);
  if (kind == "cosine") return cosine_schedule(rate, spec["steps"], spec["final_rate"]);
  REQUIRE(kind == "warm_up");
  return warm_up(spec["steps"], rate, cosine_schedule(rate, spec["after"]));
}

template <class T>
T common(const json& spec) {
  T optimizer;
  if (spec["schedule"].is_null())
    optimizer.learning_rate = spec["settings"]["learning_rate"].get<double>();
  else
    optimizer.learning_rate = schedule_of(spec["schedule"]);
  optimizer.weight_decay = spec["settings"].value("weight_decay", optimizer.weight_decay);
  optimizer.clip = {.by_value = spec["clip"].value("by_value", 0.0),
                    .by_norm = spec["clip"].value("by_norm", 0.0),
                    .by_global_norm = spec["clip"].value("by_global_norm", 0.0)};
  for (const json& group : spec["settings"].value("groups", json::array())) {
    ParameterGroup& added = optimizer.groups.emplace_back();
    added.pattern = group["pattern"];
    if (group.contains("learning_rate"))
      added.learning_rate = group["learning_rate"].get<double>();
    if (group.contains("weight_decay")) added.weight_decay = group["weight_decay"].get<double>();
  }
  return optimizer;
}

template <class T>
T adam(const json& spec) {
  T optimizer = common<T>(spec);
  const json& settings = spec["settings"];
  optimizer.beta1 = settings.value("beta1", optimizer.beta1);
  optimizer.beta2 = settings.value("beta2", optimizer.beta2);
  optimizer.epsilon = settings.value("epsilon", optimizer.epsilon);
  return optimizer;
}

Optimizer optimizer_of(const json& spec) {
  const std::string kind = spec["optimizer"];
  const json& settings = spec["settings"];
  if (kind == "GradientDescent") {
    auto optimizer = common<GradientDescent>(spec);
    optimizer.momentum = settings.value("momentum", 0.0);
    optimizer.dampening = settings.value("dampening", 0.0);
    optimizer.nesterov = settings.value("nesterov", false);
    return optimizer;
  }
  if (kind == "RmsProp") {
    auto optimizer = common<RmsProp>(spec);
    optimizer.alpha = settings.value("alpha", optimizer.alpha);
    optimizer.epsilon = settings.value("epsilon", optimizer.epsilon);
    optimizer.momentum = settings.value("momentum", 0.0);
    optimizer.centered = settings.value("centered", false);
    return optimizer;
  }
  if (kind == "Adagrad") {
    auto optimizer = common<Adagrad>(spec);
    optimizer.learning_rate_decay = settings.value("learning_rate_decay", 0.0);
    optimizer.initial_accumulator = settings.value("initial_accumulator", 0.0);
    optimizer.epsilon = settings.value("epsilon", optimizer.epsilon);
    return optimizer;
  }
  if (kind == "Adam") return adam<Adam>(spec);
  if (kind == "Lamb") return adam<Lamb>(spec);
  if (kind == "Nadam") {
    auto optimizer = adam<Nadam>(spec);
    optimizer.momentum_decay = settings.value("momentum_decay", optimizer.momentum_decay);
    return optimizer;
  }
  if (kind == "Lion") {
    auto optimizer = common<Lion>(spec);
    optimizer.beta1 = settings.value("beta1", optimizer.beta1);
    optimizer.beta2 = settings.value("beta2", optimizer.beta2);
    return optimizer;
  }
  REQUIRE(kind == "AdamW");
  return adam<AdamW>(spec);
}

void check_parameters(Session& session, const Network& network, const json& expected) {
  for (const auto& entry : network.variables) {
    const std::string& name = entry.first;
    CAPTURE(name);
    const Tensor value = session.value(entry.second);
    const auto wanted = expected[name].get<std::vector<double>>();
    REQUIRE(value.num_elements() == static_cast<std::int64_t>(wanted.size()));
    for (std::size_t i = 0; i < wanted.size(); ++i)
      CHECK(std::fabs(value.data<double>()[i] - wanted[i]) <= 1e-12);
  }
}

}  // namespace

TEST_CASE("optimizers: 100 steps as PyTorch's, to 1e-12") {
  for (const json& spec : golden()["cases"]) {
    const std::string name = spec["name"];
    SUBCASE(name.c_str()) {
      Network network;
      const Output train = optimizer_of(spec).minimize(network.loss);
      verify(network.graph);
      Session session(network.graph);
      Callable step = session.prepare({}, {train});
      int done = 0;
      for (const int until : {1, 2, 10, 100}) {
        CAPTURE(until);
        for (; done < until; ++done) step();
        check_parameters(session, network, spec["parameters"][std::to_string(until)]);
      }
    }
  }
}

TEST_CASE("optimizers: a resumed run goes on as if nothing had happened") {
  for (const json& spec : golden()["cases"]) {
    const std::string name = spec["name"];
    if (name != "adam_all" && name != "sgd_dampening" && name != "schedule_warm_up") continue;
    SUBCASE(name.c_str()) {
      Network network;
      const Output train = optimizer_of(spec).minimize(network.loss);
      Session first(network.graph), second(network.graph);
      for (int i = 0; i < 40; ++i) first.run(train);
      for (Node& node : network.graph.nodes())
        if (node.op().name == "variable")
          second.set_value(node.output(), first.value(node.output()));
      for (int i = 0; i < 60; ++i) second.run(train);
      check_parameters(second, network, spec["parameters"]["100"]);
    }
  }
}

TEST_CASE("optimizers: state is made of named variables, updates of update nodes") {
  Network network;
  const int first = network.graph.num_nodes();
  const Output train = Adam{}.minimize(network.loss);
  CHECK(train.node().name() == "train/update");
  CHECK(train.node().num_outputs() == 0);
  CHECK(network.graph.find("kernel1/adam/first_moment") != nullptr);
  CHECK(network.graph.find("bias2/adam/second_moment") != nullptr);
  REQUIRE(network.graph.find("train/step") != nullptr);
  CHECK(network.graph.find("train/step")->dtype() == int64);
  for (int id = first; id < network.graph.num_nodes(); ++id) {
    const Node& node = network.graph.nodes()[static_cast<std::size_t>(id)];
    CHECK_MESSAGE((node.phase() == Phase::update || node.phase() == Phase::gradient),
                  node.name());
    if (node.phase() == Phase::update)
      CHECK_MESSAGE(std::string(node.where().file).ends_with("test_optimizers.cpp"), node.name());
  }
  // A second train op counts its own steps and keeps its own state.
  Adam{}.minimize(network.loss);
  CHECK(network.graph.find("train_1/step") != nullptr);
  CHECK(network.graph.find("kernel1/adam/first_moment_1") != nullptr);
}

TEST_CASE("optimizers: the learning rate may be fed") {
  Graph graph;
  const Output x = variable(graph, Tensor(1.0), "x");
  const Output rate = placeholder(graph, float32, {}, "rate");
  const Output train = GradientDescent{.learning_rate = rate}.minimize(3.0 * x);
  Session session(graph);
  session.run({{rate, Tensor(0.5f)}}, train);
  CHECK(session.value(x).item<double>() == -0.5);
  session.run({{rate, Tensor(1.0f)}}, train);
  CHECK(session.value(x).item<double>() == -3.5);
}

TEST_CASE("optimizers: float32 variables stay float32, and dtypes may mix") {
  Graph graph;
  const Output x = variable(graph, Tensor(1.0f), "x");
  const Output y = variable(graph, Tensor(1.0), "y");
  const Output loss = cast(square(x), float64) + square(y);
  const Output train = AdamW{.learning_rate = 0.1, .clip = {.by_global_norm = 1}}.minimize(loss);
  Session session(graph);
  for (int i = 0; i < 300; ++i) session.run(train);
  CHECK(std::fabs(session.value(x).item<float>()) < 1e-3f);
  CHECK(std::fabs(session.value(y).item<double>()) < 1e-3);
}

TEST_CASE("optimizers: only the variables asked for move; unconnected ones are left out") {
  Graph graph;
  const Output x = variable(graph, Tensor(1.0), "x"), y = variable(graph, Tensor(1.0), "y");
  const Output held = variable(graph, Tensor(1.0), "held");
  const Output loss = square(x) + square(y) + stop_gradient(held);
  Session session(graph);
  session.run(GradientDescent{.learning_rate = 0.25}.minimize(loss, {x}));
  CHECK(session.value(x).item<double>() == 0.5);
  CHECK(session.value(y).item<double>() == 1);
  session.run(GradientDescent{.learning_rate = 0.25}.minimize(loss));
  CHECK(session.value(y).item<double>() == 0.5);
  CHECK(session.value(held).item<double>() == 1);
  CHECK(graph.find("held/gradient_descent/momentum") == nullptr);
}

TEST_CASE("optimizers: apply takes gradients from anywhere, and control inputs order it") {
  Graph graph;
  const Output x = variable(graph, Tensor{1.0, 2.0}, "x"), y = variable(graph, Tensor(1.0), "y");
  const Output count = variable(graph, Tensor(std::int64_t{0}), "count");
  Output train;
  {
    const auto after = control_dependencies(graph, {assign_add(count, 1)});
    train = GradientDescent{.learning_rate = 1}.apply(
        {{x, constant(graph, Tensor{0.5, 0.25})}, {y, Output()}});
  }
  Session session(graph);
  session.run(train);
  CHECK(session.value(x).at<double>({0}) == 0.5);
  CHECK(session.value(x).at<double>({1}) == 1.75);
  CHECK(session.value(y).item<double>() == 1);
  CHECK(session.value(count).item<std::int64_t>() == 1);
}

TEST_CASE("schedules: values") {
  Graph graph;
  const Output step = placeholder(graph, int64, {}, "step");
  Session session(graph);
  const auto at = [&](const Schedule& schedule, std::int64_t number) {
    return session.run({{step, Tensor(number)}}, schedule(step)).item<double>();
  };
  CHECK(at(constant_schedule(0.5), 7) == 0.5);
  CHECK(at(step_schedule(1, 10, 0.5), 0) == 1);
  CHECK(at(step_schedule(1, 10, 0.5), 9) == 1);
  CHECK(at(step_schedule(1, 10, 0.5), 10) == 0.5);
  CHECK(at(step_schedule(1, 10, 0.5), 39) == 0.125);
  CHECK(at(exponential_schedule(1, 10, 0.25), 5) == doctest::Approx(0.5));
  CHECK(at(cosine_schedule(2, 10), 0) == 2);
  CHECK(at(cosine_schedule(2, 10), 5) == doctest::Approx(1));
  CHECK(at(cosine_schedule(2, 10, 0.5), 10) == doctest::Approx(0.5));
  CHECK(at(cosine_schedule(2, 10, 0.5), 1000) == doctest::Approx(0.5));
  const Schedule rising = warm_up(4, 2, step_schedule(2, 3, 0.5));
  CHECK(at(rising, 0) == 0.5);  // no batch is lost to a rate of 0
  CHECK(at(rising, 2) == 1.5);
  CHECK(at(rising, 3) == 2);
  CHECK(at(rising, 4) == 2);
  CHECK(at(rising, 6) == 2);
  CHECK(at(rising, 7) == 1);
  // Of any number of steps the last one has the rate itself.
  for (const std::int64_t steps : {1, 3, 7, 49, 1000})
    CHECK(at(warm_up(steps, 0.1, constant_schedule(0)), steps - 1) == 0.1);
}

TEST_CASE("optimizers: wrong settings and arguments name what is wrong and the line") {
  Graph graph;
  const Output x = variable(graph, Tensor{1.0, 2.0}, "x");
  const Output input = placeholder(graph, float64, {2}, "input");
  const Output loss = sum(square(x) * input);
  const auto fails = [](const std::function<void()>& action, const std::string& part) {
    const std::string message = message_of(action);
    CHECK_MESSAGE(contains(message, part), message);
    CHECK_MESSAGE(contains(message, "test_optimizers.cpp:"), message);
  };
  fails([&] { Adam{}.minimize(Output()); }, "adam: the loss is empty");
  fails([&] { Adam{}.minimize(square(x)); }, "not a floating scalar");
  fails([&] { Adam{}.minimize(sum(cast(x, int64))); }, "not a floating scalar");
  fails([&] { Adam{}.minimize(sum(input)); }, "depends on no variable");
  fails([&] { Adam{}.minimize(loss, {input}); }, "'input' is a placeholder, no variable");
  fails([&] { Adam{}.minimize(loss, {Output()}); }, "a variable is empty");
  fails([&] { Adam{}.minimize(loss, {x, x}); }, "'x' is given twice");
  fails([&] { Adam{}.minimize(sum(stop_gradient(x))); },
        "no gradient reaches any variable ('x'): 'stop_gradient' (stop_gradient) in");
  fails([&] { Adam{}.minimize(sum(cast(greater(exp(x), 1.0), float64))); },
        "('x'): 'greater' (greater) in");
  fails([&] { Adam{}.minimize(sum(input), {x}); }, "does not depend on it");
  fails([&] { Adam{}.apply({}); }, "no variable to update");
  fails([&] { Adam{}.apply({{x, sum(x)}}); }, "'x' is float64[2], its gradient float64[]");
  fails([&] { Adam{}.apply({{x, cast(x, float32)}}); }, "its gradient float32[2]");
  fails([&] { Adam{.beta1 = 1}.minimize(loss); }, "beta1 must be in [0, 1)");
  fails([&] { AdamW{.beta2 = -0.1}.minimize(loss); }, "beta2 must be in [0, 1)");
  fails([&] { Adam{.epsilon = -1}.minimize(loss); }, "epsilon must not be negative");
  fails([&] { AdamW{.weight_decay = -1}.minimize(loss); }, "weight_decay must not be negative");
  fails([&] { RmsProp{.alpha = 1.5}.minimize(loss); }, "alpha must be in [0, 1)");
  fails([&] { Adagrad{.initial_accumulator = -1}.minimize(loss); }, "initial_accumulator");
  fails([&] { GradientDescent{.momentum = -1}.minimize(loss); }, "momentum must not be negative");
  fails([&] { GradientDescent{.nesterov = true}.minimize(loss); }, "nesterov needs momentum");
  fails([&] { Adam{.clip = {.by_norm = -1}}.minimize(loss); }, "negative limit");
  fails([&] { Adam{.learning_rate = -1}.minimize(loss); }, "a learning rate cannot be -1");
  fails([&] { Adam{.learning_rate = input}.minimize(loss); }, "'input' is float64[2]");
  fails([&] { Adam{.learning_rate = Output()}.minimize(loss); }, "empty Output");
  CHECK_THROWS_AS(step_schedule(1, 0, 0.5), BuildError);
  CHECK_THROWS_AS(cosine_schedule(std::nan(""), 10), BuildError);
  CHECK_THROWS_AS(warm_up(10, 1, {}), BuildError);
  // Nothing is left behind in the graph's context.
  CHECK(graph.context().scope.empty());
  CHECK(neg(x).node().phase() == Phase::forward);
}

TEST_CASE("optimizers: groups that cannot be are refused, and leave the graph as it was") {
  Network network;
  const int nodes = network.graph.num_nodes();
  CHECK(contains(message_of([&] { Adam{.groups = {{"layer*"}}}.minimize(network.loss); }),
                 "adam: the group 'layer*' fits none of the variables ('kernel1', ...)"));
  CHECK(contains(message_of([&] {
                   Lion{.groups = {{.pattern = "*", .weight_decay = -1.0}}}.minimize(
                       network.loss);
                 }),
                 "lion: weight_decay must not be negative, but is -1"));
  CHECK(network.graph.num_nodes() == nodes);
}

TEST_CASE("optimizers: two on disjoint variables keep their own steps and state") {
  // As one optimiser on both: what one moves, the other's gradients see a step later.
  Network one, two;
  const Output all = Adam{.learning_rate = 0.02}.minimize(one.loss);
  const auto part = [&](const char* pattern) {
    return Adam{.learning_rate = 0.02}.minimize(two.loss,
                                                trainable_variables(two.graph, pattern));
  };
  const Output both = group(two.graph, {part("kernel*"), part("bias*")});
  Session first(one.graph), second(two.graph);
  for (int i = 0; i < 5; ++i) {
    first.run(all);
    second.run(both);
  }
  for (std::size_t i = 0; i < one.variables.size(); ++i) {
    const Tensor a = first.value(one.variables[i].second);
    const Tensor b = second.value(two.variables[i].second);
    CHECK(std::ranges::equal(a.span<double>(), b.span<double>()));
  }
}

TEST_CASE("optimizers: variables by pattern") {
  Network network;
  CHECK(variables(network.graph).size() == 4);
  CHECK(variables(network.graph, "bias?").size() == 2);
  CHECK(variables(network.graph, "*2").front().name() == "kernel2");
  Adam{}.minimize(network.loss);
  CHECK(variables(network.graph, "kernel1/*").size() == 2);
  CHECK(trainable_variables(network.graph, "kernel1*").size() == 1);
  CHECK(contains(message_of([&] { trainable_variables(network.graph, "kernel1/*"); }),
                 "'kernel1/*' fits none of the variables ('kernel1', ...)"));
  Graph empty;
  CHECK(contains(message_of([&] { variables(empty, "x"); }),
                 "'x' fits no variable: there are none"));
}

TEST_CASE("optimizers: averages of 16 bits lose no small moves, and two swaps change nothing") {
  for (const DType dtype : {bfloat16, float16}) {
    CAPTURE(dtype);
    Graph graph;
    const Output target = placeholder(graph, dtype, {}, "target");
    const Output w = variable(graph, Tensor::full(dtype, {}, 0), "w");
    const Output train = GradientDescent{.learning_rate = 1}.minimize(square(w - target) / 2);
    const MovingAverages averages = moving_averages(train, 0.999);
    const Output average = averages.averages[0].second;
    Session session(graph);
    Callable step = session.prepare({target}, {averages.train});
    for (int i = 0; i < 10000; ++i) step({Tensor::full(dtype, {}, 0)});
    for (int i = 0; i < 1000; ++i) step({Tensor::full(dtype, {}, 1)});
    const Tensor kept = session.value(average);
    CHECK(kept.cast(float64).item<double>() ==
          doctest::Approx(1 - std::pow(0.999, 1000)).epsilon(1e-4));
    session.run(averages.swap);
    CHECK(session.value(w).cast(float32).item<float>() ==
          kept.cast(dtype).cast(float32).item<float>());
    CHECK(session.value(average).cast(float64).item<double>() == 1);
    session.run(averages.swap);
    CHECK(session.value(w).cast(float64).item<double>() == 1);
    CHECK(session.value(average).item<float>() == kept.item<float>());
  }
}

TEST_CASE("optimizers: one that runs after another goes on from what that leaves") {
  for (const bool of_given_gradients : {false, true}) {
    Graph graph;
    const Output w = variable(graph, Tensor(1.0), "w"), v = variable(graph, Tensor(3.0), "v");
    const Output first = GradientDescent{.learning_rate = 0.1}.minimize(square(w));
    const Output loss = square(w - 2) + square(v);
    const ContextGuard after = control_dependencies(graph, {first});
    const AdamW second{.learning_rate = 0.1, .weight_decay = 0.5};
    const Output both =
        of_given_gradients ? second.apply(compute_gradients(loss)) : second.minimize(loss);
    verify(graph);
    Session session(graph);
    session.run(both);
    // Both gradients are those of w = 1; the second step and its decay are of w = 0.8.
    CHECK(session.value(w).item<double>() == doctest::Approx(0.8 - 0.1 * 0.5 * 0.8 + 0.1));
    CHECK(session.value(v).item<double>() == doctest::Approx(3 - 0.1 * 0.5 * 3 - 0.1));
  }
}

TEST_CASE("optimizers: gradients are added up under control inputs too") {
  Graph graph;
  const Output w = variable(graph, Tensor(1.0), "w"),
               count = variable(graph, Tensor(0.0), "count");
  const Output counted = assign_add(count, 1.0), loss = square(w) / 2;
  const ContextGuard after = control_dependencies(graph, {counted});
  const auto ops = accumulate_gradients(GradientDescent{.learning_rate = 0.5}, loss);
  Session session(graph);
  session.run(ops.accumulate);
  session.run(ops.train);
  CHECK(session.value(w).item<double>() == 0.5);
  CHECK(session.value(count).item<double>() == 2);
}

TEST_CASE("optimizers: a schedule may be a lambda, and what is not there is told") {
  Graph graph;
  const Output w = variable(graph, Tensor(1.0), "w");
  const Output train = GradientDescent{.learning_rate = [](Output step) {
                         return 1.0 / (cast(step, float64) + 2);
                       }}.minimize(square(w) / 2);
  Session session(graph);
  session.run(train);
  session.run(train);
  CHECK(session.value(w).item<double>() == doctest::Approx(1.0 / 2 * 2 / 3));
  const std::string message = message_of([&] {
    GradientDescent{.learning_rate = warm_up(10, 0.1, [](Output) { return Output(); })}.minimize(
        square(w));
  });
  CHECK(contains(message, "warm_up: the schedule after it gives an empty Output"));
  CHECK(contains(message, "test_optimizers.cpp:"));
}

TEST_CASE("optimizers: averages follow the variables, and change places with them") {
  for (const double decay : {0.6, 0.0}) {
    CAPTURE(decay);
    Graph graph;
    const Output x = variable(graph, Tensor(4.0), "x");
    const MovingAverages averages =
        moving_averages(GradientDescent{.learning_rate = 0.5}.minimize(square(x) / 2), decay);
    verify(graph);
    REQUIRE(averages.averages.size() == 1);
    const Output average = averages.averages[0].second;
    CHECK(average.name() == "x/average");
    Session session(graph);
    CHECK(session.value(average).item<double>() == 4);
    double expected = 4, now = 4;
    for (int step = 0; step < 12; ++step) {
      session.run(averages.train);
      now /= 2;
      const double kept = std::min(decay, (1.0 + step) / (10 + step));
      expected += (1 - kept) * (now - expected);
      CHECK(session.value(x).item<double>() == now);
      CHECK(session.value(average).item<double>() == doctest::Approx(expected).epsilon(1e-12));
    }
    session.run(averages.swap);
    CHECK(session.value(x).item<double>() == doctest::Approx(expected).epsilon(1e-12));
    CHECK(session.value(average).item<double>() == now);
    session.run(averages.swap);
    CHECK(session.value(x).item<double>() == now);
  }
  Graph graph;
  const Output x = variable(graph, Tensor(1.0), "x");
  const Output train = GradientDescent{}.minimize(square(x));
  const int nodes = graph.num_nodes();
  CHECK(
      contains(message_of([&] { moving_averages(train, 1); }), "decay must be in [0, 1), not 1"));
  CHECK(contains(message_of([&] { moving_averages(x); }),
                 "'x' is no train op: it updates no variable"));
  CHECK(contains(message_of([&] { moving_averages(train, 0.9, {x + 1.0}); }),
                 "is no floating variable of the graph"));
  CHECK(graph.num_nodes() == nodes + 2);  // the constant 1 and the sum
}
