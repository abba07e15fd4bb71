#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "pass_drawing.h"
#include "simulated_device.h"

/// Ops that refuse values which only a run knows. A run throws for such a value wherever the
/// user's graph needs the op's, whatever becomes of the op, and leaves every variable as it was.
using namespace gradgraph;
using tests::contains;
using tests::message_of;

namespace {

using Ints = std::vector<std::int64_t>;

/// An op that refuses some values of `index`, an operand of two elements.
struct Refusing {
  std::string name;
  /// Floating values made of x, float32[2,3], and the index.
  std::function<Output(Output x, Output index)> build;
  DType dtype;
  Ints good, bad;
  const char* says;
  /// What messages name, whatever computes it: no op of a gradient or of a pass.
  const char* op;
};

/// x, each row by a number.
Output scaled(Output x, Output numbers) { return x * expand_dims(cast(numbers, x.dtype()), -1); }
Output scatter(Output x, Output i) { return scatter_add({2, 3}, i, x); }
Output hot(Output x, Output i) { return x * one_hot(check_indices(i, 3), 3); }
Output quotient(Output x, Output i) {
  return scaled(x, constant(x.graph(), Tensor{12, 7}.cast(i.dtype())) / i);
}
Output power(Output x, Output i) {
  return scaled(x, gradgraph::pow(constant(x.graph(), Tensor{2, 3}.cast(i.dtype())), i));
}
Output rows(Output x, Output i) { return gather(x, i); }
Output columns(Output x, Output i) { return gather(x, i, 1); }
Output rows_by_rows(Output x, Output i) {
  return gather(x, gather(constant(x.graph(), Tensor{1, 0}), i));
}
/// x by a function of the diagonal matrix of the numbers.
Output diagonal(Output x, Output i) {
  return where(constant(x.graph(), Tensor{{true, false}, {false, true}}),
               expand_dims(cast(i, x.dtype()), -1), 0);
}
Output inverses(Output x, Output i) { return matmul(inverse(diagonal(x, i)), x); }
Output solutions(Output x, Output i) { return solve(diagonal(x, i), x); }
Output roots(Output x, Output i) { return matmul(cholesky(diagonal(x, i)), x); }
Output picks(Output x, Output i) { return x + take_along_axis(x, expand_dims(i, -1), 1); }
Output puts(Output x, Output i) {
  return add_along_axis({2, 3}, broadcast_to(expand_dims(i, -1), {2, 3}), x, 1);
}
Output losses(Output x, Output i) { return sparse_softmax_cross_entropy(x, i); }
Output losses_but_ignored(Output x, Output i) {
  return sparse_softmax_cross_entropy(x, i, SparseLossOptions{.ignored_label = -1});
}

const std::vector<Refusing>& refusing_ops() {
  static const std::vector<Refusing> ops = {
      {"gather rows",
       rows,
       int64,
       {1, 0},
       {1, 2},
       "index 2 (number 1) is outside [0,2)",
       "gather"},
      {"gather columns",
       columns,
       int32,
       {2, 0},
       {-1, 0},
       "index -1 (number 0) is outside [0,3)",
       "gather"},
      {"gather by gather", rows_by_rows, int64, {1, 0}, {2, 0}, "index 2 (number 0)", "gather"},
      {"scatter_add",
       scatter,
       int32,
       {1, 0},
       {0, 2},
       "index 2 (number 1) is outside [0,2)",
       "scatter_add"},
      {"check_indices",
       hot,
       int64,
       {1, 2},
       {1, 3},
       "index 3 (number 1) is outside [0,3)",
       "check_indices"},
      {"check_indices of bytes",
       hot,
       uint8,
       {1, 2},
       {255, 3},
       "index 255 (number 0)",
       "check_indices"},
      {"take_along_axis",
       picks,
       int64,
       {2, 0},
       {1, 3},
       "index 3 (number 1) is outside [0,3)",
       "take_along_axis"},
      {"add_along_axis",
       puts,
       int32,
       {2, 0},
       {-1, 0},
       "index -1 (number 0) is outside [0,3)",
       "add_along_axis"},
      {"inverse", inverses, int64, {2, 4}, {2, 0}, "matrix 0 of 1 is singular", "inverse"},
      {"solve", solutions, int64, {2, 4}, {2, 0}, "matrix 0 of 1 is singular", "solve"},
      {"cholesky",
       roots,
       int64,
       {4, 9},
       {4, -1},
       "matrix 0 of 1 is not positive definite",
       "cholesky"},
      {"cross entropy",
       losses,
       int64,
       {2, 0},
       {2, 7},
       "index 7 (number 1) is outside [0,3)",
       "sparse_softmax_cross_entropy"},
      {"cross entropy, int32",
       losses,
       int32,
       {2, 0},
       {-1, 1},
       "index -1 (number 0) is outside [0,3)",
       "sparse_softmax_cross_entropy"},
      {"cross entropy, where -1 is ignored",
       losses_but_ignored,
       int64,
       {2, -1},
       {-1, -4},
       "index -4 (number 1) is outside [0,3)",
       "sparse_softmax_cross_entropy"},
      {"int64 division", quotient, int64, {3, 4}, {3, 0}, "division by zero", "div"},
      {"int32 division", quotient, int32, {-3, 1}, {0, 1}, "division by zero", "div"},
      {"uint8 division", quotient, uint8, {3, 1}, {1, 0}, "division by zero", "div"},
      {"int64 power", power, int64, {1, 2}, {1, -1}, "an integer to a negative power", "pow"},
      {"int32 power", power, int32, {0, 2}, {-2, 1}, "an integer to a negative power", "pow"},
  };
  return ops;
}

/// A graph that needs the op's value, in one way or another.
struct Use {
  Graph graph;
  Output w = variable(graph, Tensor{{0.5f, -1.f, 2.f}, {1.5f, 0.25f, -0.75f}}, "w");
  Output total = variable(graph, Tensor(3.f), "total");
  Output index;
  std::vector<Output> fetches;

