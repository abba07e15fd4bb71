#include <doctest/doctest.h>

#include <cstring>
#include <thread>

#include "gradgraph/gradgraph.h"
#include "random_placement.h"
#include "small_models.h"

/// However a graph is split between devices, it gives the same bits as on the CPU alone. The
/// simulated devices run the CPU's kernels, so any difference is a fault of placement, copies,
/// plan or executor.
namespace gg = gradgraph;
using gg::Output;
using gg::Tensor;
using gg::tests::check_same;
using gg::tests::open_session;
using gg::tests::scatter;
using gg::tests::SmallModel;

namespace {

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.empty_handle() || b.empty_handle()) return a.empty_handle() == b.empty_handle();
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

std::vector<Tensor> train(SmallModel& model, const std::string& device = "cpu") {
  gg::Session session = open_session(model.graph, device);
  return model.train(session);
}

void check_model(const char* name, int placements) {
  SmallModel model(name);
  const std::vector<Tensor> expected = train(model);
  for (const std::string device : {"simulated:0", "simulated:1"}) {
    CAPTURE(device);
    check_same(train(model, device), expected);
  }
  for (int i = 0; i < placements; ++i) {
    CAPTURE(i);
    std::mt19937_64 random(static_cast<std::uint64_t>(i));
    const std::string device = scatter(model.graph, random);
    check_same(train(model, device), expected);
  }
}

}  // namespace

void gg::tests::check_same(const std::vector<Tensor>& actual,
                           const std::vector<Tensor>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i)
    CHECK_MESSAGE(same_bits(actual[i], expected[i]), "result ", i, ": ", actual[i].to_string(),
                  " instead of ", expected[i].to_string());
}

