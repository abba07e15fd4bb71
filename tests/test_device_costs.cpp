#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "io/measure_devices.h"
#include "session/device_costs.h"
#include "simulated_device.h"
#include "temporary_directory.h"

/// Sessions whose device is "auto", between the CPU and a simulated device whose costs a table
/// has.
namespace gg = gradgraph;
using gg::Tensor;

namespace {

class CacheFolder : public gg::tests::TemporaryCache {
 public:
  std::filesystem::path table() const { return folder() / "devices.json"; }
  std::string text() const {
    std::ifstream file(table());
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& text) const {
    std::filesystem::create_directories(folder());
    std::ofstream(table()) << text;
  }
  void replace(const std::string& old, const std::string& by) const {
    std::string all = text();
    const std::size_t at = all.find(old);
    REQUIRE(at != std::string::npos);
    write(all.replace(at, old.size(), by));
  }
};

std::string key_of(const std::string& device) {
  return gg::cost_key(*gg::device_registry().open(device), *gg::device_registry().open("cpu"));
}

/// Makes the simulated device known and keeps its costs: fast at large products, dear to reach.
void keep_costs() {
  gg::tests::add_simulated_devices("fast", 2);
  gg::keep_costs(gg::cost_table(), {{key_of("cpu"),
                                     {.flops_per_second = 10e9,
                                      .bytes_per_second = 100e9,
                                      .node_seconds = 1e-6,
                                      .recorded_node_seconds = 1e-6},
                                     1},
                                    {key_of("fast:0"),
                                     {.flops_per_second = 10e12,
                                      .bytes_per_second = 1e12,
                                      .node_seconds = 5e-6,
                                      .recorded_node_seconds = 5e-6,
                                      .from_host = {20e-6, 10e9},
                                      .to_host = {20e-6, 10e9}}}});
}

/// A large product and a chain of scalars.
struct Model {
  gg::Graph graph;
  gg::Output x = gg::placeholder(graph, gg::float32, {gg::any, 256}, "x");
  gg::Output w = gg::variable(graph, Tensor::zeros(gg::float32, {256, 256}), "w");
  gg::Output product = gg::named(gg::matmul(x, w), "product");
  gg::Output loss = gg::named(gg::mean(product), "loss");
  gg::Output update =
      gg::assign_sub(w, gg::matmul(x, gg::matmul(x, w) + 1.f, {.transpose_a = true}));
  gg::Output scalar = gg::named(gg::tanh(gg::variable(graph, Tensor(0.25f), "s")), "scalar");

  std::string explain(std::int64_t rows, gg::SessionOptions options = {}) {
    gg::Session session(graph, std::move(options));
    return explain(session, rows);
  }
  std::string explain(gg::Session& session, std::int64_t rows) {
    return session.explain_placement({{x, Tensor::zeros(gg::float32, {rows, 256})}},
                                     {loss, update, scalar});
  }
};

/// The device in a node's line.
std::string device_of(const std::string& text, const std::string& node) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name, op, device;
    words >> name >> op >> device;
    if (name == node) return device;
  }
  return "nowhere";
}

}  // namespace

