#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "passes/rewriting/node_sweep.h"

/// The self-check: a wrong rewrite is found and named.
using namespace gradgraph;
using tests::message_of;

namespace {

/// Takes every third "sin" for a "cos".
class WrongSine : public NodePass {
 public:
  NodeRewrite rewrite(Node& node, NodeSweep& sweep) override {
    if (node.op().name != "sin") return {};
    if (++count_ % 3 == 0) return {sweep.make(node, "cos", {node.input(0)}), "sin(x) -> cos(x)"};
    // A rewrite that changes nothing: double negation.
    const Output negated = sweep.make(node, "neg", {node.input(0)});
    return {sweep.make(node, "cos", {sweep.make(node, "sub", {negated, half_pi(node, sweep)})}),
            "sin(x) -> cos(-x - pi/2)"};
  }

 private:
  static Output half_pi(const Node& node, NodeSweep& sweep) {
    return sweep.constant(node, Tensor(-1.57079632679489661923));
  }
  int count_ = 0;
};

/// The list of passes with the wrong one, while it lives.
struct WithWrongPass {
  WithWrongPass() {
    pass_list().insert(pass_list().begin(),
                       {.name = "wrong_sine", .make = []() {
                          return std::unique_ptr<NodePass>(std::make_unique<WrongSine>());
                        }});
  }
  ~WithWrongPass() { pass_list().erase(pass_list().begin()); }
};

struct Sines {
  Graph graph;
  Output x = placeholder(graph, float64, {2}, "x");
  Output w = variable(graph, Tensor{0.5, 0.25}, "w");
  Output total = x;
  Output update;
  Feeds feeds = {{x, Tensor{0.3, -0.7}}};

  Sines() {
    for (int i = 0; i < 5; ++i) total = total * 1.0 + gradgraph::sin(total * w);
    update = assign_add(w, gradgraph::sin(total));
  }
};

}  // namespace

