#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "noise.h"
#include "temporary_directory.h"

/// Updates by the gradients of several batches.
namespace gradgraph::tests {
namespace {

/// A network of float64 whose loss is a mean over the batch, so that the mean of the gradients of
/// equal batches is that of all their samples.
struct Network {
  explicit Network(bool accumulates, DType dtype = float64) {
    const Output x = placeholder(graph, dtype, {any, 3}, "x"),
                 y = placeholder(graph, dtype, {any, 1}, "y");
    step.batch = {.arrays = {{"x", x}, {"y", y}}};
    Output hidden = nn::dense(x, {.units = 5, .activation = tanh});
    step.loss = mean(square(nn::dense(hidden, {.units = 1}) - y));
    const Adam adam{.learning_rate = 0.05, .clip = {.by_global_norm = 0.5}};
    if (accumulates) {
      const GradientAccumulation made = accumulate_gradients(adam, step.loss);
      step.accumulate = made.accumulate;
      step.train = made.train;
    } else {
      step.train = adam.minimize(step.loss);
    }
  }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  std::vector<double> weights(Session& session) {
    std::vector<double> result;
    for (const Output& variable : trainable_variables(graph)) {
      const Tensor value = session.value(variable);
      result.insert(result.end(), value.span<double>().begin(), value.span<double>().end());
    }
    return result;
  }

  Graph graph;
  TrainingStep step;
};

data::Dataset samples(std::int64_t count) {
  return {{"x", noise({count, 3}, 1, float64)}, {"y", noise({count, 1}, 2, float64)}};
}

FitOptions quiet(std::int64_t batch_size, std::int64_t batches_per_update) {
  return {.epochs = 3,
          .batch_size = batch_size,
          .batches_per_update = batches_per_update,
          .seed = 5,
          .log = [](const TrainingLog&) {},
          .progress_bar = false};
}

}  // namespace

TEST_CASE("gradient accumulation: four batches are one of four times the size") {
  // 48 and 16 samples more: the last update of an epoch is of two batches.
  for (const std::int64_t count : {96, 80}) {
    CAPTURE(count);
    Network whole(false), parts(true);
    Session by_whole(whole.graph, {.seed = 3}), by_parts(parts.graph, {.seed = 3});
    fit(by_whole, whole.step, samples(count), quiet(32, 1));
    fit(by_parts, parts.step, samples(count), quiet(8, 4));
    const std::vector<double> expected = whole.weights(by_whole), found = parts.weights(by_parts);
    REQUIRE(expected.size() == found.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-10));
    // Updates are counted, not batches, and nothing is left over.
    const Output updates(*parts.graph.find("train/step"), 0);
    CHECK(by_parts.value(updates).item<std::int64_t>() == 9);
    for (const char* name : {"dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"}) {
      const Output sum(*parts.graph.find(std::string(name) + "/accumulated"), 0);
      CHECK(by_parts.run({}, {max(abs(sum))})[0].item<double>() == 0);
    }
  }
}

TEST_CASE("gradient accumulation: goes on in the middle of an update") {
  const TemporaryDirectory directory;
  Network network(true);
  Session at_once(network.graph, {.seed = 3});
  fit(at_once, network.step, samples(80), quiet(8, 4));
  struct Ended {};
  for (const std::int64_t batches : {2, 5, 13}) {
    CAPTURE(batches);
    FitOptions options = quiet(8, 4);
    options.checkpoints =
        CheckpointOptions{.directory = directory.path() / std::to_string(batches)};
    options.checkpoint_every = 1;
    options.log_every = 1;
    std::int64_t left = batches;
    options.log = [&](const TrainingLog&) {
      if (--left == 0) throw Ended();
    };
    Session first(network.graph, {.seed = 3}), second(network.graph, {.seed = 3});
    CHECK_THROWS_AS(fit(first, network.step, samples(80), options), Ended);
    options.log = [](const TrainingLog&) {};
    options.resume = true;
    fit(second, network.step, samples(80), options);
    CHECK(network.weights(second) == network.weights(at_once));
  }
}

