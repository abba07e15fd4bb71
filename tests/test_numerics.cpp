#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "op_rows.h"
#include "simulated_device.h"
#include "small_models.h"

/// SessionOptions::check_numerics: the first NaN or infinity is found where it is made.
namespace gradgraph::tests {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// What makes something that is not finite, of x, float32[2,3], which is fed.
struct Planted {
  std::string name;
  /// The fetches, and the line of the node to blame.
  struct Built {
    std::vector<Output> fetches;
    int line;
  };
  std::function<Built(const Output& x)> build;
  /// The message without its step and line.
  const char* says;
  Precision precision = Precision::fp32;
};

const Tensor kFed{{-4.f, 0.f, 1.f}, {2.f, 100.f, 300.f}};

Planted::Built logarithm(const Output& x) {
  const auto scoped = scope(x.graph(), "loss");
  const Output y = log(x + 0.5f);
  return {{mean(y)}, __LINE__ - 1};
}

Planted::Built quotient(const Output& x) {
  const Output zero = x - x, y = named(zero / zero, "ratio");
  return {{sum(y)}, __LINE__ - 1};
}

Planted::Built root(const Output& x) {
  const Output y = sqrt(x);
  return {{relu(y)}, __LINE__ - 1};
}

Planted::Built reciprocal(const Output& x) {
  const Output y = 1.f / x;
  return {{exp(-abs(y))}, __LINE__ - 1};  // which is finite again
}

Planted::Built masked_row(const Output& x) {
  const Output visible = constant(x.graph(), Tensor{{true, false, true}, {false, false, false}});
  const Output scores = where(visible, x, -kInfinity);
  const Output y = softmax(scores);
  return {{sum(y)}, __LINE__ - 1};
}

Planted::Built infinite_difference(const Output& x) {
  const Output y = where(greater(x, 1.f), kInfinity, x);
  const Output z = y - transpose(transpose(y));
  return {{sum(z)}, __LINE__ - 1};
}

Planted::Built power(const Output& x) {
  const Output y = gradgraph::pow(x, 0.5f);
  return {{y}, __LINE__ - 1};
}

Planted::Built gradient_of_norm(const Output& x) {
  const Output w = variable(x.graph(), Tensor::zeros(float32, {3}), "w");
  const Output length = sqrt(sum(square(w)));
  const int line = __LINE__ - 1;
  return {{GradientDescent{.learning_rate = 0.1}.minimize(length + sum(w * x))}, line};
}

Planted::Built infinite_rate(const Output& x) {
  const Output w = variable(x.graph(), Tensor{1.f, 2.f, 3.f}, "w");
  const Output rate = variable(x.graph(), Tensor(kInfinity), "rate");
  const Output train = GradientDescent{.learning_rate = rate}.minimize(sum(w * abs(x) + w));
  return {{train}, __LINE__ - 1};
}

Planted::Built small_range(const Output& x) {
  const Output y = cast(x, float16) * Tensor(1000.f).cast(float16);
  return {{cast(y, float32)}, __LINE__ - 1};
}

Planted::Built small_product(const Output& x) {
  const Output y = matmul(x, transpose(x));
  return {{sum(y)}, __LINE__ - 1};
}

Planted::Built in_branch(const Output& x) {
  int line = 0;
  const Output y = cond(
      greater(max(x), 1.f),
      [&] {
        const Output inner = log(x * 2.f);
        line = __LINE__ - 1;
        return exp(inner);
      },
      [&] { return x; });
  return {{sum(y)}, line};
}

Planted::Built in_fused(const Output& x) {
  const Output inner = exp(x);
  const int line = __LINE__ - 1;
  return {{1.f / (1.f + inner)}, line};
}

Planted::Built of_constants(const Output& x) {
  const Output y = log(constant(x.graph(), Tensor{-1.f, 1.f}));
  return {{sum(y) + sum(x)}, __LINE__ - 1};
}

Planted::Built wide(const Output& x) {
  const Output y = log(cast(x, float64));
  return {{y}, __LINE__ - 1};
}

const Planted kPlanted[] = {
    {"log of a negative", logarithm,
     "[log] 'loss/log': made 1 NaN in float32[2,3], the first at [0,0], of 'loss/add' "
     "float32[2,3] from -3.5 to 300.5"},
    {"zero by zero", quotient,
     "[div] 'ratio': made 6 NaN in float32[2,3], the first at [0,0], of 'sub' float32[2,3] of "
     "0;"},
    {"square root of a negative", root,
     "[sqrt] 'sqrt': made 1 NaN in float32[2,3], the first at [0,0], of 'x' float32[2,3] from -4 "
     "to 300"},
    {"division by zero", reciprocal,
     "[div] 'div': made 1 infinity in float32[2,3], the first at [0,1], of 'constant' float32[] "
     "of 1, 'x' float32[2,3] from -4 to 300"},
    {"a masked row", masked_row,
     "[softmax] 'softmax': made 3 NaN in float32[2,3], the first at [1,0], of 'where' "
     "float32[2,3] from -4 to 1 with 4 infinities"},
    {"infinity less infinity", infinite_difference,
     "[sub] 'sub': made 3 NaN in float32[2,3], the first at [1,0], of 'where' float32[2,3] from "
     "-4 to 1 with 3 infinities, 'transpose_1' float32[2,3] from -4 to 1 with 3 infinities"},
    {"power of a negative", power,
     "[pow] 'pow': made 1 NaN in float32[2,3], the first at [0,0], of 'x' float32[2,3] from -4 "
     "to "
     "300, 'constant' float32[] of 0.5"},
    {"gradient of a norm at 0", gradient_of_norm,
     "[div] 'gradients/sqrt_2': made 1 infinity in float32[], of 'gradients/sqrt_1' float32[] of "
     "0.5, 'sqrt' float32[] of 0;"},
    {"an infinite rate", infinite_rate,
     "[assign] 'train/w/assign': made 3 infinities in float32[3]"},
    {"overflow in float16", small_range,
     "[mul] 'mul': made 2 infinities in float16[2,3], the first at [1,1], of 'cast' float16[2,3] "
     "from -4 to 300, 'constant' float16[] of 1000"},
    {"a product that fp16 does not hold", small_product,
     "[matmul] 'matmul': made 1 infinity in float16[2,2], the first at [1,1]", Precision::fp16},
    {"in a branch", in_branch,
     "[log] 'cond/then/log': made 1 NaN and 1 infinity in float32[2,3], the first at [0,0], of "
     "'cond/then/mul' float32[2,3] from -8 to 600"},
    {"inside of what is fused, with a finite result", in_fused,
     "[exp] 'exp': made 2 infinities in float32[2,3], the first at [1,1], of 'x' float32[2,3] "
     "from "
     "-4 to 300"},
    {"of constants", of_constants,
     "[log] 'log': made 1 NaN in float32[2], the first at [0], of 'constant' float32[2] from -1 "
     "to "
     "1"},
    {"in float64", wide,
     "[log] 'log': made 1 NaN and 1 infinity in float64[2,3], the first at [0,0], of 'cast' "
     "float64[2,3] from -4 to 300"},
};

Output input(Graph& graph) { return placeholder(graph, float32, {any, 3}, "x"); }

}  // namespace