TEST_SUITE("passes") {
  TEST_CASE("check_passes names the rewrite that is wrong") {
    const WithWrongPass wrong;
    Sines g;
    Session session(g.graph, {.threads = 1, .check_passes = true});
    std::string message;
    try {
      session.run(g.feeds, g.total);
    } catch (const RunError& error) {
      message = error.what();
    }
    for (const char* part : {"changes results: wrong_sine: 'sin_2' = cos('mul",
                             "'): sin(x) -> cos(x) (element 0 of"})
      CHECK_MESSAGE(message.find(part) != std::string::npos, message);
    // The plan is not kept: the next run is checked again.
    CHECK_THROWS_AS(session.run(g.feeds, g.total), RunError);
    Session without(g.graph, {.disabled_passes = {"wrong_sine"}, .check_passes = true});
    CHECK_NOTHROW(without.run(g.feeds, g.total));
  }

  TEST_CASE("check_passes sees variables, and leaves them as they were") {
    Sines g;
    const Output done = group(g.graph, {g.update});
    {
      const WithWrongPass wrong;
      Session session(g.graph, {.check_passes = true});
      CHECK_THROWS_WITH_AS(session.run(g.feeds, done), doctest::Contains("of 'w' is"), RunError);
      CHECK(session.value(g.w).at<double>({0}) == 0.5);
      CHECK(session.step() == 0);
    }
    Session checked(g.graph, {.check_passes = true}), plain(g.graph);
    for (int i = 0; i < 2; ++i) checked.run(g.feeds, done), plain.run(g.feeds, done);
    CHECK(checked.value(g.w).at<double>({1}) == plain.value(g.w).at<double>({1}));
    CHECK(checked.step() == 2);
  }

  TEST_CASE("check_passes compares variables by themselves") {
    Graph graph;
    const Output a = variable(graph, Tensor{1.f, 2.f, 3.f}, "a");
    const Output b = variable(graph, Tensor{4.f, 5.f}, "b");
    const Output unset = variable(graph, float32, {4}, "unset");
    const Output chosen = where(constant(graph, Tensor(true)), sum(b), sum(a));
    Session session(graph, {.check_passes = true});
    CHECK(session.run(chosen).item<float>() == 9.f);
    const Output update = assign_add(b, fill({2}, sum(a)) * 0.f + 1.f);
    for (const Output& fetch :
         {group(graph, {update}), update, assign(unset, Tensor::zeros(float32, {4}))})
      CHECK_NOTHROW(session.run({}, {chosen, fetch}));
    CHECK(session.value(b).at<float>({1}) == 7.f);
    // What no pass has rewritten needs no comparison.
    CHECK(session.run(identity(b)).at<float>({0}) == 6.f);
  }

  TEST_CASE("check_passes takes what rounding explains for no difference") {
    Graph graph;
    const Output x = placeholder(graph, float32, {512}, "x");
    const Output w = variable(graph, Tensor::full(float32, {512}, 0.1), "w");
    // Nothing but roundings is left of this, choices hang on it, and Adam makes steps of it.
    const Output rest = x * w / 3.f / 7.f - x * w / 21.f;
    const Output chosen = argmax(rest, 0), signs = sign(rest);
    const Output train = Adam{}.minimize(mean(rest * stop_gradient(rest)) + mean(rest) * 1e-3f);
    Tensor values(float32, {512});
    for (std::int64_t i = 0; i < 512; ++i)
      values.data<float>()[i] = 1e6f + static_cast<float>(i * 37 % 512);
    Session session(graph, {.threads = 1, .check_passes = true});
    for (const std::vector<Output>& fetches :
         {std::vector{rest}, {chosen}, {signs}, {train}, {mean(rest), chosen, train}})
      CHECK_NOTHROW(session.run({{x, values}}, fetches));
  }

  TEST_CASE("check_passes is not held to the limit of memory") {
    Graph graph;
    const Output x = placeholder(graph, float32, {1 << 20}, "x");
    Output y = x;
    for (int i = 0; i < 3; ++i) y = gradgraph::tanh(y * x) + gradgraph::sin(y);
    const Feeds feeds = {{x, Tensor::full(float32, {1 << 20}, 0.5)}};
    Session fused(graph),
        plain(graph, {.disabled_passes = {"fuse_elementwise", "merge_elementwise"}});
    const std::size_t limit = fused.predict_memory(feeds, {y}).total();
    REQUIRE(limit < plain.predict_memory(feeds, {y}).total());
    Session session(graph, {.memory_limit = limit, .check_passes = true});
    CHECK_NOTHROW(session.run(feeds, y));
  }

  TEST_CASE("check_passes: a wrong rewrite of an initial value is named as well") {
    const WithWrongPass wrong;
    Graph graph;
    Output value = constant(graph, Tensor::full(float64, {20000}, 0.3));
    for (int i = 0; i < 4; ++i) value = gradgraph::sin(value + 0.5);
    const Output w = variable(value, "w");
    Session session(graph, {.check_passes = true});
    CHECK_THROWS_WITH_AS(session.run(w * 2.0), doctest::Contains("wrong_sine"), RunError);
  }

  TEST_CASE("check_passes refuses no step of the models that programs train") {
    Graph graph;
    const Output images = placeholder(graph, float32, {any, 12, 12, 1}, "images");
    const Output labels = placeholder(graph, int64, {any}, "labels");
    const Output training = placeholder(graph, boolean, {}, "training");
    Output x = nn::conv2d(images, {.filters = 4, .kernel = 3, .activation = relu}, "conv1");
    x = nn::max_pool2d(x, 2);
    const auto normal = nn::batch_norm(nn::conv2d(x, {.filters = 6, .kernel = 3}, "conv2"),
                                       {.training = training});
    x = nn::dropout(nn::dense(flatten(relu(normal.output)), {.units = 32, .activation = relu}),
                    0.3, training);
    const Output logits = nn::dense(x, {.units = 10}, "logits");
    const Output tokens = nn::embedding(labels, 10, 8);
    const Output norm =
        nn::layer_norm(nn::dense(tokens, {.units = 10, .activation = gradgraph::tanh}));
    const Output loss = mean(sparse_softmax_cross_entropy(logits + norm, labels));
    const Output accuracy = mean(cast(equal(argmax(logits, -1), labels), float32));
    const Output train =
        group(graph, {Adam{.clip = {.by_global_norm = 1}}.minimize(loss), normal.update});
    Tensor pixels(float32, {16, 12, 12, 1}), classes(int64, {16});
    for (std::int64_t i = 0; i < pixels.num_elements(); ++i)
      pixels.data<float>()[i] = static_cast<float>(i * 7919 % 256) / 255;
    for (std::int64_t i = 0; i < 16; ++i) classes.data<std::int64_t>()[i] = i * 3 % 10;
    Session session(graph, {.threads = 2, .plan_cache_size = 1, .check_passes = true});
    for (const bool trains : {true, false, true}) {
      const Feeds feeds = {{images, pixels}, {labels, classes}, {training, Tensor(trains)}};
      const std::vector<Output> step = {loss, accuracy, train}, check = {loss, accuracy};
      CHECK_NOTHROW(session.run(feeds, trains ? step : check));
    }
  }

  TEST_CASE("check_passes takes what the published rewrites improve for no fault") {
    Graph graph;
    const Output x = placeholder(graph, float64, {3}, "x");
    const Output logs = gradgraph::log(softmax(x));
    const Feeds far = {{x, Tensor{0.0, -800.0, 1.0}}};
    Session session(graph, {.check_passes = true});
    CHECK(session.run(far, logs).at<double>({1}) == doctest::Approx(-801.3132617));
    Session exact(graph, {.exact_rewrites = true, .check_passes = true});
    CHECK(std::isinf(exact.run(far, logs).at<double>({1})));
    // A number that hangs on it is another one, which the message explains.
    const Output bounded = maximum(logs, -1000.0);
    CHECK_THROWS_WITH_AS(session.run(far, bounded),
                         doctest::Contains("SessionOptions::exact_rewrites leaves it out"),
                         RunError);
    CHECK(exact.run(far, bounded).at<double>({1}) == -1000);
    CHECK_NOTHROW(session.run({{x, Tensor{0.0, -4.0, 1.0}}}, bounded));
    // Beside an improvement a wrong rewrite is found as ever.
    const WithWrongPass wrong;
    Output y = logs;
    for (int i = 0; i < 3; ++i) y = y + gradgraph::sin(x + static_cast<double>(i));
    Session other(graph, {.check_passes = true});
    const std::string message = message_of<RunError>([&] { other.run(far, y); });
    // By its number and name among all rewrites that the session does.
    const std::string lines = other.explain_passes(far, {y});
    const auto at = lines.find("wrong_sine: 'sin_2' = cos(");
    REQUIRE(at != std::string::npos);
    const auto number =
        1 + std::count(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    const auto count = 1 + std::count(lines.begin(), lines.end(), '\n');
    CHECK_MESSAGE(message.starts_with("rewrite " + std::to_string(number) + " of " +
                                      std::to_string(count) + " changes results: wrong_sine:"),
                  message);
  }

  TEST_CASE("check_passes: an error in both runs is the user's") {
    Graph graph;
    const Output i = placeholder(graph, int64, {1}, "i");
    const Output y = gather(constant(graph, Tensor{1.f, 2.f}), i) * 1.f;
    Session session(graph, {.check_passes = true});
    CHECK(session.run({{i, Tensor{std::int64_t{1}}}}, y).at<float>({0}) == 2.f);
    CHECK_THROWS_WITH_AS(session.run({{i, Tensor{std::int64_t{7}}}}, y),
                         doctest::Contains("gather"), RunError);
  }
}
