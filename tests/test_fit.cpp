#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "noise.h"
#include "temporary_directory.h"

/// The training loop.
namespace gradgraph::tests {
namespace {

/// Points of three classes: around (3, 0), (0, 3) and (-3, -3).
data::Dataset points(std::int64_t count, std::uint32_t seed) {
  Tensor images = noise({count, 2}, seed, float32);
  Tensor labels(int64, {count});
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t label = i % 3;
    labels.data<std::int64_t>()[i] = label;
    images.data<float>()[2 * i] += label == 0 ? 3.f : label == 1 ? 0.f : -3.f;
    images.data<float>()[2 * i + 1] += label == 0 ? 0.f : label == 1 ? 3.f : -3.f;
  }
  return {{"images", images}, {"labels", labels}};
}

/// A small network with dropout, whose data may be in the graph.
struct Network {
  explicit Network(bool in_graph = false) {
    if (in_graph)
      step.batch = data::graph_batch(graph, {train, validation});
    else
      step.batch = {.arrays = {{"images", placeholder(graph, float32, {any, 2}, "x")},
                               {"labels", placeholder(graph, int64, {any}, "y")}}};
    step.training = placeholder(graph, boolean, {}, "training");
    Output x = nn::dense(step.batch["images"], {.units = 8, .activation = relu});
    x = nn::dropout(x, 0.2, step.training);
    const Output logits = nn::dense(x, {.units = 3});
    step.loss = mean(sparse_softmax_cross_entropy(logits, step.batch["labels"]));
    const Output right = equal(argmax(logits, -1), step.batch["labels"]);
    step.metrics = {{"accuracy", mean(cast(right, float32))}};
    step.gradients = compute_gradients(step.loss);
    step.train = Adam{.learning_rate = 0.02}.apply(step.gradients);
  }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  std::vector<float> weights(Session& session) {
    std::vector<float> result;
    for (const Output& variable : trainable_variables(graph)) {
      const Tensor value = session.value(variable);
      result.insert(result.end(), value.span<float>().begin(), value.span<float>().end());
    }
    return result;
  }

  data::Dataset train = points(130, 1), validation = points(45, 2);
  Graph graph;
  TrainingStep step;
};

/// Options that print nothing.
FitOptions quiet(std::int64_t epochs, const Network& network) {
  return {.epochs = epochs,
          .batch_size = 20,
          .seed = 3,
          .validation = network.validation,
          .log = [](const TrainingLog&) {},
          .progress_bar = false};
}

/// The test program's own handler of SIGINT makes room for fit's.
class WithoutHandler {
 public:
  WithoutHandler() : before_(std::signal(SIGINT, SIG_DFL)) {}
  ~WithoutHandler() { std::signal(SIGINT, before_); }
  WithoutHandler(const WithoutHandler&) = delete;
  WithoutHandler& operator=(const WithoutHandler&) = delete;

 private:
  void (*before_)(int);
};

struct Killed : std::runtime_error {
  Killed() : std::runtime_error("killed") {}
};

}  // namespace

