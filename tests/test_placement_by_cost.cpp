#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "placement/placement.h"

/// Where nodes go whose session leaves the choice to estimates. No kernel runs here.
namespace gg = gradgraph;
using gg::Output;
using gg::PlacementReason;

namespace {

/// A host, and a device that is fast once values are there: a node's work takes it a hundredth.
gg::PlacementOptions with_costs(double copy_seconds = 20e-6) {
  gg::PlacementOptions options;
  options.devices = {"cpu", "fast:0"};
  options.default_device = 1;
  options.supports = [](const gg::Node&, std::string_view) { return true; };
  options.choices = {0, 1};
  const gg::DeviceCosts::Copies copies = {copy_seconds, 10e9};
  options.costs = {{.flops_per_second = 50e9,
                    .bytes_per_second = 10e9,
                    .node_seconds = 1e-6,
                    .recorded_node_seconds = 1e-6},
                   {.flops_per_second = 5e12,
                    .bytes_per_second = 1e12,
                    .node_seconds = 8e-6,
                    .recorded_node_seconds = 8e-6,
                    .from_host = copies,
                    .to_host = copies}};
  return options;
}

gg::Node& fetch(Output x) { return x.graph().add(gg::op_registry().at("fetch"), {x}, {}, {}); }

struct Placed {
  Placed(gg::Graph& graph, gg::PlacementOptions by)
      : options(std::move(by)), placement(gg::place(graph, options)) {
    gg::verify(graph);
    gg::verify(graph, placement, options);
    for (const gg::Node& node : graph.nodes()) copies += node.op().name == "copy";
  }
  const std::string& device(Output x) const {
    return options.devices[static_cast<std::size_t>(at(placement.device, x))];
  }
  PlacementReason reason(Output x) const { return at(placement.reason, x); }
  template <class T>
  static const T& at(const std::vector<T>& list, Output x) {
    return list[static_cast<std::size_t>(x.node().id())];
  }

  gg::PlacementOptions options;
  gg::Placement placement;
  int copies = 0;
};

/// What a placed graph takes, counted from its nodes and "copy" nodes.
double count_seconds(const gg::Graph& graph, const Placed& placed) {
  double seconds = 0, recorded = 0;
  int used = -1;
  for (const gg::Node& node : graph.nodes()) {
    const int device = placed.placement.device[static_cast<std::size_t>(node.id())];
    const gg::DeviceCosts& costs = placed.options.costs[static_cast<std::size_t>(device)];
    const gg::Traits& traits = node.op().traits;
    if (node.op().name == "copy") {
      const int from =
          placed.placement.device[static_cast<std::size_t>(node.input(0).node().id())];
      const auto& source = placed.options.costs[static_cast<std::size_t>(from)];
      const double bytes = static_cast<double>(node.shape().num_elements()) *
                           static_cast<double>(gg::size_of(node.dtype()));
      seconds += gg::copy_seconds(bytes, device == 0 ? source.to_host : costs.from_host);
    } else if (!traits.no_kernel && !traits.alias && !traits.moves_value) {
      seconds += gg::work_seconds(node, costs) + costs.node_seconds;
      recorded += costs.node_seconds - costs.recorded_node_seconds;
      used = used == -1 || used == device ? device : -2;
    }
  }
  return seconds - (used >= 0 ? recorded : 0);
}

/// Of elementwise ops, products, reshapes and reductions of two variables, a feed and a constant,
/// with requests and updates, between three devices.
void build_random(gg::Graph& graph, std::mt19937_64& random, int nodes,
                  const std::vector<std::string>& devices) {
  const std::int64_t n = std::int64_t{1} << (random() % 9);
  std::vector<Output> values = {gg::placeholder(graph, gg::float32, {n, n}, "x"),
                                gg::constant(graph, gg::Tensor::zeros(gg::float32, {n, n})),
                                gg::variable(graph, gg::float32, {n, n}, "v"),
                                gg::variable(graph, gg::float32, {n, n}, "w")};
  const Output v = values[2], w = values[3];
  while (graph.num_nodes() < nodes) {
    const auto any = [&] { return values[random() % values.size()]; };
    const auto device =
        gg::device_scope(graph, random() % 10 == 0 ? devices[random() % devices.size()] : "");
    switch (random() % 6) {
      case 0: values.push_back(gg::matmul(any(), any())); break;
      case 1: values.push_back(gg::reshape(gg::reshape(any(), {n * n}), {n, n})); break;
      case 2: values.push_back(any() * gg::mean(any())); break;
      case 3: values.push_back(gg::relu(any())); break;
      default: values.push_back(any() + any());
    }
  }
  gg::assign_sub(v, values.back());
  gg::assign_add(w, values[values.size() / 2]);
  fetch(values.back());
  fetch(gg::sum(values[values.size() / 3]));
}

gg::PlacementOptions random_costs(std::mt19937_64& random) {
  gg::PlacementOptions options = with_costs();
  options.devices = {"cpu", "fast:0", "other:0"};
  options.choices = {0, 1, 2};
  options.costs.resize(3);
  const auto any = [&](double least, double most) {
    return least * std::pow(most / least, static_cast<double>(random() >> 11) * 0x1p-53);
  };
  for (gg::DeviceCosts& costs : options.costs) {
    costs.flops_per_second = any(1e9, 1e13);
    costs.bytes_per_second = any(1e9, 1e12);
    costs.node_seconds = any(1e-7, 1e-5);
    costs.recorded_node_seconds = costs.node_seconds * any(0.1, 1);
    costs.from_host = {any(1e-6, 1e-4), any(1e9, 1e11)};
    costs.to_host = {any(1e-6, 1e-4), any(1e9, 1e11)};
  }
  options.default_device = static_cast<int>(random() % 3);
  options.supports = [](const gg::Node& node, std::string_view kind) {
    return kind == "cpu" || node.op().name != (kind == "fast" ? "relu" : "assign_add");
  };
  return options;
}

bool same_value(double a, double b) { return std::abs(a - b) <= 1e-9 * std::abs(a); }

}  // namespace