TEST_CASE("numerics: what is planted is named at its node and line, on every device") {
  add_simulated_devices("simulated", 2);
  for (const Planted& planted : kPlanted)
    for (const std::string device : {"cpu", "simulated:0"})
      for (const int threads : {1, 2}) {
        CAPTURE(planted.name);
        CAPTURE(device);
        Graph graph;
        const Output x = input(graph);
        const auto built = planted.build(x);
        Session session(graph, {.device = device,
                                .threads = threads,
                                .precision = planted.precision,
                                .check_numerics = true});
        session.set_step(41);
        for (int repetition = 0; repetition < 2; ++repetition) {
          const std::string message = message_of<NumericsError>([&] {
            session.run({{x, kFed}}, built.fetches);
          });
          CHECK_MESSAGE(message.starts_with(planted.says), message);
          CHECK_MESSAGE(contains(message, "; in step 41"), message);
          CHECK_MESSAGE(
              message.ends_with("(test_numerics.cpp:" + std::to_string(built.line) + ")"),
              message);
        }
        CHECK(session.step() == 41);
      }
}

TEST_CASE("numerics: variables are as they were, whatever has been updated by then") {
  add_simulated_devices("simulated", 2);
  for (const char* device : {"cpu", "simulated:0"}) {
    Graph graph;
    const Output x = placeholder(graph, float32, {2}, "x");
    const Output count = variable(graph, Tensor(0.f), "count");
    const Output weights = variable(graph, Tensor{1.f, 2.f}, "weights");
    const Output counted = assign_add(count, 1.f);
    std::vector<Output> before = {counted};
    const auto ordered = control_dependencies(graph, before);
    const Output divided = assign(weights, weights / x);  // itself makes the infinity
    Session session(graph, {.device = device, .check_numerics = true});
    session.run({{x, Tensor{2.f, 2.f}}}, {divided});
    CHECK(session.value(count).item<float>() == 1);
    CHECK_THROWS_AS(session.run({{x, Tensor{2.f, 0.f}}}, {divided}), NumericsError);
    CHECK(session.value(count).item<float>() == 1);
    CHECK(session.value(weights).span<float>()[0] == 0.5f);
    CHECK(session.value(weights).span<float>()[1] == 1.f);
    CHECK(session.step() == 1);
    session.run({{x, Tensor{2.f, 2.f}}}, {divided});
    CHECK(session.value(weights).span<float>()[1] == 0.5f);
  }
}