  Tensor fed(const Ints& values) const { return Tensor::from(values, {2}).cast(index.dtype()); }
};

using Fetch = std::function<std::vector<Output>(Use& use, const Refusing& op)>;

Output value(Use& use, const Refusing& op) { return op.build(use.w, use.index); }
Output gradient(Output y, Output x) { return gradients({y}, {x})[0]; }
Output truth(Use& use, bool value) { return constant(use.graph, Tensor(value)); }
Output whole(Use& use, const Refusing& op) { return cast(value(use, op), int32); }

/// In a branch that runs.
Output in_a_branch(Use& use, const Refusing& op) {
  return cond(
      less(use.total, 100), [&] { return sum(value(use, op)); }, [&] { return sum(use.w); });
}

/// One of whose inputs only the gradient could need.
Output with_unused_input(Use& use, const Refusing& op) {
  return custom_gradient(
      {value(use, op), use.w},
      [](const auto& inputs) { return std::vector<Output>{sum(inputs[1])}; },
      [](const auto& inputs, const auto&, const auto&) {
        return std::vector<Output>{zeros_like(inputs[0]), inputs[1]};
      })[0];
}

const std::vector<std::pair<std::string, Fetch>>& uses() {
  using Out = std::vector<Output>;
  static const std::vector<std::pair<std::string, Fetch>> all = {
      {"alone", [](Use& u, auto& op) { return Out{value(u, op)}; }},
      {"in a fused node",
       [](Use& u, auto& op) { return Out{gradgraph::tanh(value(u, op) * 2 + 1)}; }},
      {"in a reduction", [](Use& u, auto& op) { return Out{mean(square(value(u, op)))}; }},
      {"gradient alone", [](Use& u, auto& op) { return Out{gradient(sum(value(u, op)), u.w)}; }},
      {"gradient and value",
       [](Use& u, auto& op) {
         const Output y = value(u, op);
         return Out{y, gradient(mean(y), u.w)};
       }},
      {"second order",
       [](Use& u, auto& op) {
         const Output y = value(u, op);
         return Out{gradient(sum(square(gradient(sum(y * y * y), u.w))), u.w)};
       }},
      {"recomputed",
       [](Use& u, auto& op) {
         Output y;
         {
           const auto again = recompute(u.graph, "again");
           y = gradgraph::tanh(value(u, op)) * 2;
         }
         return Out{gradient(sum(square(y)), u.w)};
       }},
      {"train op alone",
       [](Use& u, auto& op) { return Out{Adam{}.minimize(sum(value(u, op)), {u.w})}; }},
      {"train op of another optimiser alone",
       [](Use& u, auto& op) {
         return Out{
             GradientDescent{.learning_rate = 0.1}.minimize(mean(square(value(u, op))), {u.w})};
       }},
      {"in an update",
       [](Use& u, auto& op) { return Out{assign_add(u.total, sum(value(u, op)))}; }},
      {"awaited", [](Use& u, auto& op) { return Out{group(u.graph, {value(u, op)})}; }},
      {"awaited by an update",
       [](Use& u, auto& op) {
         const auto after = control_dependencies(u.graph, {value(u, op)});
         return Out{assign_add(u.total, 1)};
       }},
      {"after an update",
       [](Use& u, auto& op) {
         const Output update = assign_add(u.total, 1), other = assign(u.w, u.w * 0.5f);
         const auto after = control_dependencies(u.graph, {update, other});
         return Out{value(u, op)};
       }},
      {"after some updates, before others",
       [](Use& u, auto& op) {
         const Output update = assign_add(u.total, 1);
         const auto after = control_dependencies(u.graph, {update});
         return Out{assign(u.w, identity(u.w) * sum(value(u, op)))};
       }},
      {"where it is not chosen",
       [](Use& u, auto& op) { return Out{where(truth(u, true), sum(u.w), sum(value(u, op)))}; }},
      {"where it is not chosen either",
       [](Use& u, auto& op) { return Out{where(truth(u, false), sum(value(u, op)), sum(u.w))}; }},
      {"where nothing is chosen",
       [](Use& u, auto& op) { return Out{where(less(sum(value(u, op)), 0), u.w, u.w)}; }},
      {"times zero", [](Use& u, auto& op) { return Out{whole(u, op) * 0}; }},
      {"minus itself",
       [](Use& u, auto& op) {
         const Output y = whole(u, op);
         return Out{y - y + 1};
       }},
      {"and false",
       [](Use& u, auto& op) { return Out{logical_and(less(value(u, op), 0), truth(u, false))}; }},
      {"or true",
       [](Use& u, auto& op) { return Out{logical_or(truth(u, true), less(value(u, op), 0))}; }},
      {"in a branch", [](Use& u, auto& op) { return Out{in_a_branch(u, op)}; }},
      {"gradient of a branch alone",
       [](Use& u, auto& op) { return Out{gradient(in_a_branch(u, op), u.w)}; }},
      {"beside a custom gradient",
       [](Use& u, auto& op) { return Out{with_unused_input(u, op)}; }},
  };
  return all;
}

void build(Use& use, const Refusing& op, const Fetch& fetch) {
  use.index = placeholder(use.graph, op.dtype, {2}, "index");
  use.fetches = fetch(use, op);
}

std::string bytes_of(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.raw()), tensor.bytes()};
}

