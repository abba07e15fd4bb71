// Training programs: their flags, and what becomes of them.

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gradgraph/command_line.h"
#include "gradgraph/error.h"
#include "gradgraph/ops.h"
#include "messages.h"
#include "temporary_directory.h"

using namespace gradgraph;
using gradgraph::tests::contains;
using gradgraph::tests::message_of;
using gradgraph::tests::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

/// What is written to a stream of C's while this lives.
class Captured {
 public:
  Captured(FILE* stream, fs::path file) : stream_(stream), file_(std::move(file)) {
    std::fflush(stream_);
    before_ = dup(fileno(stream_));
    FILE* const target = std::fopen(file_.c_str(), "w");
    REQUIRE(target);
    dup2(fileno(target), fileno(stream_));
    std::fclose(target);
  }
  ~Captured() { finish(); }
  std::string finish() {
    if (before_ >= 0) {
      std::fflush(stream_);
      dup2(before_, fileno(stream_));
      close(before_);
      before_ = -1;
    }
    std::ifstream file(file_);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  FILE* stream_;
  fs::path file_;
  int before_ = -1;
};

struct Outcome {
  int status = 0;
  std::string output, errors;
  TrainingFlags flags;
  bool has_run = false;
};

Outcome run(std::vector<std::string> words, const ProgramDescription& description,
            const std::function<int(const TrainingFlags&)>& body = {}) {
  const TemporaryDirectory directory;
  words.insert(words.begin(), "program");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  Outcome outcome;
  Captured output(stdout, directory / "output"), errors(stderr, directory / "errors");
  outcome.status = run_program(static_cast<int>(arguments.size()), arguments.data(), description,
                               [&](const TrainingFlags& flags) {
                                 outcome.flags = flags;
                                 outcome.has_run = true;
                                 return body ? body(flags) : 0;
                               });
  outcome.errors = errors.finish();
  outcome.output = output.finish();
  return outcome;
}

}  // namespace

TEST_CASE("a program has flags of its own, and defaults") {
  std::int64_t length = 32;
  double temperature = 0.5;
  bool loud = false;
  std::string word = "so";
  fs::path picture = "picture.png";
  std::vector<fs::path> texts = {"a", "b"};
  const ProgramDescription description = {
      .name = "program",
      .description = "Trains.",
      .defaults = {.epochs = 7, .learning_rate = 0.003},
      .metric = "",
      .flags = {{"--length", &length, "N", "Characters"},
                {"--temperature", &temperature, "X", "How bold"},
                {"--loud", &loud, "", "Say more"},
                {"--word", &word, "WORD", "The first one"},
                {"--picture", &picture, "FILE", "Where to draw", true},
                {"--text", &texts, "FILE", "What to read"}}};
  Outcome outcome = run({}, description);
  CHECK(outcome.has_run);
  CHECK(outcome.flags.epochs == 7);
  CHECK(outcome.flags.learning_rate == 0.003);
  CHECK(length == 32);
  CHECK(texts.size() == 2);

  outcome = run({"--length", "8", "--temperature=0.25", "--loud", "--word", "then", "--text", "c",
                 "d", "e", "--epochs", "2"},
                description, [](const TrainingFlags&) { return 5; });
  CHECK(outcome.status == 5);
  CHECK(outcome.flags.epochs == 2);
  CHECK(length == 8);
  CHECK(temperature == 0.25);
  CHECK(loud);
  CHECK(word == "then");
  CHECK(picture == "picture.png");
  CHECK(texts == std::vector<fs::path>{"c", "d", "e"});

  // Another optimiser's rate is its own, unless one is given.
  CHECK(run({"--optimizer", "sgd"}, description).flags.learning_rate == 0.1);
  CHECK(run({"--optimizer", "sgd", "--learning-rate", "2"}, description).flags.learning_rate ==
        2);

  outcome = run({"--help"}, description);
  CHECK_FALSE(outcome.has_run);
  CHECK(outcome.status == 0);
  CHECK(contains(outcome.output, "Trains."));
  CHECK(contains(outcome.output, "--length N"));
  CHECK_FALSE(contains(outcome.output, "--data"));
  CHECK_FALSE(contains(outcome.output, "accuracy"));

  const auto fault = [&](const std::vector<std::string>& words) {
    const Outcome refused = run(words, description);
    CHECK_FALSE(refused.has_run);
    CHECK(refused.status == 2);
    CHECK(refused.errors.starts_with("error: "));
    CHECK(std::count(refused.errors.begin(), refused.errors.end(), '\n') == 1);
    return refused.errors;
  };
  CHECK(contains(fault({"--length", "0"}), "--length: must be a whole number, 1 or more, not 0"));
  CHECK(contains(fault({"--temperature", "inf"}), "must be a number above 0, not inf"));
  CHECK(contains(fault({"--picture", "/"}), "--picture: cannot write /: it is a directory"));
  CHECK(contains(fault({"--data", "folder"}), "--data"));
  CHECK(contains(fault({"--checkpoint-every", "3"}), "--checkpoint"));
}