TEST_CASE("fit: trains, and measures as a loop written by hand does") {
  Network network;
  Session session(network.graph, {.seed = 4}), by_hand(network.graph, {.seed = 4});
  const FitResult result = fit(session, network.step, network.train, quiet(3, network));
  REQUIRE(result.epochs.size() == 3);
  CHECK_FALSE(result.was_interrupted);
  CHECK_FALSE(result.stopped_early);

  const TrainingStep& step = network.step;
  for (std::int64_t epoch = 1; epoch <= 3; ++epoch) {
    double loss = 0, validation_loss = 0, right = 0;
    for (const data::Batch& batch :
         data::batches(network.train, 20, {.seed = 3, .epoch = epoch})) {
      const auto values = by_hand.run({{step.batch["images"], batch["images"]},
                                       {step.batch["labels"], batch["labels"]},
                                       {step.training, Tensor(true)}},
                                      {step.loss, step.train});
      loss += static_cast<double>(values[0].item<float>()) * static_cast<double>(batch.size());
    }
    const std::int64_t trained = by_hand.step();
    for (const data::Batch& batch : data::batches(network.validation, 500, {.shuffle = false})) {
      const auto values = by_hand.run({{step.batch["images"], batch["images"]},
                                       {step.batch["labels"], batch["labels"]},
                                       {step.training, Tensor(false)}},
                                      {step.loss, step.metrics[0].value});
      validation_loss += 45 * static_cast<double>(values[0].item<float>());
      right += 45 * static_cast<double>(values[1].item<float>());
    }
    by_hand.set_step(trained);
    const TrainingLog& log = result.epochs[static_cast<std::size_t>(epoch - 1)];
    CHECK(log.epoch == epoch);
    CHECK(log.batches == 7);
    CHECK(log.epoch_is_done);
    CHECK(log["loss"].training == loss / 130);
    CHECK(log["loss"].validation == validation_loss / 45);
    CHECK(log["accuracy"].validation == right / 45);
  }
  CHECK(network.weights(session) == network.weights(by_hand));
  const std::vector<MetricMeans> measured =
      evaluate(session, step, network.validation, {.batch_size = 7});
  CHECK(measured[1].name == "accuracy");
  CHECK(measured[1].validation ==
        doctest::Approx(result.epochs[2]["accuracy"].validation).epsilon(1e-6));
  CHECK(result.epochs[2]["accuracy"].validation > 0.9);
}

TEST_CASE("fit: data in the graph gives the same, however many steps a call has") {
  Network fed, resident(true);
  Session first(fed.graph, {.seed = 4});
  const FitResult expected = fit(first, fed.step, fed.train, quiet(2, fed));
  for (const std::int64_t steps : {0, 1, 3}) {
    CAPTURE(steps);
    Session second(resident.graph, {.seed = 4});
    FitOptions options = quiet(2, resident);
    options.data_in_graph = true;
    options.steps_per_call = steps;
    const FitResult result = fit(second, resident.step, resident.train, options);
    for (std::size_t epoch = 0; epoch < 2; ++epoch)
      for (const char* name : {"loss", "accuracy"}) {
        CHECK(result.epochs[epoch][name].training ==
              doctest::Approx(expected.epochs[epoch][name].training).epsilon(1e-6));
        CHECK(result.epochs[epoch][name].validation ==
              doctest::Approx(expected.epochs[epoch][name].validation).epsilon(1e-6));
      }
  }
}

TEST_CASE(
    "fit: leaves out what is less than a batch where it is told to, also of data in the graph") {
  Network network;
  FitOptions options = quiet(2, network);
  options.batch_size = 40;  // of 130 samples
  options.drop_last = true;
  Session session(network.graph);
  fit(session, network.step, network.train, options);
  CHECK(session.step() == 6);

  Network in_graph(/*data_in_graph=*/true);
  options.data_in_graph = true;
  Session other(in_graph.graph);
  fit(other, in_graph.step, in_graph.train, options);
  CHECK(other.step() == 6);
}

TEST_CASE("fit: a loss and metrics of 16 bits are measured as they are") {
  for (const DType dtype : {bfloat16, float16}) {
    Graph graph;
    const Output x = placeholder(graph, dtype, {any}, "x"),
                 w = variable(graph, Tensor::full(dtype, {}, 3), "w");
    TrainingStep step{.batch = {.arrays = {{"x", x}}}, .loss = mean(square(x - w))};
    step.metrics = {{.name = "twice", .value = mean(x * 2.f)}};
    step.train = GradientDescent{.learning_rate = 0.25}.minimize(step.loss);
    Session session(graph);
    const data::Dataset ones{{"x", Tensor::full(dtype, {8}, 1)}};
    const auto result =
        fit(session, step, ones,
            {.batch_size = 4, .log = [](const TrainingLog&) {}, .progress_bar = false});
    CHECK(result.epochs[0]["loss"].training == 2.5);  // of 4 and 1
    CHECK(result.epochs[0]["twice"].training == 2);
  }
}