TEST_CASE("numerics: an update that ruins its variable is taken back too") {
  Graph graph;
  const Output x = placeholder(graph, float32, {}, "x");
  const Output total = variable(graph, Tensor(3e38f), "total");
  const Output added = assign_add(total, x);
  Session session(graph, {.check_numerics = true});
  CHECK(contains(message_of<NumericsError>([&] {
                   session.run({{x, Tensor(3e38f)}}, {added});
                 }),
                 "[assign_add] 'assign_add': made 1 infinity in float32[], of 'total' float32[] "
                 "of 3e+38, 'x' float32[] of 3e+38; in step 0"));
  CHECK(session.value(total).item<float>() == 3e38f);
}

TEST_CASE("numerics: what is fed must be finite, and variables no NaN") {
  add_simulated_devices("simulated", 2);
  for (const char* device : {"cpu", "simulated:0"}) {
    Graph graph;
    const Output x = placeholder(graph, float32, {2, 2}, "pixels");
    const int line = __LINE__ - 1;
    const Output w = variable(graph, Tensor{1.f, 2.f}, "w");
    const Output y = sum(x * w);
    Session session(graph, {.device = device, .check_numerics = true});
    const std::string message = message_of<NumericsError>([&] {
      session.run({{x, Tensor{{0.f, 1.f}, {kNaN, kInfinity}}}}, {y});
    });
    CHECK(message ==
          "[placeholder] 'pixels': the fed value itself is not finite: 1 NaN and 1 "
          "infinity in float32[2,2], the first at [1,0]; in step 0  (test_numerics.cpp:" +
              std::to_string(line) + ")");
    session.set_value(w, Tensor{kInfinity, 1.f});
    CHECK(std::isinf(session.run({{x, Tensor{{1.f, 1.f}, {1.f, 1.f}}}}, y).item<float>()));
    session.set_value(w, Tensor{1.f, kNaN});
    CHECK(contains(
        message_of<NumericsError>([&] {
          session.run({{x, Tensor{{1.f, 1.f}, {1.f, 1.f}}}}, {y});
        }),
        "[variable] 'w': when the run began it held 1 NaN in float32[2], the first at [1]; "
        "in step 1"));
  }
}

