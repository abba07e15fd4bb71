#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "random_placement.h"

using namespace gradgraph;

namespace {

enum class Keep { all, scopes };

/// A scope, whose values gradients may have to compute again.
ContextGuard block(Graph& graph, const std::string& name, Keep keep) {
  return keep == Keep::all ? scope(graph, name) : recompute(graph, name);
}

constexpr int kBlocks = 6, kUnits = 64;

/// Blocks of dense layers, dropout and noise.
struct DeepModel {
  explicit DeepModel(Keep keep, const std::vector<std::string>& devices = {}) {
    Output h = x;
    for (int i = 0; i < kBlocks; ++i) {
      const auto guard = block(graph, "block" + std::to_string(i), keep);
      const auto device = device_scope(
          graph, devices.empty() ? "" : devices[static_cast<std::size_t>(i) % devices.size()]);
      const Output in = h;
      h = nn::dense(h, {.units = kUnits, .activation = sigmoid}, "a");
      const auto norm = nn::batch_norm(h, {.training = training}, "norm");
      h = norm.output;
      updates.push_back(norm.update);
      h = nn::dense(h, {.units = kUnits, .activation = relu}, "b");
      h = nn::dropout(h, 0.3, training);
      h = h + 0.1f * sigmoid(h) * random_uniform(graph, shape_of(h), float32);
      h = nn::dense(h, {.units = kUnits}, "c") + (i > 0 ? in : 0.5f * h);
    }
    loss = mean(square(h));
    updates.push_back(Adam{}.minimize(loss));
    train = group(graph, updates);
  }
  Feeds feeds(std::int64_t batch = 48) const {
    Tensor input(float32, {batch, kUnits});
    for (std::int64_t i = 0; i < input.num_elements(); ++i)
      input.data<float>()[i] = static_cast<float>(i % 17) / 8 - 1;
    return {{x, input}, {training, Tensor(true)}};
  }

  Graph graph;
  Output x = placeholder(graph, float32, {any, kUnits}, "x");
  Output training = placeholder(graph, boolean, {}, "training");
  std::vector<Output> updates;
  Output loss, train;
};

/// The losses of some steps, then all variables.
std::vector<Tensor> train(DeepModel& model, SessionOptions options) {
  options.seed = 11;
  Session session(model.graph, options);
  std::vector<Tensor> results;
  for (int i = 0; i < 4; ++i)
    results.push_back(session.run(model.feeds(), {model.loss, model.train}).front().clone());
  for (Node& node : model.graph.nodes())
    if (node.op().name == "variable") results.push_back(session.value(node.output()));
  return results;
}

int count_again(const Graph& graph) {
  int count = 0;
  for (const Node& node : graph.nodes()) count += node.recomputes() != nullptr;
  return count;
}

}  // namespace