TEST_CASE("fit: logs come as often as asked, as lines, JSON and to the program") {
  const TemporaryDirectory directory;
  Network network;
  Session session(network.graph);
  std::vector<TrainingLog> logs;
  FitOptions options = quiet(2, network);
  options.log_every = 3;
  options.log = [&](const TrainingLog& log) { logs.push_back(log); };
  options.metrics_file = directory / "metrics.jsonl";
  fit(session, network.step, network.train, options);
  REQUIRE(logs.size() == 6);
  CHECK(logs[0].batches == 3);
  CHECK(logs[1].batches == 6);
  CHECK_FALSE(logs[1].epoch_is_done);
  CHECK(logs[2].batches == 7);
  CHECK(logs[2].epoch_is_done);
  CHECK_THROWS_WITH(logs[0]["precision"], "there is no metric 'precision' in a training log");

  std::ifstream file(options.metrics_file);
  std::string line;
  for (const TrainingLog& log : logs) {
    REQUIRE(std::getline(file, line));
    const auto entry = nlohmann::json::parse(line);
    CHECK(entry["epoch"] == log.epoch);
    CHECK(entry["batch"] == log.batches);
    CHECK(entry["loss"] == log["loss"].training);
    CHECK(entry["validation_accuracy"] == log["accuracy"].validation);
  }
  CHECK_FALSE(std::getline(file, line));

  TrainingLog log{.epoch = 7, .seconds = 1.514, .metrics = {{"loss", 0.67704, 0.30561}}};
  CHECK(log.line() == "loss: 0.6770\tstep 7  1.51 sec");
  log.has_validation = true;
  log.metrics.push_back({"accuracy", 0.5, 1});
  CHECK(log.line() == "loss: 0.6770 / 0.3056\taccuracy: 0.5000 / 1.0000\tstep 7  1.51 sec");
}

TEST_CASE("fit: stops when nothing gets better, with the best weights or the last ones") {
  for (const bool restores : {true, false}) {
    CAPTURE(restores);
    Network network;
    Session session(network.graph, {.seed = 1});
    std::vector<std::vector<float>> weights;
    FitOptions options = quiet(60, network);
    options.early_stopping = {
        .patience = 2, .metric = "accuracy", .higher_is_better = true, .restores_best = restores};
    options.log = [&](const TrainingLog&) { weights.push_back(network.weights(session)); };
    const FitResult result = fit(session, network.step, network.train, options);
    REQUIRE(result.stopped_early);
    const auto best = static_cast<std::size_t>(result.best_epoch);
    REQUIRE(result.epochs.size() == best + 2);
    for (std::size_t i = 0; i < result.epochs.size(); ++i)
      CHECK(result.epochs[i]["accuracy"].validation <=
            result.epochs[best - 1]["accuracy"].validation);
    CHECK((network.weights(session) == weights[best - 1]) == restores);
    CHECK((network.weights(session) == weights.back()) != restores);
  }
}

TEST_CASE("fit: goes on from a checkpoint to the same bits, wherever it was ended") {
  Network network;
  const WithoutHandler own_handler;
  Session whole(network.graph, {.seed = 5});
  FitOptions uninterrupted = quiet(4, network);
  uninterrupted.log_every = 2;
  const FitResult expected = fit(whole, network.step, network.train, uninterrupted);
  const std::vector<float> weights = network.weights(whole);
  // Thrown out at the nth log, of 4 an epoch, or between two of them by a signal.
  for (const int ended_at : {1, 4, 5, 10}) {
    for (const bool by_signal : {false, true}) {
      CAPTURE(ended_at);
      CAPTURE(by_signal);
      const TemporaryDirectory directory;
      FitOptions options = uninterrupted;
      options.checkpoints = CheckpointOptions{.directory = directory / "checkpoints"};
      options.checkpoint_every = 2;
      int logs = 0;
      options.log = [&](const TrainingLog&) {
        if (++logs < ended_at) return;
        if (!by_signal) throw Killed();
        std::raise(SIGINT);
      };
      {
        Session session(network.graph, {.seed = 5});
        if (by_signal)
          CHECK(fit(session, network.step, network.train, options).was_interrupted);
        else
          CHECK_THROWS_AS(fit(session, network.step, network.train, options), Killed);
      }
      options.log = [](const TrainingLog&) {};
      options.resume = true;
      Session session(network.graph, {.seed = 5});
      const FitResult rest = fit(session, network.step, network.train, options);
      CHECK(network.weights(session) == weights);
      CHECK(rest.epochs.back()["loss"].training == expected.epochs.back()["loss"].training);
      CHECK(rest.epochs.back()["loss"].validation == expected.epochs.back()["loss"].validation);
    }
  }
}

