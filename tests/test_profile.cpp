#include "gradgraph/profile.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "temporary_directory.h"

namespace gg = gradgraph;
using gradgraph::tests::TemporaryDirectory;

namespace {

/// A small net that is trained for some steps, with a wait before each.
struct Training {
  explicit Training(int steps, gg::ProfileOptions options = {}) : profile(options) {
    const auto x = gg::placeholder(graph, gg::float32, {gg::any, 8}, "x");
    const auto y = gg::nn::dense(gg::nn::dense(x, {.units = 16, .activation = gg::relu}, "first"),
                                 {.units = 4}, "second");
    const auto loss = gg::mean(gg::square(y));
    gg::Session session(graph, {.seed = 1, .node_times = true});
    auto step = session.prepare({x}, {loss, gg::Adam{}.minimize(loss)});
    const auto value = gg::Tensor::full(gg::float32, {32, 8}, 0.5);
    for (int i = 0; i < steps; ++i) {
      const auto before = std::chrono::steady_clock::now();
      profile.add_wait(before);
      step(value);
      profile.add_run(session.last_run());
      for (const gg::NodeTime& time : session.last_run().nodes) kernels.push_back(time.kernel);
      nodes_of_a_run = session.last_run().nodes.size();
    }
  }
  gg::Graph graph;
  gg::Profile profile;
  std::vector<std::string> kernels;
  std::size_t nodes_of_a_run = 0;
};

nlohmann::json trace_of(const gg::Profile& profile) {
  const TemporaryDirectory directory;
  const std::string path = (directory.path() / "trace.json").string();
  profile.write_trace(path);
  std::ifstream file(path);
  return nlohmann::json::parse(file).at("traceEvents");
}

double end_of(const nlohmann::json& span) {
  return span.at("ts").get<double>() + span.at("dur").get<double>();
}

}  // namespace

TEST_CASE("floating-point operations are counted by what ops say") {
  gg::Graph graph;
  const auto a = gg::placeholder(graph, gg::float32, {2, 3, 5}, "a");
  const auto b = gg::placeholder(graph, gg::float32, {5, 7}, "b");
  CHECK(gg::flops(gg::matmul(a, b).node()) == 2.0 * 2 * 3 * 5 * 7);
  const auto c = gg::placeholder(graph, gg::float32, {5, 3}, "c");
  CHECK(gg::flops(gg::matmul(c, b, {.transpose_a = true}).node()) == 2.0 * 3 * 5 * 7);
  CHECK(gg::flops(gg::tanh(a).node()) == 30);
  CHECK(gg::flops(gg::reshape(a, {30}).node()) == 0);

  const auto x = gg::placeholder(graph, gg::float32, {4, 9, 8, 6}, "x");
  const auto filter = gg::placeholder(graph, gg::float32, {3, 2, 6, 10}, "filter");
  const auto y = gg::conv2d(x, filter);
  const double products = 4.0 * 7 * 7 * 10 * (3 * 2 * 6);
  CHECK(gg::flops(y.node()) == 2 * products);
  // Both gradients take as many products as the convolution.
  for (const gg::Output& gradient : gg::gradients({gg::sum(y)}, {x, filter}))
    CHECK(gg::flops(gradient.node()) == 2 * products);
}

TEST_CASE("bytes count every value once") {
  gg::Graph graph;
  const auto a = gg::placeholder(graph, gg::float64, {4, 5}, "a");
  CHECK(gg::bytes_moved((a * a).node()) == 2 * 20 * 8);
  CHECK(gg::bytes_moved(gg::cast(a, gg::float32).node()) == 20 * 8 + 20 * 4);
  // Of what they do not need, nothing is read.
  const auto rows = gg::placeholder(graph, gg::int64, {2}, "rows");
  CHECK(gg::bytes_moved(gg::gather(a, rows, 0).node()) == 2 * 10 * 8 + 2 * 8);
}

TEST_CASE("a profile adds up") {
  const Training training(20);
  const gg::Profile& profile = training.profile;
  CHECK(profile.num_runs() == 17);
  const double explained =
      profile.node_seconds() + profile.feed_seconds() + profile.wait_seconds();
  CHECK(profile.node_seconds() > 0);
  CHECK(explained <= profile.total_seconds());

  const std::string table = profile.table({1e12, 1e11});
  for (const std::string& kernel : training.kernels) CHECK(table.find(kernel) != table.npos);
  CHECK(table.find("17 runs in ") != table.npos);
  CHECK(table.find("ceilings: 1000.0 GFLOP/s, 100.0 GB/s") != table.npos);
}

TEST_CASE("what is skipped is no part of a profile") {
  gg::Profile profile({.skipped_runs = 1});
  gg::RunStats run;
  const auto begin = std::chrono::steady_clock::now();
  const auto add = [&](int second) {
    run.start = begin + std::chrono::seconds(second);
    run.total_seconds = 1;
    profile.add_run(run);
  };
  add(0), add(10), add(20);
  CHECK(profile.num_runs() == 2);
  CHECK(profile.total_seconds() == doctest::Approx(11));  // with the time between the two
  profile.skip_time();
  add(100);
  CHECK(profile.total_seconds() == doctest::Approx(12));
}

