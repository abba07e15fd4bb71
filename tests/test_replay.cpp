#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "temporary_directory.h"

/// Steps that check_numerics stopped, kept and run again.
namespace gradgraph::tests {
namespace {

namespace fs = std::filesystem;

/// Learns a line; its loss is NaN where a prediction is too low. Dropout draws by seed and step.
struct Line {
  Line() {
    step.batch = {.arrays = {{"x", placeholder(graph, float32, {any, 2}, "x")},
                             {"y", placeholder(graph, float32, {any}, "y")}}};
    step.training = placeholder(graph, boolean, {}, "training");
    const Output x = nn::dropout(step.batch["x"], 0.5, step.training);
    weights = variable(random_normal(graph, {2}), "weights");
    const Output predicted = sum(x * weights, {1});
    step.loss = mean(square(log(predicted - step.batch["y"] + 40.f)));
    step.train = Adam{.learning_rate = 0.01}.minimize(step.loss);
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  data::Dataset samples() const {
    Tensor x(float32, {64, 2}), y(float32, {64});
    for (std::int64_t i = 0; i < 64; ++i) {
      x.data<float>()[2 * i] = static_cast<float>(i % 7);
      x.data<float>()[2 * i + 1] = static_cast<float>(i % 5) - 2;
      y.data<float>()[i] = static_cast<float>(i % 3);
    }
    y.data<float>()[50] = 60;  // too much for the logarithm
    return {{"x", x}, {"y", y}};
  }

  Graph graph;
  TrainingStep step;
  Output weights;
};

/// The error of a training that keeps its bundle in `directory`.
std::string train_until_nan(Line& line, Session& session, const fs::path& directory) {
  return message_of<NumericsError>([&] {
    fit(session, line.step, line.samples(),
        {.epochs = 5,
         .batch_size = 8,
         .seed = 3,
         .log = [](const TrainingLog&) {},
         .progress_bar = false,
         .numerics_directory = directory});
  });
}

fs::path only_folder(const fs::path& directory) {
  fs::path found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    CHECK(found.empty());
    found = entry.path();
  }
  return found;
}

/// Writes one byte of a file as another.
void damage(const fs::path& file, std::int64_t from_end) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(-from_end, std::ios::end);
  const int byte = stream.peek();
  stream.seekp(-from_end, std::ios::end);
  stream.put(static_cast<char>(byte ^ 1));
}

}  // namespace

TEST_CASE("replay: a step that fit has kept gives the same error again") {
  const TemporaryDirectory directory;
  Line line;
  Session session(line.graph, {.seed = 7, .check_numerics = true});
  const std::string message = train_until_nan(line, session, directory / "kept");
  REQUIRE_MESSAGE(message.starts_with("[log] 'log': made 1 NaN in float32[8], the first at ["),
                  message);
  const fs::path folder = only_folder(directory / "kept");
  CHECK(contains(message, "; gg::replay runs it again from '" + folder.string() + "'  (test_"));
  CHECK(folder.filename().string().starts_with("step-0000"));

  const Bundle bundle = read_bundle(folder);
  CHECK(bundle.step == session.step());
  CHECK(bundle.step > 0);
  CHECK(bundle.seed == 7);
  CHECK(contains(bundle.program, "tests"));
  CHECK(bundle.feeds.size() == 3);
  CHECK(bundle.fetches == std::vector<std::string>{"mean", line.step.train.name()});
  CHECK(message.starts_with(bundle.error.substr(0, bundle.error.find("  ("))));

  for (int repetition = 0; repetition < 2; ++repetition) {
    Line again;
    CHECK(message_of<NumericsError>([&] { replay(again.graph, folder); }) == bundle.error);
  }
  // It is a checkpoint, too.
  Line third;
  Session restored(third.graph, {.seed = 7});
  restore_checkpoint(restored, third.graph, folder);
  CHECK(restored.step() == bundle.step);
  const Tensor kept = session.value(line.weights), read = restored.value(third.weights);
  CHECK(std::memcmp(kept.raw(), read.raw(), kept.bytes()) == 0);
}

