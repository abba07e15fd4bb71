#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "noise.h"

/// What the public functions say about a graph, and what they keep of what they are given.
using namespace gradgraph;

namespace {

std::vector<std::string> names_of(const std::vector<Output>& outputs) {
  std::vector<std::string> names;
  for (const Output& output : outputs) names.push_back(output.name());
  return names;
}

constexpr std::int64_t kBig = (std::int64_t{1} << 60) + 1;  // no double

}  // namespace

TEST_SUITE("api") {
  TEST_CASE(
      "variables are listed in the order of making; trainable ones are those of gradients") {
    Graph graph;
    CHECK(variables(graph).empty());
    const Output x = placeholder(graph, float32, {any, 4}, "x");
    const Output training = placeholder(graph, boolean, {}, "training");
    const Output free = variable(graph, Tensor{1.f, 2.f}, "free");
    variable(graph, Tensor(std::int64_t{0}), "count");
    Output y = nn::dense(x, {.units = 2}, "fc");
    y = nn::batch_norm(y, {.training = training}, "norm").output * free;
    Adam{}.minimize(mean(square(y)));
    const std::vector<std::string> trainable = {"free", "fc/kernel", "fc/bias", "norm/scale",
                                                "norm/offset"};
    CHECK(names_of(trainable_variables(graph)) == trainable);
    const std::vector<Output> all = variables(graph);
    const std::vector<std::string> first = {
        "free",       "count",       "fc/kernel",         "fc/bias",
        "norm/scale", "norm/offset", "norm/running_mean", "norm/running_variance"};
    const std::vector<std::string> names = names_of(all);
    REQUIRE(names.size() == first.size() + 1 + 2 * trainable.size());
    CHECK(std::vector(names.begin(), names.begin() + 8) == first);
    CHECK(names[8] == "train/step");
    // A session that is given them all is a resumed one.
    Session session(graph), other(graph, {.seed = 9});
    for (const Output& v : all) other.set_value(v, session.value(v));
    CHECK(other.value(all[2]).to_string() == session.value(all[2]).to_string());
  }

  TEST_CASE("compute_gradients and apply are minimize, with whatever comes between") {
    const auto train = [](int way) {
      Graph graph;
      const Output w = variable(graph, Tensor{3.0, -4.0}, "w");
      const Output b = variable(graph, Tensor(0.5), "b");
      const Output unused = variable(graph, Tensor(1.0), "unused");
      const Output loss = sum(square(w)) * 2 + square(b) + stop_gradient(unused);
      const Optimizer optimizer = GradientDescent{.learning_rate = 0.1};
      Output step;
      if (way == 0) {
        step = optimizer.minimize(loss);
      } else {
        std::vector<GradientPair> pairs = compute_gradients(loss);
        CHECK(names_of({pairs[0].first, pairs[1].first, pairs[2].first}) ==
              std::vector<std::string>{"w", "b", "unused"});
        CHECK(pairs[0].second.shape() == w.shape());
        CHECK_FALSE(pairs[2].second);
        if (way == 2)
          for (auto& [variable, gradient] : pairs)
            if (gradient) gradient = clip_by_norm(gradient, 1);
        step = optimizer.apply(pairs);
      }
      Session session(graph);
      session.run(step);
      const Tensor value = session.value(w);
      return std::vector{value.at<double>({0}), value.at<double>({1}),
                         session.value(b).item<double>(), session.value(unused).item<double>()};
    };
    CHECK(train(1) == train(0));
    // The gradients [12, -16] and 1, of lengths 20 and 1, have length 1 then.
    const std::vector<double> clipped = train(2);
    CHECK(clipped[0] == doctest::Approx(3 - 0.1 * 0.6));
    CHECK(clipped[1] == doctest::Approx(-4 + 0.1 * 0.8));
    CHECK(clipped[2] == doctest::Approx(0.4));
    CHECK(clipped[3] == 1);
  }

  TEST_CASE("compute_gradients refuses what has none") {
    Graph graph;
    const Output w = variable(graph, Tensor{1.0, 2.0}, "w");
    const Output x = placeholder(graph, float64, {2}, "x");
    const auto refused = [&](auto&& build, const char* part) {
      CHECK_THROWS_WITH_AS(build(), doctest::Contains(part), BuildError);
      CHECK_THROWS_WITH_AS(build(), doctest::Contains("(test_api.cpp:"), BuildError);
    };
    refused([&] { compute_gradients(w); }, "compute_gradients: the loss 'w' is float64[2]");
    refused([&] { compute_gradients(Output()); }, "compute_gradients: the loss is empty");
    refused([&] { compute_gradients(sum(x)); }, "depends on no variable");
    refused([&] { compute_gradients(sum(w), {x}); }, "'x' is a placeholder, no variable");
    CHECK_THROWS_AS(compute_gradients(sum(cast(equal(w, 1), float64)) + sum(assign(w, w)), {w}),
                    GradientError);
  }

  TEST_CASE("pools take layout, strides and padding") {
    Graph graph;
    const Tensor image = tests::noise({2, 5, 6, 3}, 1, float64);
    const Output nhwc = constant(graph, image);
    const Output nchw = transpose(nhwc, {0, 3, 1, 2});
    Session session(graph);
    const auto same = [&](Output of_nhwc, Output of_nchw) {
      const Tensor a = session.run(transpose(of_nhwc, {0, 3, 1, 2})), b = session.run(of_nchw);
      CHECK(a.shape() == b.shape());
      CHECK(a.to_string() == b.to_string());
    };
    using Options = nn::Pool2dOptions;
    for (const auto& [plain, other] : {
             std::pair<Options, Options>{{}, {.layout = Layout::nchw}},
             {{.window = {3, 2}}, {.layout = Layout::nchw, .window = {3, 2}}},
             {{.window = 3, .strides = 1, .padding = Padding::same},
              {.layout = Layout::nchw, .window = 3, .strides = 1, .padding = Padding::same}},
             {{.window = 2, .padding = Padding::explicit_, .border = {1, 0, 0, 1}},
              {.layout = Layout::nchw,
              .window = 2,
              .padding = Padding::explicit_,
              .border = {1, 0, 0, 1}}},
         }) {
      same(nn::max_pool2d(nhwc, plain), nn::max_pool2d(nchw, other));
      same(nn::avg_pool2d(nhwc, plain), nn::avg_pool2d(nchw, other));
    }
    // Without strides windows lie side by side, whatever their size.
    CHECK(nn::max_pool2d(nhwc, {.window = {2, 3}}).shape() == Shape{2, 2, 2, 3});
    CHECK(nn::max_pool2d(nhwc, {2, 3}).shape() == Shape{2, 2, 2, 3});
    CHECK(nn::avg_pool2d(nhwc, 3).shape() == Shape{2, 1, 2, 3});
    CHECK(nn::max_pool2d(nhwc).shape() == Shape{2, 2, 3, 3});
    CHECK(nn::max_pool2d(nhwc, {.strides = Pair{1, 2}}).shape() == Shape{2, 4, 3, 3});
    // Behind a convolution of the other layout.
    const Output y =
        nn::conv2d(nchw, {.filters = 4, .padding = Padding::same, .layout = Layout::nchw});
    CHECK(nn::max_pool2d(y, {.layout = Layout::nchw}).shape() == Shape{2, 4, 2, 3});
    CHECK_THROWS_WITH_AS(nn::max_pool2d(nhwc, {.strides = Pair{0, 1}}, "pool"),
                         doctest::Contains("[max_pool2d] 'pool/max_pool2d': strides"),
                         BuildError);
  }

  TEST_CASE("integers beyond a double's digits stay what they are") {
    Graph graph;
    const Output x = placeholder(graph, int64, {2}, "x");
    const Output flag = placeholder(graph, boolean, {2}, "flag");
    const Tensor ones{std::int64_t{1}, std::int64_t{1}};
    Session session(graph);
    const auto run = [&](Output y) {
      return session.run({{x, ones}, {flag, Tensor{true, false}}}, std::vector{y})[0]
          .at<std::int64_t>({0});
    };
    CHECK(run(x + kBig) == kBig + 1);
    CHECK(run(kBig - x) == kBig - 1);
    CHECK(run(x * -kBig) == -kBig);
    CHECK(run(x + static_cast<std::uint64_t>(kBig)) == kBig + 1);
    CHECK(run(maximum(x, kBig)) == kBig);
    CHECK(run(clip(x, kBig, std::numeric_limits<std::int64_t>::max())) == kBig);
    CHECK(run(where(flag, kBig, x)) == kBig);
    CHECK(run(cast(equal(x + (kBig - 1), kBig), int64)) == 1);
    CHECK(run(cast(equal(x + kBig, kBig), int64)) == 0);
    CHECK(run(fill({2}, constant(graph, Tensor(kBig)))) == kBig);
    CHECK(run(apply_where(
              flag, x, [](Output y) { return y; }, kBig, kBig)) == 1);
    const Output v = variable(graph, ones, "v");
    CHECK(run(assign_add(v, fill({2}, constant(graph, Tensor(kBig))))) == kBig + 1);
    CHECK(run(x + std::numeric_limits<std::int64_t>::min()) ==
          std::numeric_limits<std::int64_t>::min() + 1);
    CHECK(Tensor::full(int64, {1}, kBig).at<std::int64_t>({0}) == kBig);
    CHECK(Tensor::full(int64, {1}, -kBig).at<std::int64_t>({0}) == -kBig);
    CHECK(Tensor::full(float32, {1}, 3).at<float>({0}) == 3.f);
    // An integer is rounded to a float once, not by way of a double.
    const std::int64_t between = (std::int64_t{1} << 54) + (1 << 30) + 1;
    const Output f = placeholder(graph, float32, {}, "f");
    CHECK(session.run({{f, Tensor(0.f)}}, f + between).item<float>() ==
          static_cast<float>(between));
  }

  TEST_CASE("borders, bounds and steps of integers keep all digits") {
    Graph graph;
    const std::int64_t large = (std::int64_t{1} << 53) + 1, least = -large;
    const Output x = constant(graph, Tensor{0L, large, std::int64_t{1} << 62});
    const auto values = [&](Output y) {
      const Tensor result = Session(graph).run(y);
      const auto span = result.span<std::int64_t>();
      return std::vector<std::int64_t>(span.begin(), span.end());
    };
    using Longs = std::vector<std::int64_t>;
    CHECK(values(pad(x, {1}, {1}, large)) ==
          Longs{large, 0, large, std::int64_t{1} << 62, large});
    CHECK(values(pad(x, {1}, {0}, 3.0)) == Longs{3, 0, large, std::int64_t{1} << 62});
    CHECK(values(clip_by_value(x, least, large)) == Longs{0, large, large});
    CHECK(values(clip_by_value(x, large, large + 1)) == Longs{large, large, large + 1});
    CHECK(values(pad(pad(x, {1}, {0}, large), {1}, {0}, large - 1)) ==
          Longs{large - 1, large, 0, large, std::int64_t{1} << 62});
    constexpr std::int64_t kLow = std::numeric_limits<std::int64_t>::min(), kHigh = -(kLow + 1);
    CHECK(values(arange(graph, large, large + 7, 3)) == Longs{large, large + 3, large + 6});
    CHECK(values(arange(graph, least, least - 4, -2)) == Longs{least, least - 2});
    CHECK(values(arange(graph, 2.0, 5.0)) == Longs{2, 3, 4});
    CHECK(values(range(graph, {2}, int64, kHigh, -large)) == Longs{kHigh, kHigh - large});
    const Output y = placeholder(graph, float32, {2}, "y");
    CHECK(Session(graph).run({{y, Tensor{1.f, 2.f}}}, pad(y, {1}, {1}, 0.5)).at<float>({0}) ==
          0.5f);
    const int before = graph.num_nodes();
    CHECK_THROWS_WITH_AS(pad(x, {1}, {1}, 0.5), doctest::Contains(": 0.5 is no int64"),
                         BuildError);
    // As doubles these two are one.
    CHECK_THROWS_WITH_AS(clip_by_value(x, large, large - 1),
                         doctest::Contains("clip_by_value: [9007199254740993, 9007199254740992]"),
                         BuildError);
    CHECK_THROWS_AS(clip_by_value(x, 0, 0.5), BuildError);
    CHECK_THROWS_WITH_AS(range(graph, {3}, int64, kHigh - 1),
                         doctest::Contains("do not fit int64"), BuildError);
    CHECK_THROWS_AS(arange(graph, 0, 3, 0), BuildError);
    CHECK_THROWS_AS(arange(graph, 0, 3, 0.5), BuildError);
    CHECK_THROWS_WITH_AS(arange(graph, kLow, kHigh),
                         doctest::Contains("no number of steps of 1 leads from"), BuildError);
    CHECK(graph.num_nodes() == before);
  }

  TEST_CASE("numbers that a dtype does not hold are refused") {
    Graph graph;
    const Output x = placeholder(graph, int64, {2}, "x"), i = placeholder(graph, int32, {2}, "i");
    const Output flag = placeholder(graph, boolean, {}, "flag");
    CHECK_THROWS_WITH_AS(i + kBig, doctest::Contains("1152921504606846977 is no int32"),
                         BuildError);
    CHECK_THROWS_WITH_AS(x + std::numeric_limits<std::uint64_t>::max(),
                         doctest::Contains("is no int64"), BuildError);
    CHECK_THROWS_AS(x + 0x1p63, BuildError);
    CHECK_THROWS_AS(x + std::nan(""), BuildError);
    CHECK_THROWS_AS(equal(flag, 2), BuildError);
    CHECK_NOTHROW(equal(flag, 1));
    CHECK_NOTHROW(equal(flag, true));
    CHECK_NOTHROW(x - 0x1p62);
    CHECK_NOTHROW(x - -0x1p63);
    CHECK_THROWS_AS(pad(x, {1}, {1}, 0x1p63), BuildError);
  }

  TEST_CASE("axes are kept counted from the front, so that equal nodes are found") {
    Graph graph;
    const Output x = placeholder(graph, float32, {2, 1, 4}, "x");
    using Axis = std::int64_t;
    const auto axis = [](Output y) { return y.node().attributes().get<Axis>("axis"); };
    const auto axes = [](Output y) {
      return y.node().attributes().get<std::vector<Axis>>("axes");
    };
    CHECK(axis(softmax(x)) == 2);
    CHECK(axis(log_softmax(x, -2)) == 1);
    CHECK(axis(expand_dims(x, -1)) == 3);
    CHECK(axis(expand_dims(x, -4)) == 0);
    CHECK(axes(squeeze(x, -2)) == std::vector<Axis>{1});
    CHECK(axes(squeeze(expand_dims(x, 0), {-4, 0})) == std::vector<Axis>{0});
    CHECK(axis(argmax(x, -1)) == 2);
    CHECK(axis(gather(x, constant(graph, Tensor{0}), -3)) == 0);
    CHECK(axis(concat({x, x}, -1)) == 2);
    CHECK(axes(sum(x, {-1, 0})) == std::vector<Axis>{0, 2});
    for (const Axis wrong : {-4, 3}) {
      CHECK_THROWS_WITH_AS(softmax(x, wrong), doctest::Contains("is outside [-3,3)"), BuildError);
      CHECK_THROWS_AS(squeeze(x, {wrong}), BuildError);
    }
    CHECK_THROWS_AS(expand_dims(x, -5), BuildError);
    CHECK_THROWS_AS(softmax(constant(graph, Tensor(1.f))), BuildError);
    // One pass makes one node of two.
    Session session(graph, {.exact_rewrites = true});
    const Feeds feeds = {{x, tests::noise({2, 1, 4}, 0, float32)}};
    for (const auto& [a, b] :
         {std::pair{softmax(x, -1), softmax(x, 2)}, {log_softmax(x, -3), log_softmax(x, 0)}})
      CHECK(session.explain_passes(feeds, {gradgraph::sin(a) + gradgraph::sin(b)})
                .find("eliminate_common") != std::string::npos);
  }

  TEST_CASE(
      "what was moved from, or has no value yet, refuses to be used and can be used again") {
    const auto refuses = [](const auto& function) {
      const std::string text = tests::message_of<RunError>(function);
      CHECK_MESSAGE(tests::contains(text, "is empty: it was moved from"), text);
      return text;
    };
    Graph graph;
    const Output x = placeholder(graph, float32, {2}, "x");
    Session session(graph);
    Callable step;
    CHECK(!step);
    CHECK(tests::contains(refuses([&] { step(Tensor{1.f, 2.f}); }), "test_api.cpp:"));
    CHECK(tests::contains(refuses([&] { step.run_steps(2, {}); }), "test_api.cpp:"));
    step = session.prepare({x}, {x + 1.0});
    CHECK(step);
    CHECK(step(Tensor{1.f, 2.f})[0].at<float>({1}) == 3);
    Callable other = std::move(step);
    refuses([&] { step(Tensor{1.f, 2.f}); });
    CHECK(other(Tensor{1.f, 2.f})[0].at<float>({1}) == 3);

    Session moved = std::move(session);
    CHECK(tests::contains(refuses([&] {
                            session.run({{x, Tensor{1.f, 2.f}}}, x);
                          }),
                          "test_api.cpp:"));
    refuses([&] { session.prepare({x}, {x}); });
    refuses([&] { session.explain_placement({}, {x}); });
    refuses([&] { session.step(); });
    CHECK(other(Tensor{1.f, 2.f})[0].at<float>({0}) == 2);
    session = Session(graph);
    CHECK(session.run({{x, Tensor{1.f, 2.f}}}, x).at<float>({1}) == 2);

    data::Batches batches(data::Dataset{{"x", Tensor{1.f, 2.f}}}, 1);
    data::Batches taken = std::move(batches);
    refuses([&] { batches.next(); });
    CHECK(taken.next());
  }
}