TEST_CASE("numerics: NaN may be fed to who asks for it, as a missing value") {
  add_simulated_devices("simulated", 2);
  for (const std::string device : {"cpu", "simulated:0"}) {
    Graph graph;
    const Output x = placeholder(graph, float32, {3}, "x");
    const Output filled = where(is_nan(x), 1.f, x), careless = x + 1.f;
    Session session(graph, {.device = device, .check_numerics = true});
    const Tensor missing{2.f, kNaN, 4.f};
    CHECK(session.run({{x, missing}}, sum(filled)).item<float>() == 7);
    CHECK_THROWS_AS(session.run({{x, missing}}, careless), NumericsError);
    CHECK_THROWS_AS(session.run({{x, Tensor{2.f, kInfinity, 4.f}}}, filled), NumericsError);
  }
}

TEST_CASE("numerics: infinities that were asked for go where they may") {
  Graph graph;
  const Output x = input(graph);
  const Output hidden = constant(graph, Tensor{false, true, false});
  const Output scores = where(hidden, -kInfinity, x);
  const Output padded = pad(x, {0, 1}, {0, 1}, -kInfinity);
  const Output best = variable(graph, Tensor(kInfinity), "best");
  const Output better = assign(best, minimum(best, sum(x)));
  const Output chosen = where(hidden, kNaN, x);
  Session session(graph, {.check_numerics = true});
  const std::vector<Tensor> results =
      session.run({{x, kFed}}, {softmax(scores), max(padded), better, chosen});
  CHECK(results[0].span<float>()[1] == 0);
  CHECK(session.value(best).item<float>() == 399);
}

TEST_CASE("numerics: optimisers do without infinities where gradients are 0") {
  const Clipping clip = {.by_norm = 1, .by_global_norm = 1};
  const Optimizer optimizers[] = {GradientDescent{.momentum = 0.9, .clip = clip},
                                  Adam{.clip = clip},
                                  AdamW{.clip = clip},
                                  Nadam{.clip = clip},
                                  Lamb{.clip = clip},
                                  Lion{.clip = clip},
                                  RmsProp{.clip = clip},
                                  Adagrad{.clip = clip}};
  for (const Optimizer& optimizer : optimizers) {
    Graph graph;
    const Output w = variable(graph, Tensor{0.f, 1.f}, "w"),
                 zeros = variable(graph, Tensor{0.f, 0.f}, "zeros");
    const Output train = optimizer.minimize(sum((w + zeros) * 0.f));
    Session session(graph, {.check_numerics = true});
    for (int step = 0; step < 3; ++step) CHECK_NOTHROW(session.run({}, {train}));
  }
}

TEST_CASE("numerics: masked attention trains") {
  Graph graph;
  const Output x = placeholder(graph, float32, {any, 4, 8}, "x");
  const Output y = nn::MultiHeadAttention({.heads = 2, .causal = true})(x);
  const Output train = Adam{}.minimize(mean(square(y)));
  Session session(graph, {.seed = 1, .check_numerics = true});
  for (int step = 0; step < 3; ++step)
    CHECK_NOTHROW(session.run({{x, Tensor::full(float32, {2, 4, 8}, 0.5)}}, {train}));
}

TEST_CASE("numerics: initial values are looked at, and the variable stays without one") {
  Graph graph;
  const Output start = variable(log(constant(graph, Tensor(-1.f))), "start");
  Session session(graph, {.check_numerics = true});
  for (int repetition = 0; repetition < 2; ++repetition) {
    CHECK(contains(message_of<NumericsError>([&] { session.run({}, {start + 1.f}); }),
                   "[log] 'log': made 1 NaN in float32[], of 'constant' float32[] of -1; while "
                   "initial values were computed"));
    CHECK(!session.is_initialized(start));
  }
  // One that nobody has given a value is none to be looked at.
  const Output empty = variable(graph, float32, {1000}, "empty");
  session.run({}, {assign(empty, fill({1000}, constant(graph, Tensor(1.f))))});
  CHECK(session.value(empty).span<float>()[999] == 1);
}