TEST_CASE("replay: what a loop of one's own has kept, in fp16") {
  const TemporaryDirectory directory;
  const auto build = [](Graph& graph) {
    const Output x = placeholder(graph, float32, {2, 2}, "x");
    const Output w = variable(graph, Tensor{{300.f, 1.f}, {1.f, 1.f}}, "w");
    const auto parts = split(matmul(x, w), {1, 1}, 1);
    return std::pair(x, parts[1]);
  };
  Graph graph;
  const auto [x, part] = build(graph);
  Session session(graph, {.precision = Precision::fp16, .check_numerics = true});
  session.set_step(12);
  fs::path folder;
  std::string message;
  for (int repetition = 0; repetition < 2; ++repetition) try {  // the second replaces the first
      session.run({{x, Tensor{{1000.f, 1.f}, {1.f, 1.f}}}}, {part});
    } catch (const NumericsError& error) {
      message = error.what();
      folder = save_bundle(session, graph, error, directory.path());
    }
  CHECK(only_folder(directory.path()) == folder);
  CHECK(folder.filename() == "step-00000012");
  CHECK(contains(message, "float16[2,2]"));
  CHECK(read_bundle(folder).fetches == std::vector<std::string>{"split:1"});
  Graph again;
  build(again);
  CHECK(message_of<NumericsError>([&] { replay(again, folder); }) == message);
  // What does not go wrong any more returns.
  Graph mended;
  const Output y = placeholder(mended, float32, {2, 2}, "x");
  const Output w = variable(mended, Tensor{{300.f, 1.f}, {1.f, 1.f}}, "w");
  split(y + w, {1, 1}, 1);
  CHECK_NOTHROW(replay(mended, folder));
}

TEST_CASE("replay: initial values that are not finite") {
  const TemporaryDirectory directory;
  const auto build = [](Graph& graph) { variable(log(constant(graph, Tensor{-1.f})), "start"); };
  Graph graph;
  build(graph);
  Session session(graph, {.check_numerics = true});
  try {
    session.initialize();
    FAIL("nothing was found");
  } catch (const NumericsError& error) {
    CHECK(!error.run);
    const fs::path folder = save_bundle(session, graph, error, directory.path());
    Graph again;
    build(again);
    CHECK(message_of<NumericsError>([&] { replay(again, folder); }) == error.what());
  }
}

TEST_CASE("replay: another graph and damaged files are said") {
  const TemporaryDirectory directory;
  Line line;
  Session session(line.graph, {.seed = 7, .check_numerics = true});
  train_until_nan(line, session, directory.path());
  const fs::path folder = only_folder(directory.path());

  Graph other;
  variable(other, Tensor{1.f}, "slope");
  CHECK(contains(message_of<DataError>([&] { replay(other, folder); }), "it has no 'slope'"));
  Line renamed;
  named(renamed.step.batch["x"], "pixels");
  CHECK(contains(message_of<DataError>([&] { replay(renamed.graph, folder); }),
                 "the graph has no 'x'"));

  const auto damaged = [&](const char* file) {
    const fs::path copy = directory / "copy";
    fs::remove_all(copy);
    fs::copy(folder, copy);
    damage(copy / file, 20);
    return message_of<DataError>([&] {
      Line again;
      replay(again.graph, copy);
    });
  };
  CHECK(contains(damaged("manifest.json"), "manifest.json"));
  CHECK(contains(damaged("feeds.safetensors"), "feeds.safetensors: the checksum of '"));
  CHECK(contains(damaged("variables.safetensors"), "variables.safetensors: the checksum of '"));
  Checkpoints checkpoints({.directory = directory / "checkpoints"});
  checkpoints.save(session, line.graph);
  checkpoints.wait();
  CHECK(contains(message_of<DataError>([&] { read_bundle(checkpoints.latest()); }), "no bundle"));
}

TEST_CASE("replay: what cannot be kept is said beside the error") {
  const TemporaryDirectory directory;
  std::ofstream(directory / "file") << "no folder";
  Line line;
  Session session(line.graph, {.seed = 7, .check_numerics = true});
  const std::string message = train_until_nan(line, session, directory / "file" / "kept");
  CHECK_MESSAGE(message.starts_with("[log] 'log': made 1 NaN"), message);
  CHECK(contains(message, "; the run could not be kept: "));
}

}  // namespace gradgraph::tests