TEST_CASE("fit: what is measured on the way does not change what is trained") {
  const auto train = [](bool with_validation, std::int64_t log_every) {
    Network network;
    FitOptions options = quiet(2, network);
    options.log_every = log_every;
    if (!with_validation) options.validation = {};
    Session session(network.graph, {.seed = 4});
    fit(session, network.step, network.train, options);
    CHECK(session.step() == 14);  // batches that were trained on
    evaluate(session, network.step, network.validation);
    CHECK(session.step() == 14);
    return network.weights(session);
  };
  const auto weights = train(true, 0);
  CHECK(train(true, 3) == weights);
  CHECK(train(false, 0) == weights);
}

TEST_CASE("fit: early stopping goes on from a checkpoint, with the best weights of all") {
  Network network;
  const auto stopping = [&](FitOptions& options) {
    options.early_stopping = {.patience = 3, .metric = "accuracy", .higher_is_better = true};
  };
  FitOptions plain = quiet(60, network);
  stopping(plain);
  Session whole(network.graph, {.seed = 1});
  const FitResult expected = fit(whole, network.step, network.train, plain);
  REQUIRE(expected.stopped_early);
  const TemporaryDirectory directory;
  FitOptions options = plain;
  options.checkpoints = CheckpointOptions{.directory = directory / "checkpoints"};
  const auto before = static_cast<int>(expected.best_epoch) + 2;
  int logs = 0;
  options.log = [&](const TrainingLog&) {
    if (++logs == before) throw Killed();
  };
  Session first(network.graph, {.seed = 1}), second(network.graph, {.seed = 1});
  CHECK_THROWS_AS(fit(first, network.step, network.train, options), Killed);
  options.log = [](const TrainingLog&) {};
  options.resume = true;
  const FitResult result = fit(second, network.step, network.train, options);
  CHECK(result.stopped_early);
  CHECK(result.best_epoch == expected.best_epoch);
  CHECK(network.weights(second) == network.weights(whole));
  // Only the weights go back to the best epoch.
  CHECK(second.step() == whole.step());
  for (const Output& moment : variables(network.graph, "*/adam/*")) {
    const Tensor a = second.value(moment), b = whole.value(moment);
    CHECK(std::ranges::equal(a.span<float>(), b.span<float>()));
  }
}

TEST_CASE("fit: a metrics file has each batch once, however training was ended") {
  Network network;
  const TemporaryDirectory directory;
  FitOptions options = quiet(2, network);
  options.metrics_file = directory / "metrics.jsonl";
  options.checkpoints = CheckpointOptions{.directory = directory / "checkpoints"};
  options.checkpoint_every = 4;
  options.log_every = 1;
  options.log = [&](const TrainingLog& log) {
    if (log.epoch == 2 && log.batches == 7) throw Killed();
  };
  {
    Session session(network.graph);
    CHECK_THROWS_AS(fit(session, network.step, network.train, options), Killed);
  }
  // And a line that was cut.
  std::ofstream(options.metrics_file, std::ios::app) << R"({"epoch":2,"ba)";
  options.log = [](const TrainingLog&) {};
  options.resume = true;
  Session session(network.graph);
  fit(session, network.step, network.train, options);
  std::ifstream file(options.metrics_file);
  std::string line;
  for (const std::int64_t epoch : {1, 2})
    for (std::int64_t batch = 1; batch <= 7; ++batch) {
      REQUIRE(std::getline(file, line));
      const auto entry = nlohmann::json::parse(line);
      CHECK(entry["epoch"] == epoch);
      CHECK(entry["batch"] == batch);
    }
  CHECK_FALSE(std::getline(file, line));
}

TEST_CASE("fit: data that does not fit what it is fed to is told at fit's line") {
  Network network;
  Session session(network.graph);
  const data::Dataset wide = {{"images", noise({20, 3}, 1, float32)},
                              {"labels", Tensor::zeros(int64, {20})}};
  const std::string text =
      message_of([&] { fit(session, network.step, wide, quiet(1, network)); });
  CHECK_MESSAGE(contains(text, "'x' takes float32[?,2], not float32[20,3]"), text);
  CHECK_MESSAGE(contains(text, "test_fit.cpp"), text);
}