TEST_SUITE("placement by cost") {
  TEST_CASE("a large product is worth its copies, a chain of scalars is not") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {1024, 1024}, "x");
    const auto step = gg::placeholder(graph, gg::float32, {}, "step");
    const auto product = gg::matmul(x, x);
    Output rate = step;
    std::vector<Output> chain;
    for (int i = 0; i < 8; ++i) chain.push_back(rate = rate * 0.5f);
    const auto result = gg::sum(product) * rate;
    fetch(result);
    const Placed placed(graph, with_costs());
    CHECK(placed.device(product) == "fast:0");
    CHECK(placed.reason(product) == PlacementReason::cost);
    for (const Output& value : chain) CHECK(placed.device(value) == "cpu");
    CHECK(placed.device(result) == "cpu");
    CHECK(placed.copies == 2);  // x there, and the sum back
    CHECK(same_value(placed.placement.estimate.seconds, count_seconds(graph, placed)));
  }

  TEST_CASE("where copies are dear, all is on one device") {
    for (const bool large : {false, true}) {
      gg::Graph graph;
      const std::int64_t n = large ? 2048 : 16;
      const auto x = gg::placeholder(graph, gg::float32, {n, n}, "x");
      const auto a = gg::matmul(x, x), b = gg::mean(a) * 0.5f, c = gg::matmul(a + b, a);
      fetch(c);
      const Placed placed(graph, with_costs(1e-3));
      for (const Output& value : {a, b, c})
        CHECK(placed.device(value) == (large ? "fast:0" : "cpu"));
    }
  }

  TEST_CASE("a request wins, and the rest follows what it makes cheap") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {1024, 1024}, "x");
    Output asked;
    {
      const auto device = gg::device_scope(graph, "cpu");
      asked = gg::matmul(x, x);
    }
    const auto after = asked + 1.f;
    fetch(after);
    const Placed placed(graph, with_costs());
    CHECK(placed.device(asked) == "cpu");
    CHECK(placed.reason(asked) == PlacementReason::requested);
    CHECK(placed.device(after) == "cpu");
  }

  TEST_CASE("an update stays with its variable, which counts as being there") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {64, 1024}, "x");
    const auto w = gg::variable(graph, gg::float32, {1024, 1024}, "w");
    const auto product = gg::matmul(x, w);
    const auto gradient = gg::matmul(x, product, {.transpose_a = true});
    const auto update = gg::assign_sub(w, gradient);
    const Placed placed(graph, with_costs());
    CHECK(placed.device(w) == "fast:0");
    CHECK(placed.device(update) == "fast:0");
    CHECK(placed.reason(update) == PlacementReason::variable);
    CHECK(placed.copies == 1);  // x

    // Without a kernel for the update there, and copies of w in each step, it stays on the host.
    gg::PlacementOptions options = with_costs();
    options.supports = [](const gg::Node& node, std::string_view kind) {
      return kind == "cpu" || node.op().name != "assign_sub";
    };
    gg::Graph again;
    const auto v = gg::variable(again, gg::float32, {1024, 1024}, "w");
    const auto updated = gg::assign_sub(v, v * 0.5f);
    const Placed other(again, options);
    CHECK(other.device(v) == "cpu");
    CHECK(other.reason(v) == PlacementReason::only_kernel);
    CHECK(other.device(updated) == "cpu");
    CHECK(other.copies == 0);
  }

  TEST_CASE("a variable stays where the session has it") {
    gg::Graph graph;
    const auto w = gg::variable(graph, gg::float32, {8, 8}, "w");
    const auto y = gg::matmul(w, w);
    fetch(y);
    gg::PlacementOptions options = with_costs();
    options.home = [&](const gg::Node& node) { return &node == &w.node() ? 1 : -1; };
    const Placed placed(graph, options);
    CHECK(placed.device(w) == "fast:0");
    CHECK(placed.reason(w) == PlacementReason::home);
  }

  TEST_CASE("a step that is issued as a whole is worth more than a better mixture") {
    const auto place = [](double recorded) {
      gg::Graph graph;
      const auto w = gg::variable(graph, gg::float32, {512, 512}, "w");
      Output x = w, scalar = gg::constant(graph, gg::Tensor(0.5f));
      for (int i = 0; i < 10; ++i) x = gg::matmul(x, w);
      for (int i = 0; i < 12; ++i) scalar = gg::tanh(scalar);
      fetch(gg::sum(x));
      fetch(scalar);
      gg::PlacementOptions options = with_costs();
      options.costs[1].recorded_node_seconds = recorded;
      return Placed(graph, options).device(scalar);
    };
    CHECK(place(8e-6) == "cpu");
    CHECK(place(2e-6) == "fast:0");
  }

  TEST_CASE("of equal placements it is always the same one") {
    std::string first;
    for (int i = 0; i < 3; ++i) {
      gg::Graph graph;
      const auto x = gg::variable(graph, gg::float32, {16, 16}, "x");
      const auto y = x + x, z = gg::matmul(y, x);
      gg::assign(x, z);
      gg::PlacementOptions options = with_costs();
      options.costs[0] = options.costs[1];
      options.costs[0].from_host = options.costs[0].to_host = {};
      const Placed placed(graph, options);
      CHECK(placed.device(z) == "fast:0");  // the session's default
      const std::string text = gg::explain(graph, placed.placement, options);
      if (i == 0) first = text;
      CHECK(text == first);
    }
  }

  TEST_CASE("what is said of it") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {}, "x");
    const auto y = gg::exp(x);
    fetch(y);
    gg::PlacementOptions options = with_costs();
    options.costs[0].bytes_per_second = options.costs[1].bytes_per_second =
        std::numeric_limits<double>::infinity();
    options.costs[0].flops_per_second = options.costs[1].flops_per_second = 1e12;
    const Placed placed(graph, options);
    const std::string text = gg::explain(graph, placed.placement, options);
    CHECK(text.find("by cost: 1.0 us here, 48.0 us on fast:0\n") != std::string::npos);
    CHECK(text.find("estimated: 1.0 us a step as placed, 48.0 us on fast:0 alone, "
                    "1.0 us on cpu alone\n") != std::string::npos);
  }

  TEST_CASE("the estimate is what the placed graph takes, and never worse than one device") {
    int mixtures = 0;
    for (int i = 0; i < 300; ++i) {
      CAPTURE(i);
      std::mt19937_64 random(static_cast<std::uint64_t>(i));
      const gg::PlacementOptions options = random_costs(random);
      const auto nodes = static_cast<int>(10 + random() % 60);
      const std::mt19937_64 state = random;
      const auto build = [&](gg::Graph& graph) {
        std::mt19937_64 same = state;
        build_random(graph, same, nodes, options.devices);
      };
      gg::Graph graph;
      build(graph);
      const Placed placed(graph, options);
      const gg::CostEstimate& estimate = placed.placement.estimate;
      CHECK(same_value(estimate.seconds, count_seconds(graph, placed)));
      REQUIRE(estimate.alone.size() == 3);
      double best = std::numeric_limits<double>::infinity();
      for (const auto& [device, seconds] : estimate.alone) {
        // Counted from a graph whose session wants that device.
        gg::Graph single;
        build(single);
        gg::PlacementOptions one = options;
        one.choices = {};
        one.default_device = device;
        const Placed alone(single, one);
        best = std::min(best, count_seconds(single, alone));
        CHECK(same_value(seconds, count_seconds(single, alone)));
      }
      CHECK(estimate.seconds <= best * (1 + 1e-9));
      mixtures += estimate.seconds < best * (1 - 1e-6);
    }
    CHECK(mixtures > 100);
  }

  TEST_CASE("few small graphs have a better placement than the one that is found") {
    int best_found = 0;
    for (int i = 0; i < 40; ++i) {
      CAPTURE(i);
      std::mt19937_64 random(static_cast<std::uint64_t>(1000 + i));
      gg::PlacementOptions options = random_costs(random);
      options.supports = [](const gg::Node&, std::string_view) { return true; };
      options.devices.resize(2);  // which keeps all placements countable
      options.choices = {0, 1};
      options.costs.resize(2);
      options.default_device = 1;
      const std::mt19937_64 state = random;
      const auto build = [&](gg::Graph& graph) {
        std::mt19937_64 same = state;
        build_random(graph, same, 12, {""});
      };
      gg::Graph graph;
      build(graph);
      std::vector<std::size_t> free;
      for (std::size_t id = 0; id < graph.nodes().size(); ++id) {
        const gg::Node& node = graph.nodes()[id];
        const gg::Traits& traits = node.op().traits;
        // What a constant goes through has a place of its own, other reshapes follow.
        const bool follows = traits.alias && node.input(0).node().op().name != "constant";
        if ((!traits.no_kernel || node.op().name == "variable") && !follows &&
            !traits.moves_value && !traits.updates_variable)
          free.push_back(id);
      }
      const double found = Placed(graph, options).placement.estimate.seconds;
      options.choices = {};
      double best = std::numeric_limits<double>::infinity();
      for (std::uint64_t bits = 0; bits < std::uint64_t{1} << free.size(); ++bits) {
        gg::Graph one;
        build(one);
        for (std::size_t k = 0; k < free.size(); ++k)
          one.nodes()[free[k]].set_device(options.devices[bits >> k & 1]);
        best = std::min(best, count_seconds(one, Placed(one, options)));
      }
      CHECK(found >= best * (1 - 1e-9));
      best_found += found <= best * (1 + 1e-9);
    }
    MESSAGE("best of all: ", best_found, " of 40");
    CHECK(best_found >= 32);
  }

  TEST_CASE("the moves that are tried grow with the graph, no faster") {
    const auto moves = [](int nodes) {
      std::mt19937_64 random(1);
      gg::Graph graph;
      build_random(graph, random, nodes, {"cpu", "fast:0", ""});
      return Placed(graph, with_costs()).placement.estimate.moves_tried;
    };
    const std::int64_t few = moves(1000), many = moves(10'000);
    CHECK(few > 1000);
    CHECK(many < 200 * 10'000);
    CHECK(many < 16 * few);
  }
}