TEST_CASE("gradient accumulation: data in the graph gives the same bits") {
  Tensor images = noise({70, 2}, 1, float32), labels(int64, {70});
  for (std::int64_t i = 0; i < 70; ++i) labels.data<std::int64_t>()[i] = i % 3;
  const data::Dataset dataset = {{"images", images}, {"labels", labels}};
  std::vector<std::string> weights;
  for (const bool in_graph : {false, true}) {
    Graph graph;
    TrainingStep step = {.batch = data::graph_batch(graph, {dataset})};
    const Output logits = nn::dense(step.batch["images"], {.units = 3}, "logits");
    step.loss = mean(sparse_softmax_cross_entropy(logits, step.batch["labels"]));
    const auto [accumulate, train] = accumulate_gradients(Adam{}, step.loss);
    step.accumulate = accumulate;
    step.train = train;
    Session session(graph, {.seed = 3});
    FitOptions options = quiet(10, 3);
    options.data_in_graph = in_graph;
    fit(session, step, dataset, options);
    weights.push_back(session.value(variables(graph, "logits/kernel").at(0)).to_string());
  }
  CHECK(weights[0] == weights[1]);
}

TEST_CASE("gradient accumulation: what layers track moves with every batch") {
  Graph graph;
  const Output x = placeholder(graph, float32, {any, 2}, "x");
  const Output y =
      nn::batch_norm(x, {.training = constant(graph, Tensor(true)), .momentum = 0.5}, "norm")
          .output;
  const auto [accumulate, train] = accumulate_gradients(GradientDescent{}, mean(square(y)));
  Session session(graph);
  const Tensor batch = Tensor{1.f, 1.f, 3.f, 3.f}.reshaped({2, 2});
  const Output tracked = variables(graph, "norm/*mean*").at(0);
  session.run({{x, batch}}, {accumulate});
  CHECK(session.value(tracked).to_string() == "float32[2] [1, 1]");
  session.run({{x, batch}}, {train});
  CHECK(session.value(tracked).to_string() == "float32[2] [1.5, 1.5]");
}

TEST_CASE("gradient accumulation: halves are added up in float32") {
  for (const DType dtype : {float16, bfloat16}) {
    Graph graph;
    const Output v = variable(graph, Tensor(1.f).cast(dtype), "v");
    // Added in 11 bits, 2048 + 1 + 1 + ... would stay 2048.
    const Output x = placeholder(graph, float32, {}, "x");
    const Output loss = cast(v, float32) * x;
    const auto [accumulate, train] = accumulate_gradients(GradientDescent{}, loss);
    CHECK(Output(*graph.find("v/accumulated"), 0).dtype() == float32);
    Session session(graph);
    session.run({{x, Tensor(2048.f)}}, {accumulate});
    for (int i = 0; i < 4; ++i) session.run({{x, Tensor(1.f)}}, {accumulate});
    CHECK(session.value(Output(*graph.find("v/accumulated"), 0)).item<float>() == 2052);
  }
}

TEST_CASE("gradient accumulation: refuses what cannot be, and leaves the graph as it was") {
  Graph graph;
  const Output v = variable(graph, Tensor{1.f, 2.f}, "v");
  const auto nodes = graph.num_nodes();
  CHECK_THROWS_AS(accumulate_gradients(Adam{}, v), BuildError);
  const Output loss = sum(v);
  const auto with_loss = graph.num_nodes();
  CHECK_THROWS_AS(accumulate_gradients(Adam{.loss_scale = LossScale::dynamic()}, loss),
                  BuildError);
  CHECK_THROWS_AS(accumulate_gradients(Adam{.epsilon = -1}, loss), BuildError);
  CHECK(graph.num_nodes() == with_loss);
  CHECK(with_loss > nodes);

  Network network(false);
  Session session(network.graph);
  CHECK_THROWS_WITH_AS(fit(session, network.step, samples(8), quiet(2, 2)),
                       doctest::Contains("batches_per_update needs a step with 'accumulate'"),
                       BuildError);
  CHECK_THROWS_WITH_AS(fit(session, network.step, samples(8), quiet(2, 0)),
                       doctest::Contains("batches_per_update must be 1 or more, not 0"),
                       BuildError);
}

}  // namespace gradgraph::tests