TEST_CASE("fit: a checkpoint of another training is refused, saying what differs") {
  Network network;
  const TemporaryDirectory directory;
  FitOptions options = quiet(1, network);
  options.checkpoints = CheckpointOptions{.directory = directory / "checkpoints"};
  {
    Session session(network.graph);
    fit(session, network.step, network.train, options);
  }
  const auto fails = [&](const char* message, const data::Dataset& dataset) {
    Session session(network.graph);
    CHECK(contains(message_of([&] { fit(session, network.step, dataset, options); }), message));
  };
  options.resume = true;
  options.batch_size = 30;
  fails("the checkpoint was made with 20 samples a batch, not 30", network.train);
  options.batch_size = 20;
  fails("the checkpoint was made with 130 samples, not 100", network.train.first(100));
  options.drop_last = true;
  fails("the checkpoint was made with 130 samples an epoch, not 120", network.train);
  options.drop_last = false;
  options.seed = 9;
  fails("the checkpoint is of the seed 3, not 9", network.train);
}

TEST_CASE("fit: transforms the batches of training and validation data, each by its own") {
  Network network;
  FitOptions options = quiet(1, network);
  // Of the validation data, all is one batch; some are made ahead that nobody takes.
  std::atomic<int> training = 0, validation = 0, others = 0;
  options.transforms = {[&](data::Batch& batch) { ++(batch.size() <= 20 ? training : others); }};
  options.validation_transforms = {
      [&](data::Batch& batch) { ++(batch.size() == 45 ? validation : others); }};
  Session session(network.graph);
  fit(session, network.step, network.train, options);
  CHECK(training >= 7);
  CHECK(validation >= 1);
  CHECK(others == 0);
}

TEST_CASE("fit: evaluate measures what its transforms make of the data, as fit does") {
  Network network;
  FitOptions options = quiet(1, network);
  options.transforms = options.validation_transforms = {data::normalize("images", {0.5}, {3.0})};
  Session session(network.graph);
  const FitResult result = fit(session, network.step, network.train, options);
  const double expected = result.epochs[0]["loss"].validation;
  const auto loss_with = [&](const EvaluateOptions& how) {
    return evaluate(session, network.step, network.validation, how)[0].validation;
  };
  CHECK(loss_with({.transforms = options.transforms}) == expected);
  CHECK(loss_with({}) != expected);
}