TEST_SUITE("random placement") {
  TEST_CASE("softmax regression with momentum") { check_model("softmax", 60); }
  TEST_CASE("a perceptron with dropout, clipping, Adam and a schedule") {
    check_model("mlp", 60);
  }
  TEST_CASE("a convolutional network with AdamW") { check_model("cnn", 60); }

  TEST_CASE("variables are read as of before or after their updates, on any device") {
    gg::Graph graph;
    const auto a = gg::variable(graph, Tensor{1.f, 2.f}, "a");
    const auto b = gg::variable(graph, Tensor{10.f, 20.f}, "b");
    const auto old_sum = a + b;
    const auto new_a = gg::assign(a, b);  // a swap: each takes the other's old value
    const auto new_b = gg::assign(b, a);
    Output later;
    {
      const auto after = gg::control_dependencies(graph, {new_a, new_b});
      later = a - b;
    }
    const auto through_value = a * (new_a * 0.f + 1.f);
    const std::vector<Output> fetches = {old_sum, new_a, new_b, later, through_value};
    for (int i = 0; i < 60; ++i) {
      CAPTURE(i);
      std::mt19937_64 random(static_cast<std::uint64_t>(i));
      const std::string device = scatter(graph, random);
      gg::Session session = open_session(graph, device);
      for (int step = 0; step < 2; ++step) {
        const Tensor low{1.f, 2.f}, high{10.f, 20.f};
        const Tensor& was_a = step == 0 ? low : high;
        const Tensor& was_b = step == 0 ? high : low;
        const float sign = step == 0 ? 1.f : -1.f;
        check_same(session.run({}, fetches),
                   {Tensor{11.f, 22.f}, was_b, was_a, Tensor{sign * 9.f, sign * 18.f}, was_b});
      }
    }
  }

  TEST_CASE("an error on a device names the node, and leaves the variables as they were") {
    gg::Graph graph;
    const auto index = gg::placeholder(graph, gg::int64, {1}, "index");
    const auto v = gg::variable(graph, Tensor{1.f, 2.f, 3.f}, "v");
    const auto count = gg::variable(graph, Tensor(0.f), "count");
    const auto counted = gg::assign_add(count, 1.f);
    const auto row = gg::gather(v, index);
    const unsigned line = __LINE__ - 1;
    const auto update = gg::assign_add(v, gg::broadcast_to(row, {3}));
    const auto all = gg::group(graph, {update, counted});
    const std::string where = "(test_random_placement.cpp:" + std::to_string(line) + ")";
    for (int i = 0; i < 20; ++i) {
      CAPTURE(i);
      std::mt19937_64 random(static_cast<std::uint64_t>(i));
      const std::string device = scatter(graph, random);
      gg::Session session = open_session(graph, device);
      session.run({{index, Tensor{std::int64_t{0}}}}, all);
      CHECK_THROWS_WITH_AS(session.run({{index, Tensor{std::int64_t{3}}}}, all),
                           doctest::Contains(where.c_str()), gg::RunError);
      check_same({session.value(v), session.value(count)}, {Tensor{2.f, 3.f, 4.f}, Tensor(1.f)});
      session.run({{index, Tensor{std::int64_t{1}}}}, all);
      check_same({session.value(v), session.value(count)}, {Tensor{5.f, 6.f, 7.f}, Tensor(2.f)});
    }
  }

  TEST_CASE("ops that a device lacks run elsewhere") {
    gg::tests::add_simulated_devices("limited", 1, {"matmul", "relu", "assign_sub"});
    SmallModel model("mlp");
    const std::vector<Tensor> expected = train(model);
    check_same(train(model, "limited"), expected);

    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    const auto y = gg::relu(x);
    gg::Session strict(graph, {.device = "limited", .soft_placement = false});
    CHECK_THROWS_WITH_AS(strict.run({{x, Tensor{1.f, -1.f}}}, y),
                         doctest::Contains("[relu] 'relu': device 'limited:0' has no float32"),
                         gg::PlacementError);
  }

  TEST_CASE("passes make no op that the device lacks") {
    std::vector<std::string> fused = {"conv2d_relu_pool", "conv2d_relu_pool_input_grad",
                                      "conv2d_relu_pool_filter_grad"};
    for (const gg::OpDef* op : gg::op_registry().all())
      if (op->traits.fused) fused.push_back(op->name);
    gg::tests::add_simulated_devices("plain", 1, fused);
    for (const char* name : {"mlp", "cnn"}) {
      SmallModel model(name);
      gg::Session session(model.graph, {.device = "plain", .soft_placement = false});
      gg::Callable step = session.prepare(model.feeds, model.fetches);
      CHECK_NOTHROW(step.run(model.batches[0].data(), model.batches[0].size()));
    }
  }

  TEST_CASE("a node of very many inputs") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
    std::vector<Output> parts;
    for (int i = 0; i < 40; ++i) parts.push_back(x + i);
    const std::vector<Output> fetches = {gg::concat(parts, 0)};
    const gg::Feeds feeds = {{x, Tensor{0.5f, 1.5f}}};
    const std::vector<Tensor> expected = open_session(graph).run(feeds, fetches);
    CHECK(expected[0].at<float>({79}) == 40.5f);
    std::mt19937_64 random(9);
    const std::string device = scatter(graph, random);
    check_same(open_session(graph, device).run(feeds, fetches), expected);
  }

  TEST_CASE("sessions on one device do not disturb each other") {
    SmallModel model("mlp");
    const std::vector<Tensor> expected = train(model);
    std::mt19937_64 random(1);
    scatter(model.graph, random);
    std::vector<std::vector<Tensor>> results(2);
    std::vector<std::thread> threads;
    for (auto& result : results)
      threads.emplace_back([&] { result = train(model, "simulated:0"); });
    for (std::thread& thread : threads) thread.join();
    for (const auto& result : results) check_same(result, expected);
  }

  TEST_CASE("nothing stays allocated on a device after its sessions") {
    gg::tests::add_simulated_devices("counted", 1);
    SmallModel model("cnn");
    train(model, "counted");
    const auto device = gg::device_registry().open("counted:0");
    CHECK(dynamic_cast<gg::tests::SimulatedDevice&>(*device).live_allocations() == 0);
  }
}
