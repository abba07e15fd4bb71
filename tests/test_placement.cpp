#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <utility>

#include "gradgraph/gradgraph.h"
#include "placement/placement.h"

/// Where nodes go, why, and what is copied. No kernel runs here: the tests say which exist.
namespace gg = gradgraph;
using gg::PlacementReason;

namespace {

struct Placed {
  gg::Graph& graph;
  gg::PlacementOptions options;
  gg::Placement placement;

  const std::string& device(gg::Output x) const {
    return options.devices[static_cast<std::size_t>(
        placement.device[static_cast<std::size_t>(x.node().id())])];
  }
  PlacementReason reason(gg::Output x) const {
    return placement.reason[static_cast<std::size_t>(x.node().id())];
  }
  int count(std::string_view op) const {
    int found = 0;
    for (const gg::Node& node : graph.nodes()) found += node.op().name == op;
    return found;
  }
};

gg::PlacementOptions on_devices(std::vector<std::string> devices, int default_device = 0) {
  gg::PlacementOptions options;
  options.devices = std::move(devices);
  options.default_device = default_device;
  options.supports = [](const gg::Node&, std::string_view) { return true; };
  return options;
}

/// No kernels for `op` on devices of `kind`.
gg::PlacementOptions without(gg::PlacementOptions options, std::string op, std::string kind) {
  options.supports = [op = std::move(op), kind = std::move(kind)](const gg::Node& node,
                                                                  std::string_view device) {
    return node.op().name != op || device != kind;
  };
  return options;
}

/// Places, then checks what must hold of every placement.
Placed checked_place(gg::Graph& graph, const gg::PlacementOptions& options) {
  Placed placed{graph, options, gg::place(graph, options)};
  gg::verify(graph);
  REQUIRE(placed.placement.device.size() == graph.nodes().size());
  REQUIRE(placed.placement.reason.size() == graph.nodes().size());
  std::string faults;
  std::set<std::tuple<gg::Node*, int, int>> crossings;
  for (gg::Node& node : graph.nodes()) {
    const auto at = [&](const gg::Node& n) {
      return placed.placement.device[static_cast<std::size_t>(n.id())];
    };
    if (at(node) < 0) faults += node.name() + " is nowhere; ";
    const gg::Traits& traits = node.op().traits;
    const bool is_copy = node.op().name == "copy";
    for (int i = 0; i < node.num_inputs(); ++i) {
      const gg::Output& input = node.input(i);
      const bool moves = at(input.node()) != at(node);
      const auto kind = [&](const gg::Node& n) {
        const int device = at(n);
        return gg::kind_of(placed.options.devices[static_cast<std::size_t>(device)]);
      };
      const bool direct =
          at(input.node()) == 0 || at(node) == 0 || kind(input.node()) == kind(node);
      const bool unread = (traits.static_inputs >> i & 1u) != 0 || traits.shape_only;
      const bool first = !is_copy || !node.control_inputs().empty() ||
                         crossings.emplace(&input.node(), input.index(), at(node)).second;
      if (is_copy ? !moves || !direct || !first : moves && !unread)
        faults += node.name() + " reads " + input.name() + "; ";
    }
  }
  CHECK(faults == "");
  return placed;
}

gg::Node& fetch(gg::Output x) {
  return x.graph().add(gg::op_registry().at("fetch"), {x}, {}, {});
}

gg::Output floats(gg::Graph& graph, std::string_view name) {
  return gg::placeholder(graph, gg::float32, {2, 3}, name);
}

}  // namespace

