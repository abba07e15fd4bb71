#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "temporary_directory.h"

namespace gradgraph::tests {
namespace {

namespace fs = std::filesystem;

/// A little network with all kinds of state.
struct Training {
  Graph graph;
  Output x = placeholder(graph, float32, {any, 3}, "x");
  Output loss, train;
  Session session;

  explicit Training(std::int64_t units = 4, SessionOptions options = {.seed = 5})
      : loss(make_loss(units)),
        train(Adam{.learning_rate = 0.1}.minimize(loss)),
        session(graph, std::move(options)) {}

  float step() {
    const Tensor fed{{1.f, 2.f, 3.f}, {-1.f, 0.5f, 0.f}};
    return session.run({{x, fed}}, {loss, train})[0].item<float>();
  }
  void steps(int count) {
    for (int i = 0; i < count; ++i) step();
  }
  /// All variables' bytes, and the step.
  std::string state() {
    std::string bytes = std::to_string(session.step());
    for (const Output& variable : variables(graph)) {
      const Tensor value = session.value(variable);
      bytes.append(static_cast<const char*>(value.raw()), value.bytes());
    }
    return bytes;
  }

 private:
  Output make_loss(std::int64_t units) {
    const Output yes = constant(graph, Tensor(true));
    Output h = nn::dense(x, {.units = units, .activation = relu});
    h = nn::batch_norm(nn::dropout(h, 0.5, yes), {.training = yes}).output;
    return mean(square(nn::dense(h, {.units = 2}) - 1));
  }
};

struct Folder {
  TemporaryDirectory parent;
  fs::path path = parent / "checkpoints";
  std::vector<std::string> warnings;

  Checkpoints open(CheckpointOptions options = {}) {
    options.directory = path;
    options.warn = [this](const std::string& text) { warnings.push_back(text); };
    return Checkpoints(std::move(options));
  }
  /// What is visible there, in order.
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : fs::directory_iterator(path))
      if (entry.path().filename() != ".lock") result.push_back(entry.path().filename());
    std::ranges::sort(result);
    return result;
  }
};

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

void save_after(Checkpoints& checkpoints, Training& training, int steps,
                const TrainingProgress& progress = {}) {
  training.steps(steps);
  checkpoints.save(training.session, training.graph, progress);
}

}  // namespace

TEST_CASE("checkpoints: training goes on to the same bits") {
  Folder folder;
  Training whole;
  whole.steps(30);
  const TrainingProgress progress{.epoch = 3,
                                  .position = 17,
                                  .data_seed = ~std::uint64_t{0},
                                  .metrics = {{"loss", 0.1},
                                              {"worst", std::numeric_limits<double>::infinity()},
                                              {"none", std::numeric_limits<double>::quiet_NaN()}},
                                  .counts = {{"bad epochs", (std::int64_t{1} << 62) + 1}},
                                  .numbers = {{"rate", 1e-300}},
                                  .texts = {{"order", "\u00e4 \"quoted\"\n"}}};
  {
    Training first;
    Checkpoints checkpoints = folder.open();
    CHECK(!checkpoints.restore(first.session, first.graph));
    save_after(checkpoints, first, 12, progress);
    first.steps(5);  // while it is written, or after it
  }
  CHECK(folder.names() == std::vector<std::string>{"step-00000012"});
  Training second;
  Checkpoints checkpoints = folder.open();
  const auto restored = checkpoints.restore(second.session, second.graph);
  REQUIRE(restored);
  CHECK(second.session.step() == 12);
  CHECK(restored->epoch == 3);
  CHECK(restored->position == 17);
  CHECK(restored->data_seed == progress.data_seed);
  CHECK(restored->metrics.at("loss") == 0.1);
  CHECK(std::isinf(restored->metrics.at("worst")));
  CHECK(std::isnan(restored->metrics.at("none")));
  CHECK(restored->counts == progress.counts);
  CHECK(restored->numbers == progress.numbers);
  CHECK(restored->texts == progress.texts);
  second.steps(18);
  CHECK(second.state() == whole.state());
  CHECK(folder.warnings.empty());

  // Others read the values, and one checkpoint alone is enough.
  CHECK(read_safetensors(folder.path / "step-00000012/variables.safetensors").tensors.size() ==
        variables(whole.graph).size());
  Training third;
  restore_checkpoint(third.session, third.graph, checkpoints.latest());
  third.steps(18);
  CHECK(third.state() == whole.state());
  // The folder above it is what is taken for one.
  CHECK(contains(
      message_of<DataError>([&] { restore_checkpoint(third.session, third.graph, folder.path); }),
      "is no checkpoint, but has some: name one, such as '" +
          (folder.path / "step-00000012").string()));
}

