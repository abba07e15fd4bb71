#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "noise.h"

using namespace gradgraph;
using tests::contains;
using tests::message_of;

namespace {

std::vector<double> numbers(const Tensor& tensor) {
  const Tensor values = tensor.cast(float64);
  return {values.span<double>().begin(), values.span<double>().end()};
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}
double variance_of(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += std::pow(value - mean_of(values), 2);
  return total / static_cast<double>(values.size());
}

struct Fixture {
  Graph graph;
  Output images(Shape shape = {any, 28, 28, 1}) {
    return placeholder(graph, float32, shape, "images");
  }
  Output training() { return placeholder(graph, boolean, {}, "training"); }
  std::vector<double> draw(const nn::Initializer& initializer, const Shape& shape) {
    return numbers(Session(graph, {.seed = 3}).run(initializer(graph, shape, float64, {})));
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "nn: the perceptron has 669,706 parameters") {
  Output x = nn::flatten(images());
  x = nn::dense(x, {.units = 512, .activation = relu}, "fc1");
  x = nn::dense(x, {.units = 512, .activation = relu}, "fc2");
  x = nn::dropout(x, 0.2, training());
  const Output logits = nn::dense(x, {.units = 10}, "logits");
  CHECK(logits.shape() == Shape{any, 10});
  // Optimisers' state does not count.
  Adam{}.minimize(mean(square(logits)));
  const std::string table = summary(graph);
  CHECK(contains(table, "fc1 (dense)"));
  CHECK(contains(table, "flatten (flatten)"));
  CHECK(contains(table, "dropout (dropout)"));
  CHECK(contains(table, "401,920"));
  CHECK(contains(table, "[?,512]"));
  CHECK(contains(table, "Total parameters: 669,706\n"));
  CHECK(contains(table, "Trainable: 669,706\n"));
  CHECK(contains(table, "Not trainable: 0\n"));
}

TEST_CASE_FIXTURE(Fixture, "nn: the convolutional network has 428,330 parameters") {
  Output x = nn::conv2d(images(), {.filters = 24, .kernel = 5, .activation = relu}, "conv1");
  CHECK(x.shape() == Shape{any, 24, 24, 24});
  CHECK(x.node().name() == "conv1/relu");
  x = nn::max_pool2d(x, 2);
  x = nn::conv2d(x, {.filters = 48, .kernel = 5, .activation = relu}, "conv2");
  x = nn::max_pool2d(x, 2);
  CHECK(x.shape() == Shape{any, 4, 4, 48});
  CHECK(x.node().name() == "max_pool2d_1/max_pool2d");
  x = nn::dense(nn::flatten(x), {.units = 512, .activation = relu}, "dense1");
  nn::dense(x, {.units = 10}, "logits");
  CHECK(contains(summary(graph), "Total parameters: 428,330\n"));
  verify(graph);
}

TEST_CASE_FIXTURE(Fixture, "nn: dense multiplies, adds and activates under its scope") {
  const Output x = placeholder(graph, float64, {any, 2}, "x");
  const Output y = nn::dense(x,
                             {.units = 1,
                              .activation = relu,
                              .kernel_initializer = nn::constant(2),
                              .bias_initializer = nn::ones()},
                             "fc");
  REQUIRE(graph.find("fc/kernel") != nullptr);
  REQUIRE(graph.find("fc/bias") != nullptr);
  CHECK(graph.find("fc/kernel")->shape() == Shape{2, 1});
  CHECK(y.shape() == Shape{any, 1});
  const Tensor result = Session(graph).run({{x, Tensor{{1.0, 2.0}, {-3.0, 1.0}}}}, y);
  CHECK(numbers(result) == std::vector<double>{7, 0});

  const Output plain = nn::dense(x, {.units = 3, .use_bias = false}, "fc");
  CHECK(graph.find("fc_1/kernel") != nullptr);
  CHECK(graph.find("fc_1/bias") == nullptr);
  CHECK(plain.shape() == Shape{any, 3});
  // More axes are more batch.
  const Output deep = placeholder(graph, float64, {any, 4, 2}, "deep");
  CHECK(nn::dense(deep, {.units = 5}).shape() == Shape{any, 4, 5});
}

TEST_CASE_FIXTURE(Fixture, "nn: convolution and pooling in both layouts") {
  const Output x = images({any, 3, 8, 8});
  const Output y = nn::conv2d(x,
                              {.filters = 6,
                               .kernel = {3, 5},
                               .strides = 2,
                               .padding = Padding::same,
                               .groups = 3,
                               .layout = Layout::nchw},
                              "conv");
  CHECK(y.shape() == Shape{any, 6, 4, 4});
  CHECK(graph.find("conv/kernel")->shape() == Shape{3, 5, 1, 6});
  CHECK(graph.find("conv/bias")->shape() == Shape{6});
  CHECK(nn::avg_pool2d(images({any, 9, 9, 2}), 3).shape() == Shape{any, 3, 3, 2});
}

TEST_CASE_FIXTURE(Fixture, "nn: dropout only works while training") {
  const Output train = training();
  const Output y = nn::dropout(constant(graph, Tensor::full(float32, {10000}, 1)), 0.25, train);
  Session session(graph, {.seed = 1});
  CHECK(mean_of(numbers(session.run({{train, Tensor(false)}}, y))) == 1);
  const auto values = numbers(session.run({{train, Tensor(true)}}, y));
  CHECK(mean_of(values) == doctest::Approx(1).epsilon(0.03));
  for (const double value : values) {
    if (value == 0 || std::fabs(value - 4.0 / 3) < 1e-6) continue;
    FAIL_CHECK("neither dropped nor scaled: " << value);
    break;
  }
}

TEST_CASE("nn: causal attention of any number of steps is the one of as many") {
  const auto results = [](std::int64_t steps, bool is_known) {
    Graph graph;
    const Output x = placeholder(graph, float64, {any, is_known ? steps : any, 6}, "x");
    const Output y = nn::MultiHeadAttention({.heads = 2, .causal = true})(x);
    const Output train = GradientDescent{.learning_rate = 0.5}.minimize(mean(square(y - x)));
    Session session(graph, {.seed = 2});
    const Feeds feeds = {{x, tests::noise({2, steps, 6}, 3)}};
    session.run(feeds, train);
    return numbers(session.run(feeds, y));
  };
  for (const std::int64_t steps : {1, 2, 5}) {
    const auto known = results(steps, true), unknown = results(steps, false);
    REQUIRE(known.size() == unknown.size());
    for (std::size_t i = 0; i < known.size(); ++i)
      CHECK(unknown[i] == doctest::Approx(known[i]).epsilon(1e-12));
  }
  Graph graph;
  const Output x = placeholder(graph, float32, {any, any, 6}),
               few = slice(x, {0, 0, 0}, {-1, 2, -1});
  CHECK(contains(message_of([&] { nn::MultiHeadAttention({.causal = true})(x, {.keys = few}); }),
                 "causal attention needs as many keys as queries"));
}

TEST_CASE_FIXTURE(Fixture, "nn: batch_norm of 16 bits loses no small move of what it tracks") {
  for (const DType dtype : {bfloat16, float16}) {
    CAPTURE(dtype);
    const Output x = placeholder(graph, dtype, {any, 1}), train = training();
    const nn::BatchNorm layer({.training = train, .epsilon = 0});
    const auto norm = layer(x);
    const Output mean = layer.variables()[2], variance = layer.variables()[3];
    Session session(graph);
    const auto feeds = [&](std::vector<double> values, bool is_training) {
      const auto count = static_cast<std::int64_t>(values.size());
      return Feeds{{x, Tensor::from(values, {count, 1}).cast(dtype)},
                   {train, Tensor(is_training)}};
    };
    for (int i = 0; i < 2000; ++i) session.run(feeds({11, 13.0625}, true), norm.update);
    // Halfway between two numbers of bfloat16.
    CHECK(numbers(session.value(mean))[0] == doctest::Approx(12.03125).epsilon(1e-5));
    CHECK(numbers(session.value(variance))[0] == doctest::Approx(1.0635).epsilon(1e-2));
    // It counts where the mean is taken away.
    CHECK(numbers(session.run(feeds({11}, false), norm.output))[0] ==
          doctest::Approx(-1).epsilon(5e-3));
    const double before = numbers(session.value(mean))[0];
    session.run(feeds({100}, false), norm.update);
    CHECK(numbers(session.value(mean))[0] == before);
  }
}

TEST_CASE_FIXTURE(Fixture, "nn: batch_norm uses the batch while training, else what it tracked") {
  const Output x = placeholder(graph, float64, {any, 2}, "x"), train = training();
  const auto norm = nn::batch_norm(x, {.training = train, .momentum = 0.5, .epsilon = 0});
  const Output scale = graph.find("batch_norm/scale")->output();
  const Output mean = graph.find("batch_norm/running_mean")->output();
  const Output variance = graph.find("batch_norm/running_variance")->output();
  Session session(graph);
  const Tensor batch = {{1.0, 10.0}, {3.0, 30.0}};
  const auto run = [&](bool is_training, const std::vector<Output>& fetches) {
    return session.run({{x, batch}, {train, Tensor(is_training)}}, fetches);
  };
  // Inference: running mean 0 and variance 1 change nothing.
  CHECK(numbers(run(false, {norm.output, norm.update})[0]) == numbers(batch));
  CHECK(numbers(session.value(mean)) == std::vector<double>{0, 0});

  const auto trained = numbers(run(true, {norm.output, norm.update})[0]);
  CHECK(trained[0] == doctest::Approx(-1));
  CHECK(trained[1] == doctest::Approx(-1));
  CHECK(trained[3] == doctest::Approx(1));
  CHECK(numbers(session.value(mean)) == std::vector<double>{1, 10});
  CHECK(numbers(session.value(variance)) == std::vector<double>{1, 50.5});
  const auto inferred = numbers(run(false, {norm.output})[0]);
  CHECK(inferred[2] == doctest::Approx(2));
  CHECK(inferred[3] == doctest::Approx(20 / std::sqrt(50.5)));

  // Running statistics are no parameters: the layer moves them in a training step, no gradient.
  const Output step = GradientDescent{}.minimize(sum(square(norm.output)));
  run(true, {step});
  CHECK(numbers(session.value(mean)) == std::vector<double>{1.5, 15});
  CHECK(numbers(session.value(scale))[0] < 1);
  const std::string table = summary(graph);
  CHECK(contains(table, "Trainable: 4\n"));
  CHECK(contains(table, "Not trainable: 4\n"));

  // Another axis.
  const Output planes = images({any, 3, 4, 4});
  CHECK(nn::batch_norm(planes, {.training = train, .axis = 1}).output.shape() == planes.shape());
  CHECK(graph.find("batch_norm_1/scale")->shape() == Shape{3});
}

TEST_CASE_FIXTURE(Fixture, "nn: layer_norm gives each row mean 0 and variance 1") {
  const Output x = placeholder(graph, float64, {any, 4}, "x");
  const Output y = nn::layer_norm(x, 0);
  const auto values = numbers(
      Session(graph).run({{x, Tensor{{1.0, 2.0, 3.0, 4.0}, {-5.0, 0.0, 5.0, 100.0}}}}, y));
  for (int row = 0; row < 2; ++row) {
    const std::vector<double> part(values.begin() + 4 * row, values.begin() + 4 * row + 4);
    CHECK(mean_of(part) == doctest::Approx(0));
    CHECK(variance_of(part) == doctest::Approx(1));
  }
}

TEST_CASE_FIXTURE(Fixture, "nn: embedding looks rows up, and only these get gradients") {
  const Output ids = placeholder(graph, int32, {any, 2}, "ids");
  const Output rows = nn::embedding(ids, 5, 3);
  CHECK(rows.shape() == Shape{any, 2, 3});
  const Output table = graph.find("embedding/table")->output();
  const Output grad = gradients({sum(rows)}, {table})[0];
  Session session(graph);
  const auto result =
      session.run({{ids, Tensor{{std::int32_t{1}, std::int32_t{1}}}}}, {rows, grad, table});
  CHECK(result[0].at<float>({0, 1, 2}) == result[2].at<float>({1, 2}));
  CHECK(numbers(result[1]) == std::vector<double>{0, 0, 0, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0});
}

TEST_CASE_FIXTURE(Fixture, "nn: initializers have the spread that they promise") {
  const auto largest = [](const std::vector<double>& values) {
    double result = 0;
    for (const double value : values) result = std::max(result, std::fabs(value));
    return result;
  };
  // A kernel 3x3 from 20 to 30 channels: fan in 180, fan out 270.
  const Shape shape = {3, 3, 20, 30};
  const auto check = [&](const nn::Initializer& initializer, double variance, double limit) {
    const auto values = draw(initializer, shape);
    CHECK(mean_of(values) == doctest::Approx(0).scale(std::sqrt(variance)).epsilon(0.05));
    CHECK(variance_of(values) == doctest::Approx(variance).epsilon(0.06));
    CHECK(largest(values) <= limit);
    CHECK(largest(values) >= 0.95 * limit);
  };
  const double truncated = 2 / 0.8796256610342398;
  check(nn::glorot_uniform(), 2.0 / 450, std::sqrt(6.0 / 450));
  check(nn::glorot_normal(), 2.0 / 450, truncated * std::sqrt(2.0 / 450));
  check(nn::he_uniform(), 2.0 / 180, std::sqrt(6.0 / 180));
  check(nn::he_normal(), 2.0 / 180, truncated * std::sqrt(2.0 / 180));
  CHECK(draw(nn::zeros(), {2}) == std::vector<double>{0, 0});
  CHECK(draw(nn::ones(), {2}) == std::vector<double>{1, 1});
  CHECK(draw(nn::constant(-2.5), {1}) == std::vector<double>{-2.5});
  CHECK(draw(nn::glorot_uniform(), {0, 3}).empty());
}

TEST_CASE_FIXTURE(Fixture, "nn: a constant initializer gives the number that it was given") {
  const auto value = [&](const nn::Initializer& initializer, DType dtype) {
    return Session(graph).run(initializer(graph, {}, dtype, {}));
  };
  constexpr std::int64_t kNoDouble = (std::int64_t{1} << 53) + 1;
  CHECK(value(nn::constant(kNoDouble), int64).item<std::int64_t>() == kNoDouble);
  CHECK(value(nn::constant(-kNoDouble), int64).item<std::int64_t>() == -kNoDouble);
  CHECK(value(nn::constant(3.0), int32).item<std::int32_t>() == 3);
  CHECK(value(nn::constant(0.5), float32).item<float>() == 0.5F);
  const auto refusal = [&](const nn::Initializer& initializer, DType dtype) {
    return message_of<BuildError>([&] { initializer(graph, {2}, dtype, {}); });
  };
  CHECK(contains(refusal(nn::constant(0.5), int32), "[constant] 'constant': 0.5 is no int32"));
  CHECK(contains(refusal(nn::constant(300), uint8), "300 is no uint8"));
  CHECK(contains(refusal(nn::constant(1e19), int64), "is no int64"));
}

TEST_CASE_FIXTURE(Fixture, "nn: initializers give these bits, with every compiler and library") {
  struct Held {
    nn::Initializer initializer;
    Shape shape;
    std::uint64_t hash;  ///< FNV-1a of the elements, as float64
  };
  const Held all[] = {{nn::orthogonal(2, 7), {6, 4}, 0xCDA18E90B5D1B2B2ULL},
                      {nn::orthogonal(0.5, 1), {4, 6}, 0x83993F5F1EC150B7ULL},
                      {nn::orthogonal(), {3, 3, 8, 40}, 0x2603D56B8F51A6AFULL},
                      {nn::glorot_uniform(), {30, 20}, 0xDE0558561E515606ULL},
                      {nn::glorot_normal(), {30, 20}, 0xD0F6875942DD88ADULL},
                      {nn::he_uniform(), {30, 20}, 0x8470ACAFEB9CFE57ULL},
                      {nn::he_normal(), {30, 20}, 0x5DAE523C6DC7DA7EULL}};
  for (const Held& held : all) {
    graph.context().scope = "held/";
    std::uint64_t hash = 0xCBF29CE484222325;
    for (const double value : draw(held.initializer, held.shape))
      hash = (hash ^ std::bit_cast<std::uint64_t>(value)) * 0x100000001B3;
    CAPTURE(&held - all);
    CHECK(hash == held.hash);
  }
}

TEST_CASE_FIXTURE(Fixture, "nn: orthogonal rows or columns have length gain") {
  for (const auto& size : {std::pair{6, 4}, std::pair{4, 6}, std::pair{5, 5}}) {
    const int rows = size.first, columns = size.second;  // lambdas cannot capture bindings
    CAPTURE(rows);
    const auto m = draw(nn::orthogonal(2, 7), {rows, columns});
    const bool wide = columns > rows;
    const int count = std::min(rows, columns), length = std::max(rows, columns);
    const auto at = [&](int vector, int i) {
      return m[static_cast<std::size_t>(wide ? vector * columns + i : i * columns + vector)];
    };
    for (int a = 0; a < count; ++a)
      for (int b = 0; b <= a; ++b) {
        double product = 0;
        for (int i = 0; i < length; ++i) product += at(a, i) * at(b, i);
        CHECK(std::fabs(product - (a == b ? 4 : 0)) < 1e-12);
      }
  }
  CHECK(draw(nn::orthogonal(1, 1), {3, 3}) != draw(nn::orthogonal(1, 2), {3, 3}));
  // Two layers do not start equal.
  const Output x = images({any, 4});
  nn::dense(x, {.units = 4, .kernel_initializer = nn::orthogonal()}, "a");
  nn::dense(x, {.units = 4, .kernel_initializer = nn::orthogonal()}, "b");
  Session session(graph);
  CHECK(numbers(session.value(graph.find("a/kernel")->output())) !=
        numbers(session.value(graph.find("b/kernel")->output())));
}

TEST_CASE_FIXTURE(Fixture, "nn: variables outside layers stand in the summary too") {
  variable(graph, Tensor::zeros(float32, {784, 10}), "weights");
  const std::string table = summary(graph);
  CHECK(contains(table, "weights (variable)"));
  CHECK(contains(table, "Total parameters: 7,840\n"));
  Graph empty;
  CHECK(contains(summary(empty), "Total parameters: 0\n"));
}

TEST_CASE_FIXTURE(Fixture, "nn: errors name the layer and the user's line") {
  const Output x = images(), train = training();
  const Output flat = placeholder(graph, float32, {any, 8}, "flat");
  const Output counts = placeholder(graph, int64, {any, 8}, "counts");
  const auto fails = [](const std::function<void()>& action, const std::string& part) {
    const std::string message = message_of(action);
    CHECK_MESSAGE(contains(message, part), message);
    CHECK_MESSAGE(contains(message, "test_nn.cpp:"), message);
  };
  fails([&] { nn::dense(flat, {}, "fc"); }, "[dense] 'fc': units must be positive, not 0");
  fails([&] { nn::dense(counts, {.units = 1}, "fc"); }, "must be of a floating dtype, not int64");
  fails([&] { nn::dense(Output(), {.units = 1}); }, "[dense]");
  fails([&] { nn::dense(images({any}), {.units = 1}, "fc"); },
        "x must be [..., inputs], not [?]");
  fails(
      [&] {
        nn::dense(images({4, any}), {.units = 1}, "fc");
      },
      "axis 1 of x, [4,?], must be known");
  fails([&] { nn::dense(flat, {.units = 1}, "a b"); }, "'a b' is no scope name");
  fails([&] { nn::dense(flat, {.units = 1, .kernel_initializer = {}}, "fc"); },
        "kernel has no initializer");
  fails(
      [&] {
        nn::dense(flat,
                  {.units = 1,
                   .kernel_initializer = [](Graph& g, const Shape&, DType,
                                            SourceLocation) { return constant(g, Tensor(1.f)); }},
                  "fc");
      },
      "the initializer of kernel must give float32[8,1]");
  fails([&] { nn::conv2d(x, {}, "c"); }, "[conv2d] 'c': filters must be positive, not 0");
  fails([&] { nn::conv2d(flat, {.filters = 2}, "c"); }, "must be a batch of images, not [?,8]");
  fails([&] { nn::conv2d(x, {.filters = 2, .kernel = 0}, "c"); }, "the kernel cannot be 0x0");
  fails([&] { nn::conv2d(x, {.filters = 3, .groups = 2}, "c"); }, "2 groups do not divide");
  fails([&] { nn::conv2d(x, {.filters = 2, .kernel = 30}, "c"); }, "/conv2d'");
  fails([&] { nn::max_pool2d(flat, 2, "p"); }, "/max_pool2d'");
  fails([&] { nn::dropout(x, 1.0, train, "d"); }, "[dropout] 'd': rate must be in [0, 1), not 1");
  fails([&] { nn::dropout(x, 0.5, Output(), "d"); }, "needs `training`");
  fails([&] { nn::dropout(x, 0.5, flat, "d"); }, "must be a boolean scalar, not float32[?,8]");
  fails([&] { nn::batch_norm(x, {}, "n"); }, "[batch_norm] 'n': needs `training`");
  fails([&] { nn::batch_norm(x, {.training = train, .axis = 4}, "n"); },
        "axis 4 is not one of x");
  fails([&] { nn::batch_norm(x, {.training = train, .axis = 0}, "n"); }, "axis 0 of x");
  fails([&] { nn::batch_norm(x, {.training = train, .momentum = 2}, "n"); }, "momentum must be");
  fails([&] { nn::layer_norm(counts); }, "[layer_norm]");
  fails([&] { nn::embedding(flat, 5, 3, float32, "e"); }, "[embedding] 'e': ids must be int32");
  fails([&] { nn::embedding(counts, 0, 3, float32, "e"); }, "a table of 0 rows of 3");
  CHECK(graph.context().scope.empty());
}

TEST_CASE("layers: what is taken back with a model leaves its layers as they were") {
  Graph graph;
  const Output x = placeholder(graph, float32, {any, 3}, "x");
  const nn::Dense dense({.units = 2});
  bool fails = true;
  const nn::Sequential model = {dense, [&](Output y) { return fails ? Output() : y; }};
  CHECK_THROWS_AS(model(x), BuildError);
  CHECK_THROWS_AS(dense.variables(), BuildError);
  fails = false;
  const Output y = model(x);
  CHECK(dense.variables() == variables(graph));
  CHECK(Session(graph).run({{x, Tensor::zeros(float32, {2, 3})}}, y).shape() == Shape{2, 2});
}