TEST_SUITE("placement") {
  TEST_CASE("one device takes everything") {
    gg::Graph graph;
    const auto x = floats(graph, "x");
    const auto y = x * 2.f;
    fetch(y);
    const int before = graph.num_nodes();
    const auto placed = checked_place(graph, on_devices({"cpu"}));
    CHECK(graph.num_nodes() == before);
    CHECK(placed.device(y) == "cpu");
    CHECK(placed.reason(x) == PlacementReason::host_value);
    CHECK(placed.reason(y) == PlacementReason::session);
  }

  TEST_CASE("a request goes before the session's device") {
    gg::Graph graph;
    const auto x = floats(graph, "x");
    gg::Output on_host, on_second;
    {
      const auto device = gg::device_scope(graph, "cpu");
      on_host = x + x;
    }
    {
      const auto device = gg::device_scope(graph, "sim:1");
      on_second = x + x;
    }
    const auto anywhere = x + x;
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0", "sim:1"}, 1));
    CHECK(placed.device(on_host) == "cpu");
    CHECK(placed.reason(on_host) == PlacementReason::requested);
    CHECK(placed.device(on_second) == "sim:1");
    CHECK(placed.reason(on_second) == PlacementReason::requested);
    CHECK(placed.device(anywhere) == "sim:0");
    CHECK(placed.reason(anywhere) == PlacementReason::session);
  }

  TEST_CASE("a kind of device means its first") {
    gg::Graph graph;
    const auto device = gg::device_scope(graph, "sim");
    const auto y = floats(graph, "x") + 1.f;
    CHECK(checked_place(graph, on_devices({"cpu", "sim:0", "sim:1"})).device(y) == "sim:0");
  }

  TEST_CASE("a device that has just that name goes first") {
    gg::Graph graph;
    const auto device = gg::device_scope(graph, "sim");
    const auto y = floats(graph, "x") + 1.f;
    CHECK(checked_place(graph, on_devices({"cpu", "sim:0", "sim"})).device(y) == "sim");
  }

  TEST_CASE("feeds and fetches stay on the host, whatever is asked for") {
    gg::Graph graph;
    const auto device = gg::device_scope(graph, "sim:0");
    const auto x = floats(graph, "x");
    const auto y = x + x;
    const gg::Node& fetched = fetch(y);
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0"}));
    CHECK(placed.device(x) == "cpu");
    CHECK(placed.device(y) == "sim:0");
    CHECK(placed.placement.device[static_cast<std::size_t>(fetched.id())] == 0);
    CHECK(fetched.input(0).node().op().name == "copy");
    CHECK(fetched.input(0).name() == "add@cpu");
    CHECK(y.node().input(0).name() == "x@sim:0");
    CHECK(placed.count("copy") == 2);
  }

  TEST_CASE("updates go where their variable is") {
    gg::Graph graph;
    gg::Output v, w;
    {
      const auto device = gg::device_scope(graph, "sim:0");
      v = gg::variable(graph, gg::float32, {2, 3}, "v");
    }
    w = gg::variable(graph, gg::float32, {2, 3}, "w");
    const auto x = floats(graph, "x");
    const auto update_v = gg::assign_add(v, x);
    const auto update_w = gg::assign(w, v);
    const auto all = gg::group(graph, {update_v, update_w});
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0"}));
    CHECK(placed.reason(v) == PlacementReason::requested);
    CHECK(placed.device(update_v) == "sim:0");
    CHECK(placed.reason(update_v) == PlacementReason::variable);
    CHECK(placed.reason(w) == PlacementReason::session);
    CHECK(placed.device(update_w) == "cpu");
    CHECK(placed.reason(gg::Output(all.node(), 0)) == PlacementReason::order_only);
    CHECK(update_v.node().input(0) == v);  // an update writes the variable, never a copy
  }

  TEST_CASE("a variable goes where all its updates can run") {
    gg::Graph graph;
    const auto v = gg::variable(graph, gg::float32, {2, 3}, "v");
    gg::assign(v, floats(graph, "x"));
    const auto update = gg::assign_sub(v, v);
    const auto placed =
        checked_place(graph, without(on_devices({"cpu", "sim:0"}, 1), "assign_sub", "sim"));
    CHECK(placed.device(v) == "cpu");
    CHECK(placed.reason(v) == PlacementReason::fallback);
    CHECK(placed.device(update) == "cpu");
  }

  TEST_CASE("a variable's home does not depend on which updates a run needs") {
    gg::Graph user;
    const auto v = gg::variable(user, gg::float32, {2, 3}, "v");
    gg::assign_sub(v, v);
    gg::Graph copy;
    const gg::Output only = copy.add_copy(v.node(), {}).output();
    const auto placed =
        checked_place(copy, without(on_devices({"cpu", "sim:0"}, 1), "assign_sub", "sim"));
    CHECK(placed.device(only) == "cpu");
  }

  TEST_CASE("what only renames bytes stays beside them") {
    gg::Graph graph;
    const auto x = floats(graph, "x");
    const auto flat = gg::reshape(x, {6});
    const auto again = gg::expand_dims(flat, 0);
    gg::Output asked;
    {
      const auto device = gg::device_scope(graph, "sim:0");
      asked = gg::reshape(x, {3, 2});
    }
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0"}, 1));
    CHECK(placed.device(flat) == "cpu");
    CHECK(placed.reason(flat) == PlacementReason::beside_input);
    CHECK(placed.device(again) == "cpu");
    CHECK(placed.device(asked) == "sim:0");
    CHECK(placed.reason(asked) == PlacementReason::requested);
  }

  TEST_CASE("static inputs are never copied") {
    gg::Graph graph;
    const auto x = floats(graph, "x");
    const auto device = gg::device_scope(graph, "sim:0");
    const auto wide = gg::broadcast_to(x, {4, 2, 3});
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0"}));
    const gg::Output shape = wide.node().input(1);
    CHECK(shape.node().op().name == "constant");
    CHECK(placed.device(shape) == "cpu");
    CHECK(placed.reason(shape) == PlacementReason::host_value);
    CHECK(placed.count("constant") == 1);
    CHECK(placed.count("copy") == 1);
  }

  TEST_CASE("a constant is made once for each device that reads it") {
    gg::Graph graph;
    const auto c = gg::constant(graph, gg::Tensor{1.f, 2.f, 3.f}, "c");
    const auto x = floats(graph, "x");
    std::vector<gg::Output> readers;
    for (const char* name : {"cpu", "sim:0", "sim:1", "sim:0", "cpu"}) {
      const auto device = gg::device_scope(graph, name);
      readers.push_back(x + c);
    }
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0", "sim:1"}));
    CHECK(placed.count("constant") == 3);
    CHECK(placed.count("copy") == 2);  // of x
    CHECK(readers[1].node().input(1) == readers[3].node().input(1));
    CHECK(readers[0].node().input(1) == readers[4].node().input(1));
    CHECK(placed.reason(readers[2].node().input(1)) == PlacementReason::beside_reader);
    CHECK(readers[2].node().input(1).name() == "c@sim:1");
  }

  TEST_CASE("a value crosses once, however many read it") {
    gg::Graph graph;
    const auto x = floats(graph, "x");
    const auto y = x + x;  // the session's device, sim:0
    std::vector<gg::Output> readers;
    {
      const auto device = gg::device_scope(graph, "sim:1");
      for (int i = 0; i < 5; ++i) readers.push_back(y * y);
    }
    {
      const auto device = gg::device_scope(graph, "cpu");
      for (int i = 0; i < 5; ++i) readers.push_back(y * y);
    }
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0", "sim:1"}, 1));
    // x to sim:0; y to sim:1, and to the host.
    CHECK(placed.count("copy") == 3);
    CHECK(readers[0].node().input(0).name() == "add@sim:1");
    CHECK(readers[0].node().input(0).node().input(0) == y);
    CHECK(readers[5].node().input(0).name() == "add@cpu");
  }

  TEST_CASE("between devices of two kinds a value goes through the host") {
    gg::Graph graph;
    const auto x = floats(graph, "x");
    const auto y = x + x;
    gg::Output reader;
    {
      const auto device = gg::device_scope(graph, "other:0");
      reader = y * y;
    }
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0", "other:0"}, 1));
    CHECK(placed.count("copy") == 3);
    CHECK(reader.node().input(0).name() == "add@other:0");
    CHECK(reader.node().input(0).node().input(0).name() == "add@cpu");
  }

  TEST_CASE("each output of a node crosses by itself") {
    gg::Graph graph;
    const auto parts = gg::split(floats(graph, "x"), {1, 1}, 0);
    const auto device = gg::device_scope(graph, "sim:0");
    const auto y = parts[0] + parts[1];
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0"}));
    CHECK(placed.count("copy") == 2);
    CHECK(y.node().input(0).name() == "split@sim:0");
    CHECK(y.node().input(1).name() == "split:1@sim:0");
  }

  TEST_CASE("a variable read after an update crosses at that time") {
    gg::Graph graph;
    const auto v = gg::variable(graph, gg::float32, {2, 3}, "v");
    const auto update = gg::assign_add(v, v);
    gg::Output before, again, after_control, after_value;
    {
      const auto device = gg::device_scope(graph, "sim:0");
      before = v + v;
      again = v * v;
      after_value = v * (update + before);
      const auto later = gg::control_dependencies(graph, {update});
      after_control = v * v;
    }
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0"}));
    const gg::Node& early = before.node().input(0).node();
    CHECK(early.control_inputs().empty());
    CHECK(again.node().input(0) == before.node().input(0));
    const auto waits_for = [](gg::Output reader, gg::Output awaited) {
      const auto& controls = reader.node().input(0).node().control_inputs();
      return std::count(controls.begin(), controls.end(), &awaited.node()) > 0;
    };
    CHECK(waits_for(after_control, update));
    CHECK(waits_for(after_value, after_value.node().input(1)));
    CHECK(placed.count("copy") == 4);  // of v at three times, and of the update's value
  }

  TEST_CASE("without a kernel a node falls back: to the session's device first, then to any") {
    const auto build = [](gg::Graph& graph) {
      const auto x = floats(graph, "x");
      const auto device = gg::device_scope(graph, "fast:0");
      return x + x;
    };
    gg::Graph graph, again;
    auto options = without(on_devices({"cpu", "fast:0", "sim:0"}, 2), "add", "fast");
    const auto y = build(graph);
    const auto placed = checked_place(graph, options);
    CHECK(placed.device(y) == "sim:0");
    CHECK(placed.reason(y) == PlacementReason::fallback);
    options.supports = [](const gg::Node&, std::string_view kind) { return kind == "cpu"; };
    const auto z = build(again);
    CHECK(checked_place(again, options).device(z) == "cpu");
  }

  TEST_CASE("softly, a device that is not there is passed over") {
    gg::Graph graph;
    const auto device = gg::device_scope(graph, "gpu:7");
    const auto x = floats(graph, "x");
    const auto y = x + x;
    const auto flat = gg::reshape(y, {6});
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0"}, 1));
    CHECK(placed.device(y) == "sim:0");
    CHECK(placed.reason(y) == PlacementReason::fallback);
    CHECK(placed.device(flat) == "sim:0");
    CHECK(placed.reason(flat) == PlacementReason::fallback);
  }

  TEST_CASE("copies keep the line and the user's node of what they copy") {
    gg::Graph user;
    const auto x = floats(user, "x");
    const auto y = x + x;
    const unsigned line = __LINE__ - 1;
    gg::Graph graph;
    const gg::Output copied = graph.add_copy(x.node(), {}).output();
    const gg::Output sum = graph.add_copy(y.node(), {copied, copied}).output();
    const gg::Node& fetched = fetch(sum);
    checked_place(graph, on_devices({"cpu", "sim:0"}, 1));
    const gg::Node& moved = fetched.input(0).node();
    CHECK(moved.origin() == &y.node());
    CHECK(moved.where().line == line);
  }

  TEST_CASE("a list of the choices") {
    gg::Graph graph;
    const auto x = floats(graph, "x");
    const auto v = gg::variable(graph, gg::float32, {2, 3}, "v");
    gg::Output y;
    {
      const auto scope = gg::scope(graph, "fc1");
      const auto device = gg::device_scope(graph, "sim:0");
      y = x * v;
    }
    gg::assign_sub(v, gg::reshape(y, {2, 3}));
    const auto options = without(on_devices({"cpu", "sim:0"}), "add", "sim");
    const auto placed = checked_place(graph, options);
    CHECK(gg::explain(graph, placed.placement, options) ==
          "node         op           device  why\n"
          "x            placeholder  cpu     fed or fetched on the host\n"
          "v            variable     cpu     the session's device\n"
          "x@sim:0      copy         sim:0   brings 'x'\n"
          "v@sim:0      copy         sim:0   brings 'v'\n"
          "fc1/mul      mul          sim:0   asked for\n"
          "constant     constant     cpu     read while planning\n"
          "reshape      reshape      sim:0   beside 'fc1/mul'\n"
          "reshape@cpu  copy         cpu     brings 'reshape'\n"
          "assign_sub   assign_sub   cpu     updates 'v'\n");
  }

  TEST_CASE("a long chain takes time in proportion") {
    gg::Graph graph;
    gg::Output x = floats(graph, "x");
    for (int i = 0; i < 20000; ++i) {
      x = gg::reshape(x, {3, 2});
      x = gg::reshape(x, {2, 3});
      graph.context().device = i % 2 ? "cpu" : "sim:0";
      x = x + x;
    }
    const auto placed = checked_place(graph, on_devices({"cpu", "sim:0"}));
    CHECK(placed.count("copy") == 20000);
  }
}