TEST_SUITE("device costs") {
  TEST_CASE("without costs of another device, auto is the CPU, and nothing is said") {
    const CacheFolder cache;
    gg::tests::add_simulated_devices("fast", 2);
    const std::string text = Model().explain(512);
    CHECK(device_of(text, "w") == "cpu");
    CHECK(text.find("estimated") == std::string::npos);
  }

  TEST_CASE("a large product goes to the fast device, what is small stays") {
    const CacheFolder cache;
    keep_costs();
    Model model;
    const std::string text = model.explain(512);
    CAPTURE(text);
    CHECK(device_of(text, "w") == "fast:0");
    CHECK(device_of(text, "scalar") == "cpu");
    CHECK(text.find("by cost: ") != std::string::npos);
    CHECK(text.find(" us a step as placed, ") != std::string::npos);
    CHECK(
        text.find("\nfast:0: measured, 10000.0 GFLOP/s, 1000.0 GB/s, 5.00 us a node, copies "
                  "from the host 20.0 us and 10.0 GB/s, copies to it 20.0 us and 10.0 GB/s\n") !=
        std::string::npos);
    CHECK(device_of(model.explain(1), "w") == "cpu");
    // Who names a device gets that one.
    CHECK(device_of(model.explain(512, {.device = "cpu"}), "w") == "cpu");
    CHECK(device_of(model.explain(1, {.device = "fast"}), "w") == "fast:0");
  }

  TEST_CASE("results are those of the CPU, whatever goes where") {
    const CacheFolder cache;
    keep_costs();
    Model model;
    const auto train = [&](const std::string& device) {
      gg::Session session(model.graph, {.device = device, .threads = 1});
      std::vector<Tensor> results;
      for (const std::int64_t rows : {1, 512, 3}) {
        Tensor x(gg::float32, {rows, 256});
        for (float& value : x.span<float>()) value = static_cast<float>(rows) * 1e-3f;
        const auto step = session.run({{model.x, x}}, {model.loss, model.update, model.scalar});
        results.insert(results.end(), step.begin(), step.end());
      }
      return results;
    };
    const std::vector<Tensor> expected = train("cpu"), actual = train("auto");
    for (std::size_t i = 0; i < expected.size(); ++i)
      CHECK(actual[i].to_string() == expected[i].to_string());
  }

  TEST_CASE("all plans of a session have a variable in one place") {
    const CacheFolder cache;
    keep_costs();
    Model model;
    gg::Session session(model.graph);
    CHECK(device_of(model.explain(session, 512), "w") == "fast:0");
    const std::string text = model.explain(session, 1);
    CHECK(device_of(text, "w") == "fast:0");
    CHECK(text.find("where the session has it") != std::string::npos);
  }

  TEST_CASE("of a table that is damaged or of other machines nothing is taken, and it is said") {
    const CacheFolder cache;
    keep_costs();
    const std::string intact = cache.text();
    Model model;
    const auto says = [&](const std::string& words) {
      // What costs nobody knows is not chosen: the host's own are modelled, which says so where
      // there is a choice.
      gg::SessionMemory memory({"cpu", "fast:0"});
      const gg::DeviceChoices choices = gg::find_device_choices(memory, 1);
      CHECK(device_of(model.explain(512), "w") == (choices.devices.empty() ? "cpu" : "fast:0"));
      if (words.empty()) return choices.devices.empty();
      const bool found = choices.words.find(words) != std::string::npos;
      if (!found) MESSAGE(choices.words);
      return found;
    };
    CHECK(says("measured"));
    cache.replace('"' + key_of("cpu") + '"', "\"another processor\"");
    CHECK(says("cpu: not measured, so 40.0 GFLOP/s"));
    cache.write(intact);
    cache.replace(key_of("fast:0"), "another device");
    CHECK(says(""));
    for (const std::string& text :
         {std::string(), std::string("{"), std::string("[]"), intact.substr(0, intact.size() / 2),
          std::string(100'000, '['), std::string("{\"version\": 2, \"devices\": {}}")}) {
      cache.write(text);
      CHECK(says(""));
      CHECK(gg::find_costs(cache.table()).fault != "");
    }
    for (const auto& change : {std::pair{"1e-06", "-1"},
                               {"1e-06", "null"},
                               {"\"threads\": 1", "\"threads\": 0"},
                               {"10000000000.0", "0"},
                               {"\"node_seconds\"", "\"seconds\""}}) {
      CAPTURE(change.second);
      cache.write(intact);
      cache.replace(change.first, change.second);
      CHECK(says(""));
    }
    std::filesystem::remove(cache.table());
    std::filesystem::create_directory(cache.table());
    CHECK(says(""));
  }

  TEST_CASE("a table is written as a whole, and keeps what it has of others") {
    const CacheFolder cache;
    const gg::MeasuredCosts one{"one", {.flops_per_second = 1e9, .node_seconds = 1e-6}, 3};
    gg::MeasuredCosts two{"two", {.flops_per_second = 2e9}, 1};
    gg::keep_costs(cache.table(), {one});
    gg::keep_costs(cache.table(), {two});
    two.costs.flops_per_second = 4e9;
    gg::keep_costs(cache.table(), {two});
    CHECK(cache.text().find("\"one\"") != std::string::npos);
    CHECK(cache.text().find("4000000000.0") != std::string::npos);
    CHECK(cache.text().find("2000000000.0") == std::string::npos);
    cache.write("{ damaged");
    gg::keep_costs(cache.table(), {one});
    CHECK(cache.text().find("\"one\"") != std::string::npos);
    CHECK(std::distance(std::filesystem::directory_iterator(cache.folder()), {}) == 1);

    std::filesystem::remove(cache.table());
    std::filesystem::create_directories(cache.table() / "in the way");
    CHECK_THROWS_WITH_AS(gg::keep_costs(cache.table(), {one}),
                         doctest::Contains("devices.json: "), gg::DataError);
    CHECK(std::distance(std::filesystem::directory_iterator(cache.folder()), {}) == 1);
    CHECK_THROWS_WITH_AS(gg::keep_costs({}, {one}), doctest::Contains("no cache folder"),
                         gg::DataError);
  }

  TEST_CASE("devices can be measured") {
    gg::tests::add_simulated_devices("fast", 2);
    for (const std::string device : {"cpu", "fast:0"}) {
      CAPTURE(device);
      const gg::DeviceCosts costs =
          gg::measure_costs(device, {.rows = 64, .elements = 1 << 16, .bytes = 1 << 22}, 1);
      for (const double rate : {costs.flops_per_second, costs.bytes_per_second}) {
        CHECK(rate > 1e6);
        CHECK(rate < 1e14);
      }
      CHECK(costs.node_seconds >= 0);  // a difference of times, which other work may drown
      CHECK(costs.node_seconds < 1e-2);
      CHECK(costs.recorded_node_seconds <= costs.node_seconds);
      CHECK((costs.from_host.seconds > 0) == (device != "cpu"));
      CHECK((costs.to_host.bytes_per_second < 1e13) == (device != "cpu"));
    }
  }
}
