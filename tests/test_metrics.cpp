#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "temporary_directory.h"

/// Metrics that are no means over batches: what a sum over a data set is divided by another.
namespace gradgraph::tests {
namespace {

/// Guesses of 0 or 1 whose truths, and which of them count, are such that every batch has
/// another share of each.
data::Dataset guesses() {
  constexpr std::int64_t kCount = 23;
  Tensor guess(float32, {kCount}), truth(float32, {kCount}), counts(float32, {kCount});
  for (std::int64_t i = 0; i < kCount; ++i) {
    guess.data<float>()[i] = i * i % 5 < 2 ? 1 : 0;
    truth.data<float>()[i] = i < 9 ? 1 : 0;
    counts.data<float>()[i] = i % 7 == 3 || i > 15 ? 0 : 1;
  }
  return {{"guess", guess}, {"truth", truth}, {"counts", counts}};
}

/// What the metrics are of all that counts, by hand.
struct Expected {
  double right = 0, counted = 0, hits = 0, positives = 0;

  explicit Expected(const data::Dataset& data) {
    for (std::int64_t i = 0; i < data.size(); ++i) {
      const double guess = data["guess"].data<float>()[i], truth = data["truth"].data<float>()[i],
                   counts = data["counts"].data<float>()[i];
      right += guess == truth ? counts : 0;
      counted += counts;
      hits += guess * truth;
      positives += guess + truth;
    }
  }
};

struct Guessing {
  Graph graph;
  TrainingStep step;

  explicit Guessing(const data::Dataset* in_graph = nullptr) {
    if (in_graph) {
      step.batch = data::graph_batch(graph, {*in_graph});
    } else {
      for (const char* name : {"guess", "truth", "counts"})
        step.batch.arrays.emplace_back(name, placeholder(graph, float32, {any}, name));
    }
    const Output guess = step.batch["guess"], truth = step.batch["truth"],
                 counts = step.batch["counts"];
    const Output w = variable(graph, Tensor(0.5f), "w");
    step.loss = mean(square(guess - w));
    step.train = GradientDescent{.learning_rate = 0}.minimize(step.loss);
    // One of integers, one of floats.
    const Output right = logical_and(equal(guess, truth), greater(counts, 0.f));
    step.metrics = {
        {"accuracy", sum(cast(right, int64)), sum(cast(counts, int32))},
        {"f1", sum(guess * truth) * 2.f, sum(guess + truth)},
        {.name = "root",
         .value = step.loss,
         .shown = [](double mean) { return std::sqrt(mean); }},
    };
  }
};

FitOptions in_batches_of(std::int64_t size) {
  return {.batch_size = size, .log = [](const TrainingLog&) {}, .progress_bar = false};
}

TEST_CASE("metrics: a sum per another counts every sample once, whatever batch it is in") {
  const data::Dataset data = guesses();
  const Expected expected(data);
  for (const bool in_graph : {false, true})
    for (const std::int64_t size : {1, 4, 5, 23}) {
      CAPTURE(in_graph);
      CAPTURE(size);
      Guessing guessing(in_graph ? &data : nullptr);
      Session session(guessing.graph);
      FitOptions options = in_batches_of(size);
      options.data_in_graph = in_graph;
      if (!in_graph) options.validation = data, options.validation_batch_size = 6;
      const TrainingLog log = fit(session, guessing.step, data, options).epochs.at(0);
      CHECK(log["accuracy"].training == expected.right / expected.counted);
      CHECK(log["f1"].training == doctest::Approx(2 * expected.hits / expected.positives));
      CHECK(log["root"].training == doctest::Approx(0.5));
      if (in_graph) continue;
      CHECK(log["accuracy"].validation == log["accuracy"].training);
      CHECK(log["f1"].validation == doctest::Approx(log["f1"].training));
      const std::vector<MetricMeans> measured =
          evaluate(session, guessing.step, data, {.batch_size = size});
      CHECK(measured.at(1).validation == log["accuracy"].training);
      CHECK(measured.at(3).validation == doctest::Approx(0.5));
    }
}

TEST_CASE("metrics: sums go on from a checkpoint within an epoch") {
  const data::Dataset data = guesses();
  const Expected expected(data);
  const TemporaryDirectory directory;
  FitOptions options = in_batches_of(4);
  options.checkpoints = CheckpointOptions{.directory = directory.path() / "run"};
  options.checkpoint_every = 2;
  options.log_every = 3;
  options.log = [](const TrainingLog& log) {
    if (!log.epoch_is_done) throw RunError("stopped", {});
  };
  {
    Guessing guessing;
    Session session(guessing.graph);
    CHECK_THROWS_AS(fit(session, guessing.step, data, options), RunError);
  }
  Guessing guessing;
  Session session(guessing.graph);
  options.resume = true;
  options.log = [](const TrainingLog&) {};
  const TrainingLog log = fit(session, guessing.step, data, options).epochs.at(0);
  CHECK(session.step() == 6);
  CHECK(log["accuracy"].training == expected.right / expected.counted);
}

TEST_CASE("metrics: a sum that is another's in a checkpoint is not taken for it") {
  const data::Dataset data = guesses();
  const TemporaryDirectory directory;
  FitOptions options = in_batches_of(4);
  options.checkpoints = CheckpointOptions{.directory = directory.path() / "run"};
  options.checkpoint_every = 2;
  options.epochs = 2;
  options.resume = true;
  const auto resume = [&] {
    Guessing guessing;
    TrainingStep& step = guessing.step;
    step.metrics = {{"accuracy", mean(step.batch["guess"])}, {"f1", mean(step.batch["guess"])}};
    Session session(guessing.graph);
    return fit(session, step, data, options);
  };
  for (const bool within_epoch : {false, true}) {
    std::filesystem::remove_all(directory.path() / "run");
    FitOptions first = options;
    first.epochs = 1;
    first.log_every = within_epoch ? 3 : 0;
    first.log = [](const TrainingLog& log) {
      if (!log.epoch_is_done) throw RunError("stopped", {});
    };
    Guessing guessing;
    Session session(guessing.graph);
    const std::string stopped = message_of([&] { fit(session, guessing.step, data, first); });
    CHECK(contains(stopped, "stopped") == within_epoch);
    if (within_epoch)
      CHECK_THROWS_WITH_AS(
          resume(), doctest::Contains("other metrics: it lacks the sum of accuracy"), BuildError);
    else
      CHECK(resume().epochs.size() == 1);
  }
}

TEST_CASE("metrics: of nothing that counts there is no number") {
  const data::Dataset data{{"guess", Tensor::full(float32, {4}, 1)},
                           {"truth", Tensor::full(float32, {4}, 1)},
                           {"counts", Tensor::full(float32, {4}, 0)}};
  Guessing guessing;
  Session session(guessing.graph);
  const TrainingLog log = fit(session, guessing.step, data, in_batches_of(2)).epochs.at(0);
  CHECK(std::isnan(log["accuracy"].training));
  CHECK(log["f1"].training == 1);
}

}  // namespace
}  // namespace gradgraph::tests