TEST_SUITE("bad input") {
  TEST_CASE("placement: no device has a kernel") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float64, {2}, "x");
    const auto scope = gg::scope(graph, "fc1");
    gg::add(x, x);
    const unsigned line = __LINE__ - 1;
    auto options = on_devices({"cpu", "sim:0"});
    options.supports = [](const gg::Node& node, std::string_view) {
      return node.op().name != "add";
    };
    const std::string expected =
        "[add] 'fc1/add': no device has a float64 kernel for it (there are: cpu, sim:0)  "
        "(test_placement.cpp:" +
        std::to_string(line) + ")";
    CHECK_THROWS_WITH_AS(gg::place(graph, options), expected.c_str(), gg::PlacementError);
  }

  TEST_CASE("placement: strict, the device that was asked for has no kernel") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::int32, {2}, "x");
    const auto device = gg::device_scope(graph, "sim:0");
    gg::add(x, x);
    const unsigned line = __LINE__ - 1;
    auto options = without(on_devices({"cpu", "sim:0"}), "add", "sim");
    options.soft = false;
    const std::string expected =
        "[add] 'add': device 'sim:0' has no int32 kernel for it  (test_placement.cpp:" +
        std::to_string(line) + ")";
    CHECK_THROWS_WITH_AS(gg::place(graph, options), expected.c_str(), gg::PlacementError);
  }

  TEST_CASE("placement: strict, the session's device has no kernel") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::int32, {2}, "x");
    gg::add(x, x);
    const unsigned line = __LINE__ - 1;
    auto options = without(on_devices({"cpu", "sim:0"}, 1), "add", "sim");
    options.soft = false;
    const std::string expected =
        "[add] 'add': device 'sim:0' has no int32 kernel for it  (test_placement.cpp:" +
        std::to_string(line) + ")";
    CHECK_THROWS_WITH_AS(gg::place(graph, options), expected.c_str(), gg::PlacementError);
  }

  TEST_CASE("placement: strict, a device that is not there") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::int32, {2}, "x");
    const auto device = gg::device_scope(graph, "gpu:7");
    gg::add(x, x);
    const unsigned line = __LINE__ - 1;
    auto options = on_devices({"cpu", "sim:0"});
    options.soft = false;
    const std::string expected =
        "[add] 'add': there is no device 'gpu:7' (there are: cpu, sim:0)  (test_placement.cpp:" +
        std::to_string(line) + ")";
    CHECK_THROWS_WITH_AS(gg::place(graph, options), expected.c_str(), gg::PlacementError);
  }

  TEST_CASE("placement: strict, an update away from its variable") {
    gg::Graph graph;
    const auto v = gg::variable(graph, gg::float32, {2}, "v");
    const auto device = gg::device_scope(graph, "sim:0");
    gg::assign(v, v);
    const unsigned line = __LINE__ - 1;
    auto options = on_devices({"cpu", "sim:0"});
    CHECK_NOTHROW(gg::place(graph, options));
    options.soft = false;
    const std::string expected =
        "[assign] 'assign': asks for 'sim:0', but its variable 'v' is on 'cpu'  "
        "(test_placement.cpp:" +
        std::to_string(line) + ")";
    CHECK_THROWS_WITH_AS(gg::place(graph, options), expected.c_str(), gg::PlacementError);
  }

  TEST_CASE("placement: strict, a variable whose update has no kernel there") {
    gg::Graph graph;
    const auto v = gg::variable(graph, gg::float32, {2}, "v");
    gg::assign_add(v, gg::Tensor{1.f, 2.f});
    const unsigned line = __LINE__ - 1;
    auto options = without(on_devices({"cpu", "sim:0"}, 1), "assign_add", "sim");
    options.soft = false;
    const std::string expected =
        "[assign_add] 'assign_add': device 'sim:0' has no float32 kernel for it, but its "
        "variable 'v' is there  (test_placement.cpp:" +
        std::to_string(line) + ")";
    CHECK_THROWS_WITH_AS(gg::place(graph, options), expected.c_str(), gg::PlacementError);
  }
}