TEST_SUITE("recompute") {
  TEST_CASE("what is computed again has the same bits, random numbers too") {
    DeepModel kept(Keep::all), again(Keep::scopes);
    CHECK(count_again(kept.graph) == 0);
    CHECK(count_again(again.graph) > kBlocks * 5);
    for (const std::vector<std::string>& disabled :
         {std::vector<std::string>{}, {"fuse_elementwise"}}) {
      CAPTURE(disabled.size());
      const auto expected = train(kept, {.disabled_passes = disabled});
      const auto actual = train(again, {.disabled_passes = disabled});
      REQUIRE(expected.size() > 10);
      CHECK(expected[0].item<float>() != expected[3].item<float>());
      tests::check_same(actual, expected);
    }
  }

  TEST_CASE("it saves memory") {
    DeepModel kept(Keep::all), again(Keep::scopes);
    const auto arena = [](DeepModel& model) {
      Session session(model.graph);
      session.run(model.feeds(2000), {model.loss, model.train});
      return static_cast<double>(session.last_run().memory.arena);
    };
    CHECK(arena(again) < 0.5 * arena(kept));
  }

  TEST_CASE("it runs on any devices") {
    const std::vector<std::string> devices = {"cpu", "simulated:0", "simulated:1"};
    tests::add_simulated_devices("simulated", 2);
    DeepModel kept(Keep::all, devices), again(Keep::scopes, devices);
    tests::check_same(train(again, {.threads = 1}), train(kept, {.threads = 1}));
    for (const Node& node : again.graph.nodes())
      if (node.recomputes()) CHECK(node.device() == node.recomputes()->device());
  }

  TEST_CASE("the new nodes know what they are") {
    DeepModel model(Keep::scopes);
    const Node* node = model.graph.find("recompute/block2/b/matmul");
    REQUIRE(node != nullptr);
    CHECK(node->phase() == Phase::recompute);
    CHECK(node->recomputes() == model.graph.find("block2/b/matmul"));
    CHECK(node->where().line == node->recomputes()->where().line);
    CHECK(node->differentiates() == nullptr);
    // Inside, what is computed again; from outside, what is there.
    CHECK(node->input(0).node().recomputes() != nullptr);
    CHECK(&node->input(1).node() == model.graph.find("block2/b/kernel"));
    // Variables, and what the next block reads, are not computed again.
    for (const Node& other : model.graph.nodes())
      if (const Node* forward = other.recomputes()) {
        CHECK(!forward->op().traits.stateful);
        CHECK(forward->recompute_scope() > 0);
        CHECK(forward != &model.loss.node());
      }
    verify(model.graph);
  }

  TEST_CASE("a scope inside another belongs to it") {
    Graph graph;
    const Output x = placeholder(graph, float64, {3}, "x");
    Output y;
    {
      const auto outer = recompute(graph, "outer");
      Output a = exp(x);
      {
        const auto inner = recompute(graph, "inner");
        a = tanh(a);
      }
      y = sum(a * a);
    }
    const Output grad = gradients({y}, {x})[0];
    for (const Node& node : graph.nodes())
      if (node.recompute_scope() != 0) CHECK(node.recompute_scope() == 1);
    CHECK(graph.find("outer/inner/tanh") != nullptr);
    CHECK(graph.find("recompute/outer/exp") != nullptr);
    const auto again = recompute(graph, "third");
    CHECK(exp(x).node().recompute_scope() == 2);
    CHECK(grad.node().recompute_scope() == 0);
  }

  TEST_CASE("gradients of gradients and custom ones are right") {
    for (const Keep keep : {Keep::all, Keep::scopes}) {
      Graph graph;
      const Output x = placeholder(graph, float64, {2}, "x");
      Output y;
      {
        const auto guard = block(graph, "block", keep);
        const Output cube = custom_gradient(
            {exp(x)}, [](const auto& in) { return std::vector{in[0] * in[0] * in[0]}; },
            [](const auto& in, const auto&, const auto& grads) {
              return std::vector{grads[0] * 3.0 * in[0] * in[0]};
            })[0];
        y = tanh(cube);
      }
      const Output first = gradients({sum(y)}, {x})[0];
      const Output second = gradients({sum(first)}, {x})[0];
      Session session(graph);
      const auto values = session.run({{x, Tensor{-0.5, -1.5}}}, {first, second});
      for (int i = 0; i < 2; ++i) {
        // tanh(u), u = exp(3x): u' = 3u, so the first is 3u (1 - t^2).
        const double u = std::exp(3 * (i == 0 ? -0.5 : -1.5)), t = std::tanh(u);
        const double d = 1 - t * t;
        CHECK(values[0].at<double>({i}) == doctest::Approx(3 * u * d));
        CHECK(values[1].at<double>({i}) == doctest::Approx(9 * u * d - 18 * u * u * t * d));
      }
    }
  }

  TEST_CASE("scopes without gradients, and wrong names, are as any scope") {
    Graph graph;
    const Output x = placeholder(graph, float32, {2}, "x");
    Output y;
    {
      const auto guard = recompute(graph, "block");
      y = x * 2.f;
    }
    Session session(graph);
    CHECK(session.run({{x, Tensor{1.f, 2.f}}}, y).at<float>({1}) == 4.f);
    CHECK(y.name() == "block/mul");
    CHECK(count_again(graph) == 0);
    CHECK_THROWS_AS(auto s = recompute(graph, ""), BuildError);
  }
}