TEST_CASE("numerics: the error knows what was run") {
  Graph graph;
  const Output x = input(graph), factor = placeholder(graph, int64, {}, "factor");
  const Output y = log(x) * cast(factor, float32);
  Session session(graph, {.check_numerics = true});
  Callable call = session.prepare({x, factor}, {y, x});
  Tensor values = kFed.clone();
  const Tensor two(std::int64_t{2});
  try {
    call(values, two);
    FAIL("nothing was found");
  } catch (const NumericsError& error) {
    REQUIRE(error.run);
    values.data<float>()[0] = 0;  // the copy is the error's own
    CHECK(error.run->step == 0);
    REQUIRE(error.run->feeds.size() == 2);
    CHECK(error.run->feeds[0].first == "x");
    CHECK(error.run->feeds[0].second.span<float>()[0] == -4);
    CHECK(error.run->feeds[1].second.item<std::int64_t>() == 2);
    CHECK(error.run->fetches == std::vector<std::string>{"mul", "x"});
  }
}

TEST_CASE("numerics: several steps stop at the one that is to blame") {
  Graph graph;
  const Output x = placeholder(graph, float32, {}, "x");
  const Output total = variable(graph, Tensor(0.f), "total");
  const Output added = assign_add(total, sqrt(x));
  Session session(graph, {.check_numerics = true});
  Callable call = session.prepare({x}, {added});
  CHECK(contains(message_of<NumericsError>([&] {
                   call.run_steps(4, {Tensor{4.f, 9.f, -1.f, 16.f}});
                 }),
                 "[sqrt] 'sqrt': made 1 NaN in float32[], of 'x' float32[] of -1; in step 2"));
  CHECK(session.step() == 2);
  CHECK(session.value(total).item<float>() == 5);
}

TEST_CASE("numerics: it goes with no option that looks at other runs") {
  Graph graph;
  CHECK(contains(message_of<RunError>(
                     [&] { Session(graph, {.check_passes = true, .check_numerics = true}); }),
                 "check_passes"));
  CHECK(contains(
      message_of<RunError>([&] { Session(graph, {.check_numerics = true, .node_times = true}); }),
      "node_times"));
}

TEST_CASE("numerics: models whose numbers are finite train as they do unchecked") {
  for (const std::string name : {"softmax", "mlp", "cnn"}) {
    CAPTURE(name);
    SmallModel model(name);
    Session checked(model.graph, {.seed = 3, .check_numerics = true});
    Session plain(
        model.graph,
        {.seed = 3,
         .disabled_passes = {"simplify", "eliminate_moves", "fold_constants", "eliminate_common",
                             "assign_layout", "lower_precision", "fuse_pooling",
                             "fuse_cross_entropy", "lower_bias_add", "fuse_elementwise",
                             "merge_elementwise", "fuse_epilogue", "fuse_reductions"}});
    check_close(model.train(checked), model.train(plain), 0);
  }
}

TEST_CASE("numerics: what is finite in the table of ops is nobody's fault") {
  for (const OpRow& row : op_rows()) {
    CAPTURE(row.name);
    const auto is_finite = [](const Tensor& value) {
      if (!is_floating(value.dtype())) return true;
      const Tensor wide = value.cast(float64);
      for (const double x : wide.span<double>())
        if (!std::isfinite(x)) return false;
      return true;
    };
    bool all_finite = true;
    for (const Tensor& value : row.inputs) all_finite = all_finite && is_finite(value);
    if (!all_finite) continue;
    std::vector<Tensor> values;
    try {
      values = row_values(row, float32, {});
    } catch (const Error&) {
      continue;  // a row of what is refused
    }
    for (const Tensor& value : values) all_finite = all_finite && is_finite(value);
    if (!all_finite) continue;
    CHECK(message_of([&] { row_values(row, float32, {.check_numerics = true}); }) ==
          "(no error)");
  }
}

}  // namespace gradgraph::tests