TEST_CASE("what a program throws is a line, and a status") {
  const Outcome outcome = run({}, {.name = "program"}, [](const TrainingFlags&) -> int {
    throw DataError("people.csv: no such file");
  });
  CHECK(outcome.status == 1);
  CHECK(outcome.errors == "error: people.csv: no such file\n");
}

TEST_CASE("an optimiser by its name") {
  CHECK(contains(message_of<BuildError>([] { make_optimizer({.optimizer = "lbfgs"}, 10); }),
                 "there is no optimizer 'lbfgs', only adam, adamw, rmsprop, adagrad, momentum, "
                 "sgd  (test_command_line"));
  CHECK(contains(message_of<BuildError>([] { make_optimizer({}, 0); }), "0 samples"));
  // 25 samples in batches of 10 are 3 steps an epoch.
  Graph graph;
  const auto x = variable(graph, Tensor(1.F), "x");
  const TrainingFlags flags = {
      .epochs = 2, .batch_size = 10, .optimizer = "sgd", .learning_rate = 0.5};
  const auto update = make_optimizer(flags, 25).minimize(x);
  Session session(graph);
  float last = 1;
  for (int step = 0; step < 6; ++step) {
    session.run({}, {update});
    const float now = session.value(x).item<float>();
    CHECK(now < last);
    if (step == 0) CHECK(last - now == doctest::Approx(0.5));
    last = now;
  }
  session.run({}, {update});
  CHECK(session.value(x).item<float>() == last);
}

TEST_CASE("training does what the flags say") {
  const TemporaryDirectory directory;
  const data::Dataset points{{"x", Tensor{1.F, 2.F, 3.F, 4.F}},
                             {"y", Tensor{3.F, 5.F, 7.F, 9.F}}};
  std::vector<TrainingLog> logs;
  const auto body = [&](const TrainingFlags& flags) {
    Graph graph;
    const auto x = placeholder(graph, float32, {any}, "x"),
               y = placeholder(graph, float32, {any}, "y");
    const auto slope = variable(graph, Tensor(0.F), "slope");
    const auto loss = mean(square(slope * x - y));
    Session session(graph, session_options(flags));
    CHECK(session.seed() == flags.seed);
    return train(flags, session,
                 {.batch = {.arrays = {{"x", x}, {"y", y}}},
                  .loss = loss,
                  .train = make_optimizer(flags, points.size()).minimize(loss)},
                 {.training = points, .validation = points.first(1), .source = "four points"},
                 {.log = [&](const TrainingLog& log) { logs.push_back(log); }});
  };
  const fs::path metrics = directory / "metrics", dot = directory / "dot";
  const ProgramDescription description = {.name = "program", .defaults = {.epochs = 3}};
  const Outcome outcome =
      run({"--batch-size", "2", "--seed", "4", "--metrics", metrics.string(), "--dot",
           dot.string(), "--checkpoint", (directory / "run").string(), "--explain-placement",
           "--threads", "1", "--device", "cpu"},
          description, body);
  CHECK(outcome.errors == "");
  CHECK(outcome.status == 0);
  CHECK(contains(
      outcome.output,
      "data: four points, 4 training and 1 validation samples; device: cpu, 1 thread\n"));
  CHECK(contains(outcome.output, "\nslope"));
  REQUIRE(logs.size() == 3);
  CHECK(logs[2].metrics[0].training < logs[0].metrics[0].training);
  CHECK(fs::file_size(metrics) > 0);
  CHECK(fs::file_size(dot) > 0);
  CHECK(fs::exists(directory / "run" / "step-00000006" / "manifest.json"));

  const Outcome quiet = run({"--quiet", "--epochs", "1"}, description, body);
  CHECK(quiet.output == "");
  CHECK(contains(run({"--memory-limit", "1"}, description, body).errors,
                 "error: this run needs more memory than the limit"));
}