TEST_CASE("a trace has every node, nested in its run") {
  const Training training(9, {.skipped_runs = 2, .traced_runs = 4});
  const nlohmann::json events = trace_of(training.profile);
  std::map<std::string, std::vector<nlohmann::json>> by_category;
  for (const auto& event : events) by_category[event.at("cat")].push_back(event);
  CHECK(by_category["run"].size() == 4);
  CHECK(by_category["feed"].size() == 4);
  CHECK(by_category["wait"].size() == 4);
  REQUIRE(by_category["node"].size() == 4 * training.nodes_of_a_run);
  CHECK(by_category["run"][0].at("args").at("step") == 2);

  for (std::size_t i = 0; i < by_category["node"].size(); ++i) {
    const auto& node = by_category["node"][i];
    const auto& run = by_category["run"][i / training.nodes_of_a_run];
    CHECK(node.at("name") == training.kernels[i % training.nodes_of_a_run]);
    CHECK(node.at("ts") >= run.at("ts"));
    CHECK(end_of(node) <= end_of(run) + 0.01);  // microseconds
    CHECK(node.at("args").at("bytes") > 0);
    CHECK(node.at("args").contains("op"));
    CHECK(node.at("args").contains("shapes"));
    if (i % training.nodes_of_a_run > 0)
      CHECK(node.at("ts") >= end_of(by_category["node"][i - 1]) - 0.01);
  }
}

TEST_CASE("arrows of a trace go from nodes to those that differentiate them") {
  const Training training(6, {.skipped_runs = 2, .traced_runs = 1});
  std::map<int, std::pair<int, int>> ends;
  std::map<int, double> starts;
  for (const auto& event : trace_of(training.profile)) {
    if (event.at("ph") == "s") ++ends[event.at("id")].first, starts[event.at("id")] = event["ts"];
    if (event.at("ph") == "f") {
      ++ends[event.at("id")].second;
      CHECK(event.at("ts") > starts.at(event.at("id")));
    }
  }
  CHECK(ends.size() >= 2);  // at least the matrix products
  for (const auto& [id, counts] : ends) CHECK(counts == std::pair(1, 1));
}

TEST_CASE("a trace that cannot be written is an error") {
  CHECK_THROWS_AS(gg::Profile().write_trace("/nowhere/trace.json"), gg::DataError);
}

TEST_CASE("ceilings are what a processor can do") {
  const gg::Ceilings ceilings = gg::measure_ceilings(1);
  CHECK(ceilings.flops_per_second > 1e8);
  CHECK(ceilings.bytes_per_second > 1e7);
}

TEST_CASE("nodes of several devices are held against their own ceilings") {
  gg::Graph graph;
  const auto a = gg::placeholder(graph, gg::float32, {2, 3}, "a");
  const auto b = gg::named(gg::exp(a), "b"), c = gg::named(gg::exp(b), "c");
  gg::RunStats run;
  run.nodes = {{&b.node(), "b", &b.node(), "one", "computing", 0.1, 1e-9},
               {&c.node(), "c", &c.node(), "two", "computing", 0.2, 1e-9},
               {&a.node(), "a", &a.node(), "two", "copying to it", 0.1, 1e-9}};
  gg::Profile profile({.skipped_runs = 0});
  profile.add_run(run);
  CHECK(profile.devices() == std::vector<std::string>{"one", "two"});
  const std::string table = profile.table({{12e9, 96e9, "one"}, {24e9, 48e9, "two"}});
  // 6 operations and 48 bytes in a nanosecond.
  const auto line_of = [&](const std::string& name) {
    const std::size_t begin = table.find("\n" + name + " ") + 1;
    return table.substr(begin, table.find('\n', begin) - begin);
  };
  CHECK(line_of("b").find("6.0  50.0 %    48.0  50.0 %") != std::string::npos);
  CHECK(line_of("c").find("6.0  25.0 %    48.0 100.0 %") != std::string::npos);
  CHECK(table.find("ceilings of two: 24.0 GFLOP/s, 48.0 GB/s") != std::string::npos);

  std::map<std::string, int> row_of;
  std::map<int, std::string> names;
  for (const auto& event : trace_of(profile)) {
    if (event.at("ph") == "M") names[event.at("tid")] = event.at("args").at("name");
    if (event.at("cat") == "node") row_of[event.at("name")] = event.at("tid");
  }
  CHECK(names[row_of["b"]] == "one, computing");
  CHECK(names[row_of["c"]] == "two, computing");
  CHECK(names[row_of["a"]] == "two, copying to it");
}

TEST_CASE("devices are described") {
  const auto devices = gg::describe_devices();
  REQUIRE(devices.size() == gg::available_devices().size());
  CHECK(devices[0].name == "cpu");
  CHECK(devices[0].words.find("processors, ") != std::string::npos);
  CHECK(devices[0].memory_bytes > devices[0].free_bytes);
  CHECK(devices[0].free_bytes > 0);
}

TEST_CASE("a profile of nothing") {
  const gg::Profile profile;
  CHECK(profile.num_runs() == 0);
  CHECK(profile.table({1, 1}).find("0 runs") != std::string::npos);
  CHECK(trace_of(profile).empty());
}