TEST_CASE("checkpoints: the newest and the best are kept") {
  Folder folder;
  Training training;
  Checkpoints checkpoints =
      folder.open({.keep = 2, .best = "accuracy", .higher_is_better = true});
  CHECK(checkpoints.latest().empty());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double accuracy : {0.5, 0.9, 0.9, nan, 0.7, 0.6})
    save_after(checkpoints, training, 1, {.metrics = {{"accuracy", accuracy}}});
  checkpoints.wait();
  CHECK(folder.names() ==
        std::vector<std::string>{"step-00000002", "step-00000005", "step-00000006"});
  CHECK(checkpoints.latest().filename() == "step-00000006");
  CHECK(checkpoints.best().filename() == "step-00000002");
  CHECK(checkpoints.restore_best(training.session, training.graph)->metrics.at("accuracy") ==
        0.9);
  CHECK(training.session.step() == 2);

  // From there on the newest are those that are written last.
  save_after(checkpoints, training, 1, {.metrics = {{"accuracy", 0.95}}});
  checkpoints.wait();
  CHECK(folder.names() == std::vector<std::string>{"step-00000003", "step-00000006"});
  CHECK(checkpoints.latest() == checkpoints.best());
  save_after(checkpoints, training, 3);  // step 6 again
  checkpoints.wait();
  CHECK(folder.names() == std::vector<std::string>{"step-00000003", "step-00000006"});
  CHECK(checkpoints.latest().filename() == "step-00000006");
  CHECK(folder.warnings.empty());
}

TEST_CASE("checkpoints: a damaged one is named, and the one before is used") {
  Folder folder;
  Training training;
  std::string states[3];
  {
    Checkpoints checkpoints = folder.open();
    for (std::string& state : states)
      save_after(checkpoints, training, 4), state = training.state();
  }
  const fs::path newest = folder.path / "step-00000012";
  const auto restored_state = [&] {
    folder.warnings.clear();
    Training other;
    folder.open().restore(other.session, other.graph);
    return other.state();
  };
  CHECK(restored_state() == states[2]);
  CHECK(folder.warnings.empty());

  const auto damage = [&](const fs::path& path, const std::string& bytes,
                          const std::string& fault) {
    const std::string whole = read_bytes(path);
    if (bytes.empty())
      fs::remove(path);
    else
      write_bytes(path, bytes);
    CAPTURE(fault);
    CHECK(restored_state() == states[1]);
    REQUIRE(folder.warnings.size() == 1);
    CAPTURE(folder.warnings[0]);
    CHECK(contains(folder.warnings[0], "a damaged checkpoint was left out: " + path.string()));
    CHECK(contains(folder.warnings[0], fault));
    write_bytes(path, whole);
  };
  for (const char* name : {"variables.safetensors", "manifest.json"}) {
    const fs::path path = newest / name;
    const std::string whole = read_bytes(path);
    const bool is_manifest = path.extension() == ".json";
    damage(path, "", "no such file");
    damage(path, whole.substr(0, whole.size() / 2), is_manifest ? "parse error" : "bytes, where");
    std::string flipped = whole;
    flipped[flipped.size() - 5] ^= 1;
    if (!is_manifest) damage(path, flipped, "the checksum of '");
    flipped = whole;
    flipped[flipped.find("float") == std::string::npos ? 12 : flipped.find("float")] ^= 2;
    damage(path, flipped, "checksum");
  }
  damage(newest / "manifest.json", std::string(1'000'000, '['), "too deep");
  damage(newest / "manifest.json", "{}", "manifest.json");
  CHECK(restored_state() == states[2]);

  for (const char* step : {"4", "8", "12"}) {
    const std::string name = std::string("step-000000") + (step[1] ? "" : "0") + step;
    write_bytes(folder.path / name / "variables.safetensors", "x");
  }
  Training other;
  const std::string before = other.state();
  Checkpoints checkpoints = folder.open();
  const std::string text =
      message_of<DataError>([&] { checkpoints.restore(other.session, other.graph); });
  CHECK(contains(text, "no checkpoint is whole:"));
  CHECK(contains(text, "step-00000004"));
  CHECK(contains(text, "step-00000012"));
  CHECK(other.state() == before);
}

TEST_CASE("checkpoints: a checkpoint of another graph says all that differs") {
  Folder folder;
  Training training;
  Checkpoints checkpoints = folder.open({.program = "first"});
  save_after(checkpoints, training, 1);
  Training wider(5);
  variable(wider.graph, Tensor(1.f), "more");
  const std::string before = wider.state();
  const std::string text =
      message_of<DataError>([&] { checkpoints.restore(wider.session, wider.graph); });
  CAPTURE(text);
  CHECK(contains(text, "step-00000001: a checkpoint of another graph (of 'first'):"));
  CHECK(contains(text, "'dense/kernel' is float32[3,4] there and float32[3,5] in the graph"));
  CHECK(contains(text, "'dense_1/kernel/adam/first_moment' is float32[4,2] there"));
  CHECK(contains(text, "it has no 'more', float32[]"));
  CHECK(contains(text, "(test_checkpoints.cpp:"));
  CHECK(wider.state() == before);

  Training seeded(4, {.seed = 6});
  checkpoints.restore(seeded.session, seeded.graph);
  REQUIRE(folder.warnings.size() == 1);
  CHECK(contains(folder.warnings[0], "the session's seed was 5 and is 6"));
}