std::string values_of(Use& use, Session& session) {
  std::string bytes;
  for (Node& node : use.graph.nodes())
    if (node.op().name == "variable") bytes += bytes_of(session.value(node.output()));
  return bytes;
}

/// A bad value throws, and a session that met one is as it was.
void check_refused(Use& use, const Refusing& op, const SessionOptions& options) {
  Session session(use.graph, options);
  Session other(use.graph, options);
  const Feeds good = {{use.index, use.fed(op.good)}}, bad = {{use.index, use.fed(op.bad)}};
  for (int step = 0; step < 2; ++step) {
    session.run(good, use.fetches);
    other.run(good, use.fetches);
    const std::string message = message_of<RunError>([&] { session.run(bad, use.fetches); });
    CHECK_MESSAGE(contains(message, op.says), message);
    CHECK_MESSAGE(contains(message, "test_failing.cpp:"), message);
    CHECK_MESSAGE(message.starts_with(std::string("[") + op.op + "] '"), message);
    // Behind it the shapes of this run.
    CHECK_MESSAGE(message.find("[2", message.find(op.says)) != std::string::npos, message);
    CHECK(session.step() == step + 1);
    const bool same_values = values_of(use, session) == values_of(use, other);
    CHECK(same_values);
  }
}

/// All passes, none, each left out, and each alone; the last with references and more threads.
std::vector<SessionOptions> all_options() {
  const std::vector<std::string> all = tests::all_passes_but({});
  std::vector<SessionOptions> options = {
      {.threads = 1}, {.threads = 3}, {.threads = 2, .reference_kernels = true}};
  options.push_back({.threads = 1, .disabled_passes = all});
  options.push_back({.threads = 2, .disabled_passes = all, .reference_kernels = true});
  for (const std::string& pass : all) {
    options.push_back({.threads = 1, .disabled_passes = {pass}});
    options.push_back({.threads = 1, .disabled_passes = tests::all_passes_but({pass})});
  }
  return options;
}

}  // namespace