TEST_CASE("fit: refuses what cannot be, before anything runs") {
  Network network;
  const auto fails = [&](const char* message, const auto& change) {
    TrainingStep step = network.step;
    FitOptions options = quiet(1, network);
    data::Dataset dataset = network.train;
    change(step, options, dataset);
    Session session(network.graph);
    const std::string text = message_of([&] { fit(session, step, dataset, options); });
    CHECK_MESSAGE(contains(text, message), text);
    CHECK(contains(text, "test_fit.cpp"));
    CHECK(session.step() == 0);
  };
  fails("epochs must be 1 or more, not 0", [](auto&, auto& o, auto&) { o.epochs = 0; });
  fails("batch_size must be 1 or more, not -1", [](auto&, auto& o, auto&) { o.batch_size = -1; });
  fails("the data set is empty", [](auto&, auto&, auto& d) { d = {}; });
  fails("resume needs checkpoints", [](auto&, auto& o, auto&) { o.resume = true; });
  fails("checkpoint_every needs checkpoints",
        [](auto&, auto& o, auto&) { o.checkpoint_every = 5; });
  fails("early stopping needs validation data", [](auto&, auto& o, auto&) {
    o.early_stopping.patience = 1;
    o.validation = {};
  });
  fails("early stopping looks at 'precision', which is no metric",
        [](auto&, auto& o, auto&) { o.early_stopping.metric = "precision"; });
  fails("the step has no loss", [](auto& s, auto&, auto&) { s.loss = {}; });
  fails("the step has no train op", [](auto& s, auto&, auto&) { s.train = {}; });
  fails("is no train op: it updates no variable",
        [](auto& s, auto&, auto&) { s.train = s.loss; });
  fails("a checkpoint cannot be the best by 'val_loss'", [](auto&, auto& o, auto&) {
    o.checkpoints = CheckpointOptions{.directory = "never_made", .best = "val_loss"};
  });
  fails("a metric cannot be called 'loss'",
        [](auto& s, auto&, auto&) { s.metrics[0].name = "loss"; });
  fails("there are two metrics 'accuracy'",
        [](auto& s, auto&, auto&) { s.metrics.push_back(s.metrics[0]); });
  fails("drop_last leaves nothing of 130 samples in batches of 131", [](auto&, auto& o, auto&) {
    o.drop_last = true;
    o.batch_size = 131;
  });
  fails("'accuracy' is int64[?], not a floating scalar",
        [](auto& s, auto&, auto&) { s.metrics[0].value = s.batch["labels"]; });
  fails("what 'accuracy' is per is int64[?], not a numeric scalar",
        [](auto& s, auto&, auto&) { s.metrics[0].per = s.batch["labels"]; });
  fails("'accuracy' is bool[], not a numeric scalar", [](auto& s, auto&, auto&) {
    s.metrics[0] = {"accuracy", s.training, sum(s.batch["labels"])};
  });
  fails("'training' is float32[?,2], not a boolean scalar",
        [](auto& s, auto&, auto&) { s.training = s.batch["images"]; });
  fails("the batch's array 'labels' is empty",
        [](auto& s, auto&, auto&) { s.batch.arrays[1].second = {}; });
  fails("the step's batch has no arrays", [](auto& s, auto&, auto&) { s.batch = {}; });
  fails("the step's batch has an array 'pictures', but a data set has images, labels",
        [](auto& s, auto&, auto&) { s.batch.arrays[0].first = "pictures"; });
  fails("but a data set has images  (test_fit.cpp", [](auto&, auto& o, auto&) {
    o.validation = data::Dataset{{"images", o.validation["images"]}};
  });
  fails("data in the graph is not transformed", [](auto&, auto& o, auto&) {
    o.data_in_graph = true;
    o.transforms = {data::scale("images")};
  });
  fails("data_in_graph needs a batch that graph_batch made",
        [](auto&, auto& o, auto&) { o.data_in_graph = true; });
}

TEST_CASE("fit: writes an event file, record by record") {
  const TemporaryDirectory directory;
  Network network;
  Session session(network.graph);
  FitOptions options = quiet(2, network);
  options.event_directory = directory / "events";
  fit(session, network.step, network.train, options);
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(options.event_directory))
    files.push_back(entry.path());
  REQUIRE(files.size() == 1);
  std::ifstream file(files[0], std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};

  std::uint64_t length = 0;
  int records = 0;
  for (std::size_t at = 0; at < bytes.size(); at += length + 16, ++records) {
    REQUIRE(at + 16 <= bytes.size());
    std::memcpy(&length, bytes.data() + at, 8);
    REQUIRE(at + 16 + length <= bytes.size());
  }
  // The version, the graph, and an epoch's four means, four variables and four gradients.
  CHECK(records == 2 + 2 * (4 + 4 + 4));
  CHECK(contains(bytes, "brain.Event:2"));
  CHECK(contains(bytes, "accuracy/validation"));
  CHECK(contains(bytes, "dense/kernel/gradient"));
  // Looking at them changes nothing.
  Network same;
  Session without(same.graph);
  fit(without, same.step, same.train, quiet(2, same));
  CHECK(network.weights(session) == same.weights(without));

  EventWriter writer(directory / "more");
  CHECK_THROWS_AS(writer.histogram("x", Tensor{1, 2}, 0), BuildError);
  CHECK_NOTHROW(
      writer.histogram("x", Tensor{std::numeric_limits<float>::infinity(), 0.f, -1.f}, 0));
  CHECK_NOTHROW(writer.histogram("nothing", Tensor(float32, {0}), 0));
  EventWriter second(directory / "more");
  CHECK(second.path() != writer.path());
  CHECK_THROWS_AS(EventWriter("/proc/events"), DataError);
}

}  // namespace gradgraph::tests