TEST_CASE("checkpoints: what a killed process left is put right") {
  Folder folder;
  Training training;
  {
    Checkpoints checkpoints = folder.open();
    for (int i = 0; i < 2; ++i) save_after(checkpoints, training, 1);
  }
  const std::string last = training.state();
  fs::create_directory(folder.path / ".unfinished-step-00000003");
  write_bytes(folder.path / ".unfinished-step-00000003/variables.safetensors", "half");
  fs::create_directory(folder.path / ".removed-step-00000001");
  fs::rename(folder.path / "step-00000002", folder.path / ".replaced-step-00000002");
  write_bytes(folder.path / "notes.txt", "the user's own");
  Training other;
  REQUIRE(folder.open().restore(other.session, other.graph));
  CHECK(other.state() == last);
  CHECK(folder.names() ==
        std::vector<std::string>{"notes.txt", "step-00000001", "step-00000002"});
}

TEST_CASE("checkpoints: errors are clear, and nothing older is lost") {
  Folder folder;
  Training training;
  CHECK(contains(message_of<BuildError>([&] { folder.open({.keep = 0}); }),
                 "0 checkpoints to keep"));
  CHECK(contains(message_of<BuildError>([] { Checkpoints({}); }), "need a directory"));
  write_bytes(folder.parent / "file", "");
  CHECK(contains(
      message_of<DataError>([&] { Checkpoints({.directory = folder.parent / "file/below"}); }),
      "file/below: cannot be made: Not a directory"));

  {
    Checkpoints checkpoints = folder.open();
    CHECK(contains(message_of<DataError>([&] { folder.open(); }),
                   "process " + std::to_string(getpid()) + " has it"));
    CHECK(
        contains(message_of<BuildError>([&] {
                   checkpoints.save(training.session, training.graph, {.texts = {{"a", "\xff"}}});
                 }),
                 "is no UTF-8"));
    save_after(checkpoints, training, 1);
    checkpoints.wait();

    // The folder goes away under it: training goes on, and hears of it.
    fs::rename(folder.path, folder.parent / "elsewhere");
    save_after(checkpoints, training, 1);
    CHECK(folder.warnings.empty());
    save_after(checkpoints, training, 1);
    REQUIRE(folder.warnings.size() == 1);
    CHECK(contains(folder.warnings[0], "the checkpoint of step 2 could not be written: "));
    CHECK(contains(folder.warnings[0], "No such file or directory"));
    CHECK(contains(message_of<DataError>([&] { checkpoints.wait(); }), "step 3 could not"));
    fs::rename(folder.parent / "elsewhere", folder.path);
    save_after(checkpoints, training, 1);
    CHECK_NOTHROW(checkpoints.wait());
  }
  CHECK(folder.names() == std::vector<std::string>{"step-00000001", "step-00000004"});

  // Another training must not mix with it.
  Training other;
  Checkpoints checkpoints = folder.open();
  CHECK(contains(message_of<DataError>([&] { save_after(checkpoints, other, 1); }),
                 "there are checkpoints of another training, up to 'step-00000004'"));
  CHECK(folder.names().size() == 2);
}

TEST_CASE("checkpoints: of a later version") {
  Folder folder;
  Training training;
  {
    Checkpoints checkpoints = folder.open();
    save_after(checkpoints, training, 1);
  }
  // With the checksum that a later library would give it.
  write_bytes(folder.path / "step-00000001/manifest.json",
              R"({"content":{"format":2},"crc32":"843390fa"})");
  Checkpoints checkpoints = folder.open();
  const std::string text =
      message_of<DataError>([&] { checkpoints.restore(training.session, training.graph); });
  CAPTURE(text);
  CHECK(contains(text, "it is of format 2, and this version of gradgraph reads 1"));
}

TEST_CASE("a variable's copy keeps its memory, unless somebody shares it") {
  Graph graph;
  const Output w = variable(graph, Tensor{1.f, 2.f}, "w");
  Session session(graph);
  Tensor copy;
  session.value(w, copy);
  CHECK(copy.at<float>({1}) == 2.f);
  const void* memory = copy.raw();
  session.set_value(w, Tensor{3.f, 4.f});
  session.value(w, copy);
  CHECK(copy.raw() == memory);
  CHECK(copy.at<float>({1}) == 4.f);
  const Tensor shared = copy;
  session.set_value(w, Tensor{5.f, 6.f});
  session.value(w, copy);
  CHECK(copy.raw() != memory);
  CHECK(shared.at<float>({1}) == 4.f);
  Tensor other(int64, {2});
  session.value(w, other);
  CHECK(other.dtype() == float32);
}

TEST_CASE("checkpoints: what nothing ever set stays so") {
  Folder folder;
  Graph graph;
  const Output unset = variable(graph, float32, {2}, "unset");
  const Output set = variable(graph, float32, {2}, "set");
  {
    Session session(graph);
    session.set_value(set, Tensor{1.f, 2.f});
    Checkpoints checkpoints = folder.open();
    checkpoints.save(session, graph);
  }
  Session session(graph);
  REQUIRE(folder.open().restore(session, graph));
  CHECK(session.value(set).at<float>({1}) == 2.f);
  CHECK(!session.is_initialized(unset));
}

}  // namespace gradgraph::tests