TEST_SUITE("failing") {
  TEST_CASE("a label out of range stops the train op alone") {
    Graph graph;
    const Output x = placeholder(graph, float32, {any, 4}, "x");
    const Output labels = placeholder(graph, int64, {any}, "labels");
    const Output logits = nn::dense(x, {.units = 3}, "logits");
    const Output loss = mean(sparse_softmax_cross_entropy(logits, labels));
    const std::string line = "test_failing.cpp:" + std::to_string(__LINE__ - 1);
    const Output train = Adam{}.minimize(loss);
    Session session(graph);
    const Output kernel = graph.find("logits/kernel")->output();
    const Tensor images = Tensor::full(float32, {2, 4}, 0.5);
    const Tensor before = session.value(kernel);
    const std::string message = message_of<RunError>([&] {
      session.run({{x, images}, {labels, Tensor{std::int64_t{0}, std::int64_t{7}}}}, train);
    });
    for (const std::string& part : {std::string("index 7 (number 1) is outside [0,3)"), line})
      CHECK_MESSAGE(contains(message, part), message);
    CHECK(bytes_of(session.value(kernel)) == bytes_of(before));
    session.run({{x, images}, {labels, Tensor{std::int64_t{0}, std::int64_t{2}}}}, train);
    CHECK(bytes_of(session.value(kernel)) != bytes_of(before));
  }

  TEST_CASE("every op that may fail is tried") {
    std::set<std::string> tried;
    for (const Refusing& op : refusing_ops()) {
      Use use;
      build(use, op, uses().front().second);
      for (const Node& node : use.graph.nodes()) tried.insert(node.op().name);
    }
    for (const OpDef* op : op_registry().all())
      if (op->traits.may_fail && !op->traits.internal)
        CHECK_MESSAGE(tried.contains(op->name), op->name);
  }

  TEST_CASE("values are refused wherever they are needed, with every pass and without") {
    const std::vector<SessionOptions> options = all_options();
    for (const Refusing& op : refusing_ops())
      for (const auto& [where, fetch] : uses()) {
        const std::string& name = where;  // lambdas cannot capture bindings
        Use use;
        build(use, op, fetch);
        for (const SessionOptions& each : options) {
          INFO(op.name << ", " << name << ", options " << &each - options.data());
          check_refused(use, op, each);
        }
      }
  }

  TEST_CASE("values are refused by another device as well") {
    tests::add_simulated_devices("simulated_failing", 1);
    for (const Refusing& op : refusing_ops())
      for (const auto& [where, fetch] : uses())
        for (const bool all_there : {false, true}) {
          const std::string& name = where;  // lambdas cannot capture bindings
          INFO(op.name << ", " << name << (all_there ? "" : ", variables on the host"));
          Use use;
          if (!all_there) {
            use.w.node().set_device("cpu");
            use.total.node().set_device("cpu");
          }
          build(use, op, fetch);
          check_refused(use, op, {.device = "simulated_failing:0", .threads = 1});
        }
  }

  TEST_CASE("each of many values is seen, by every number of threads") {
    constexpr std::int64_t kCount = 150000;
    Graph graph;
    const Output x = placeholder(graph, float32, {kCount, 2}, "x");
    const Output i = placeholder(graph, int64, {kCount}, "i");
    const Output ones = constant(graph, Tensor::full(int64, {kCount}, 1));
    const std::vector<Output> results = {
        gather(x, i),
        scatter_add({2, 2}, i, x),
        check_indices(i, 2),
        sparse_softmax_cross_entropy(x, i),
        gradients({sum(sparse_softmax_cross_entropy(x, i))}, {x})[0],
        ones / (i - 3),
        gradgraph::pow(ones, 1 - i)};
    const Tensor table = Tensor::full(float32, {kCount, 2}, 0.5);
    for (const Output& result : results)
      for (const int threads : {1, 2, 7}) {
        CAPTURE(result.node().op().name);
        CAPTURE(threads);
        Session session(graph, {.threads = threads});
        Tensor indices = Tensor::full(int64, {kCount}, 1);
        session.run({{x, table}, {i, indices}}, result);
        // Too large for each of them, as x[3], or as a class, divisor or exponent.
        const bool is_table = result == results[0];
        indices.data<std::int64_t>()[kCount - 1] = is_table ? kCount : 3;
        CHECK_THROWS_AS(session.run({{x, table}, {i, indices}}, result), RunError);
      }
  }

  TEST_CASE("a constant that must be refused is an error of the run, where its value is needed") {
    Graph graph;
    const Output table = variable(graph, Tensor{1.f, 2.f}, "table");
    const Output bad = gather(constant(graph, Tensor{1.f, 2.f}), constant(graph, Tensor{2}));
    const std::string line = "test_failing.cpp:" + std::to_string(__LINE__ - 1);
    const Output zero = constant(graph, Tensor{7}) / constant(graph, Tensor{0});
    const Output hidden = where(constant(graph, Tensor(true)), sum(table), sum(bad));
    const Output shape = zeros_like(bad) + table;
    for (const auto& disabled : {std::vector<std::string>{}, tests::all_passes_but({})}) {
      Session session(graph, {.disabled_passes = disabled});
      for (const Output& needs : {bad, hidden, bad * table}) {
        const std::string message = message_of<RunError>([&] { session.run(needs); });
        for (const std::string& part : {std::string("[gather]"), std::string("index 2"), line})
          CHECK_MESSAGE(contains(message, part), message);
        CHECK(message_of<RunError>([&] { session.predict_memory({}, {needs}); }) == message);
      }
      CHECK(message_of<RunError>([&] { session.run(zero); }).find("[div]") != std::string::npos);
      // A size that cannot be computed is one as well.
      CHECK(message_of<RunError>([&] {
              session.run(fill(cast(zero, int64), sum(table)));
            }).find("[div]") != std::string::npos);
      CHECK(session.run(shape).at<float>({1}) == 2.f);  // reads its shape alone
    }
  }

  TEST_CASE("a variable that has no value is missed, whatever passes make of its reader") {
    Graph graph;
    const Output a = variable(graph, float32, {3}, "a");
    const Output b = variable(graph, Tensor{1.f, 2.f}, "b");
    const Output c = variable(b * 2.f, "c");
    const Output chosen = where(constant(graph, Tensor(true)), sum(b), sum(a));
    const Output other = where(constant(graph, Tensor(true)), sum(b), sum(c));
    const Output update = assign(b, b * 10.f);
    for (const auto& disabled : {std::vector<std::string>{}, tests::all_passes_but({})}) {
      Session session(graph, {.disabled_passes = disabled});
      CHECK(message_of<RunError>([&] { session.run(chosen); }).find("'a'") != std::string::npos);
      CHECK(session.run(zeros_like(a)).shape() == Shape{3});
      CHECK_FALSE(session.is_initialized(a));
      session.set_value(a, Tensor{0.f, 0.f, 0.f});
      CHECK(session.run(chosen).item<float>() == 3.f);
      // It gets its first value in the run that reads it, before the updates.
      session.run({}, {other, update});
      CHECK(session.value(c).at<float>({1}) == 4.f);
    }
  }

  TEST_CASE("an initial value that must be refused leaves the variable without one") {
    Graph graph;
    const Output i = variable(graph, Tensor{0, 2}, "i");
    const Output good = variable(graph, Tensor{1.f, 2.f}, "good");
    const Output w = variable(gather(good, i), "w");
    Session session(graph);
    const std::string message = message_of<RunError>([&] { session.initialize(); });
    CHECK_MESSAGE(message.find("index 2 (number 1) is outside [0,2)") != std::string::npos,
                  message);
    CHECK_FALSE(session.is_initialized(w));
    session.set_value(i, Tensor{0, 1});
    CHECK(session.value(w).at<float>({1}) == 2.f);
  }
}
