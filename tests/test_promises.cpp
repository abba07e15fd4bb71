#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <sstream>

#include "gradgraph/gradgraph.h"
#include "noise.h"

/// What a user may rely on beyond the results: what a failure leaves behind, what a name or a
/// list in braces means, whose memory a value is.
namespace gg = gradgraph;
using gg::Output;
using gg::Tensor;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<std::string> names(const gg::Graph& graph) {
  std::vector<std::string> result;
  for (const gg::Node& node : graph.nodes()) result.push_back(node.name());
  return result;
}

/// A graph in which everything below can go wrong.
struct Setting {
  gg::Graph graph;
  Output x = gg::placeholder(graph, gg::float32, {4, 8}, "x");
  Output ids = gg::placeholder(graph, gg::int32, {4}, "ids");
  Output flag = gg::placeholder(graph, gg::boolean, {}, "flag");
  Output v = gg::variable(graph, Tensor::zeros(gg::float32, {8, 8}), "v");
  Output assigned = gg::sum(gg::assign_add(v, v));
  Output loss = gg::named(gg::mean(gg::square(gg::matmul(x, v))), "loss");
};

/// What comes after a failure: it must get the names that it would have got without one.
void build_more(Setting& s) {
  auto y = gg::nn::dense(s.x + 1.f, {.units = 4, .activation = gg::relu});
  y = gg::nn::layer_norm(gg::reshape(y * 2.f, {8, 2}));
  gg::Adam{}.minimize(gg::mean(y) + s.loss);
}

}  // namespace

TEST_CASE("promises: what fails while it is built leaves the graph as it was") {
  const gg::nn::Initializer wrong = [](gg::Graph& graph, const gg::Shape&, gg::DType dtype,
                                       gg::SourceLocation) {
    return gg::fill({1}, gg::constant(graph, Tensor::zeros(dtype, {})));
  };
  const std::vector<std::pair<std::string, std::function<void(Setting&)>>> failures = {
      {"shapes that do not broadcast",
       [](Setting& s) {
         gg::add(s.x, Tensor::zeros(gg::float32, {3, 3}));
       }},
      {"a condition that is none", [](Setting& s) { gg::where(s.x, s.x, 0.f); }},
      {"a reshape",
       [](Setting& s) {
         gg::reshape(s.x, {5, 5});
       }},
      {"a slice",
       [](Setting& s) {
         gg::slice(s.x, {0, 0}, {9, 9});
       }},
      {"a pad", [](Setting& s) { gg::pad(s.x, {0}, {0}); }},
      {"a tile",
       [](Setting& s) {
         gg::tile(s.x, {1, 2, 3});
       }},
      {"a broadcast", [](Setting& s) { gg::broadcast_to(s.x, {3}); }},
      {"a sum_to", [](Setting& s) { gg::sum_to(s.x, {3}); }},
      {"a scatter",
       [](Setting& s) {
         gg::scatter_add({9, 9}, s.ids, s.v, 7);
       }},
      {"an assign", [](Setting& s) { gg::assign_add(s.v, Tensor::zeros(gg::float32, {3})); }},
      {"a mask", [](Setting& s) { gg::dropout_mask({4}, gg::float32, 2, s.flag); }},
      {"a dropout", [](Setting& s) { gg::dropout(s.x, 0.5, s.x); }},
      {"a layer's activation",
       [](Setting& s) {
         gg::nn::dense(s.x,
                       {.units = 4, .activation = [](Output y) { return gg::reshape(y, {3}); }});
       }},
      {"a layer's initializer",
       [&](Setting& s) { gg::nn::dense(s.x, {.units = 4, .kernel_initializer = wrong}); }},
      {"a layer's shape", [](Setting& s) { gg::nn::conv2d(s.x, {.filters = 3}); }},
      {"a gradient through an op without one",
       [](Setting& s) {
         gg::gradients({s.loss, s.assigned}, {s.v});
       }},
      {"a schedule",
       [](Setting& s) {
         gg::Adam{.learning_rate = gg::Schedule([](Output step) {
                    return gg::reshape(gg::cast(step, gg::float64) * 0.5, {2});
                  })}
             .minimize(s.loss);
       }},
      {"a rate that is no scalar",
       [](Setting& s) { gg::Adam{.learning_rate = s.x}.minimize(s.loss); }},
      {"a loss without variables",
       [](Setting& s) { gg::Adam{}.minimize(s.loss, {gg::variable(s.x, "w")}); }},
      {"clipping to a negative norm",
       [](Setting& s) { gg::Adam{.clip = {.by_norm = -1}}.minimize(s.loss); }},
      {"a custom gradient without outputs",
       [](Setting& s) {
         gg::custom_gradient(
             {s.x},
             [](const auto& in) {
               gg::neg(in[0]);
               return std::vector<Output>{};
             },
             [](const auto&, const auto&, const auto& grads) { return grads; });
       }},
  };
  Setting untouched;
  build_more(untouched);
  for (const auto& [name, fail] : failures) {
    const std::string& what = name;  // lambdas cannot capture bindings
    CAPTURE(what);
    Setting s;
    std::vector<std::string> before = names(s.graph);
    // The variable of "a loss without variables" is the user's own.
    const bool adds_one = what == "a loss without variables";
    CHECK_THROWS_AS(fail(s), gg::Error);
    if (adds_one) before.emplace_back("w");
    CHECK(names(s.graph) == before);
    CHECK(s.graph.layers().empty());
    if (adds_one) continue;
    build_more(s);
    CHECK(names(s.graph) == names(untouched.graph));
    gg::verify(s.graph);
  }
}

TEST_CASE("promises: a transaction inside another one goes with it") {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {}, "x");
  gg::neg(x);
  {
    gg::BuildTransaction outer(graph);
    const auto scope = gg::scope(graph, "neg");
    {
      gg::BuildTransaction inner(graph);
      gg::neg(gg::neg(x));
      inner.commit();
    }
    CHECK(graph.num_nodes() == 4);
    CHECK(graph.find("neg_1/neg_1"));
  }
  CHECK(graph.num_nodes() == 2);
  CHECK_FALSE(graph.find("neg_1/neg_1"));
  CHECK(gg::neg(x).name() == "neg_1");
  CHECK(gg::neg(x).name() == "neg_2");
}

TEST_CASE("promises: a finalized graph names the line that builds more") {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
  const auto loss = gg::sum(x);
  graph.finalize();
  CHECK(graph.is_finalized());
  gg::Session session(graph);
  const gg::Feeds feeds = {{x, Tensor{1.f, 2.f}}};
  CHECK(session.run(feeds, loss).item<float>() == 3);
  CHECK_THROWS_WITH_AS(
      session.run(feeds, -loss),
      doctest::Contains("[neg] 'neg': the graph is finalized: build what runs "
                        "need once, before Graph::finalize: float32[]  (test_promises.cpp:"),
      gg::BuildError);
  CHECK_THROWS_AS(gg::variable(graph, Tensor(1.f)), gg::BuildError);
  CHECK(session.run(feeds, loss).item<float>() == 3);
}

TEST_CASE("promises: writing to the tensor given to a constant or variable changes neither") {
  gg::Graph graph;
  Tensor value{1.f, 2.f};
  const auto c = gg::constant(graph, value);
  const auto v = gg::variable(graph, value);
  const auto sum = gg::add(c, value);
  const auto w = gg::variable(graph, gg::float32, {2});
  gg::Session session(graph);
  session.set_value(w, value);
  value.data<float>()[0] = 100;
  const auto results = session.run({}, {c, v, sum, w});
  CHECK(results[0].at<float>({0}) == 1);
  CHECK(results[1].at<float>({0}) == 1);
  CHECK(results[2].at<float>({0}) == 2);
  CHECK(results[3].at<float>({0}) == 1);
  // Nor does writing to what a run gave.
  Tensor mine = results[0];
  mine.data<float>()[1] = 100;
  CHECK(session.run({}, c).at<float>({1}) == 2);
}

TEST_CASE("promises: one fetch in braces is a list of one") {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {}, "x");
  const auto y = x * 2.f;
  gg::Session session(graph);
  const gg::Feeds feeds = {{x, Tensor(3.f)}};
  const auto list = session.run(feeds, {y});
  static_assert(std::is_same_v<decltype(list), const std::vector<Tensor>>);
  REQUIRE(list.size() == 1);
  CHECK(list[0].item<float>() == 6);
  CHECK(session.run(feeds, {y, x}).size() == 2);
  CHECK(session.run(feeds, y).item<float>() == 6);
}

TEST_CASE("promises: an Output can be printed") {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {gg::any, 3}, "x");
  const auto parts = gg::split(x, {1, 2}, 1);
  std::ostringstream text;
  text << x << "; " << parts[1] << "; " << Output() << "; " << gg::group(graph, {x}, "all");
  CHECK(text.str() == "x float32[?,3]; split:1 float32[?,2]; (empty); all");
}

TEST_CASE("promises: any function of an Output is an activation") {
  gg::Graph graph;
  const auto x = gg::constant(graph, gg::tests::noise({3, 4}, 1, gg::float32));
  const auto with = [&](gg::nn::Activation activation) {
    return gg::nn::dense(x, {.units = 5,
                             .activation = std::move(activation),
                             .kernel_initializer = gg::nn::constant(0.5)});
  };
  gg::Session session(graph);
  const auto sum_of = [&](Output y) { return session.run(gg::sum(y)).item<float>(); };
  const float plain = sum_of(with({}));
  CHECK(sum_of(with(gg::softmax)) == doctest::Approx(3));
  CHECK(sum_of(with(gg::log_softmax)) < 0);
  CHECK(sum_of(with(gg::tanh)) == doctest::Approx(sum_of(gg::tanh(with({})))));
  CHECK(sum_of(with([](Output y) { return y * 2.f; })) == doctest::Approx(2 * plain));
  CHECK(sum_of(with([](Output y, gg::SourceLocation where) { return gg::neg(y, where); })) ==
        doctest::Approx(-plain));
  CHECK(sum_of(with(std::function<Output(Output)>())) == plain);
  CHECK_THROWS_WITH_AS(with([](Output) { return Output(); }),
                       doctest::Contains("the activation gives an empty Output"), gg::BuildError);
}

TEST_CASE("promises: minimize and apply move what batch_norm tracks") {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {gg::any, 2}, "x");
  const auto training = gg::placeholder(graph, gg::boolean, {}, "training");
  const auto norm = gg::nn::batch_norm(x, {.training = training, .momentum = 0.5}, "norm");
  gg::nn::batch_norm(x, {.training = training, .momentum = 0.5}, "other");
  const auto loss = gg::sum(gg::square(norm.output));
  const auto train = gg::GradientDescent{.learning_rate = 0.1}.minimize(loss);
  const Output mean(*graph.find("norm/running_mean"), 0);
  const Output other_mean(*graph.find("other/running_mean"), 0);
  const auto scale = Output(*graph.find("norm/scale"), 0);
  const auto applied = gg::GradientDescent{}.apply({{scale, gg::gradients({loss}, {scale})[0]}});
  gg::Session session(graph);
  const Tensor batch{{2.f, 4.f}, {4.f, 8.f}};
  session.run({{x, batch}, {training, Tensor(true)}}, train);
  CHECK(session.value(mean).at<float>({0}) == doctest::Approx(1.5));
  // Asked for as well, it still runs once.
  session.run({{x, batch}, {training, Tensor(true)}}, {train, norm.update});
  CHECK(session.value(mean).at<float>({0}) == doctest::Approx(2.25));
  session.run({{x, batch}, {training, Tensor(false)}}, train);
  CHECK(session.value(mean).at<float>({0}) == doctest::Approx(2.25));
  session.run({{x, batch}, {training, Tensor(true)}}, applied);
  CHECK(session.value(mean).at<float>({0}) == doctest::Approx(2.625));
  // A layer that the loss does not depend on stays as it is.
  CHECK(session.value(other_mean).at<float>({0}) == 0);
}

TEST_CASE("promises: layers refuse what they cannot mean") {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {gg::any, 6, 6, 2}, "x");
  const auto training = gg::placeholder(graph, gg::boolean, {}, "training");
  for (const double epsilon : {-1.0, -1e-30, std::nan(""), double(INFINITY)}) {
    CHECK_THROWS_WITH_AS(gg::nn::batch_norm(x, {.training = training, .epsilon = epsilon}),
                         doctest::Contains("epsilon must be 0 or more"), gg::BuildError);
    CHECK_THROWS_WITH_AS(gg::nn::layer_norm(x, epsilon),
                         doctest::Contains("epsilon must be 0 or more"), gg::BuildError);
  }
  const auto padded = gg::nn::conv2d(
      x, {.filters = 3, .padding = gg::Padding::explicit_, .border = {1, 2, 3, 4}});
  CHECK(padded.shape() == gg::Shape{gg::any, 6 + 1 + 2 - 2, 6 + 3 + 4 - 2, 3});
}

TEST_CASE("promises: a batch has as many samples as its arrays' first axis") {
  CHECK(gg::data::Batch().size() == 0);
  CHECK(gg::data::Batch({{"labels", Tensor::zeros(gg::float32, {4, 2})}}).size() == 4);
  const gg::data::Dataset data{{"images", Tensor::zeros(gg::float32, {10, 3})},
                               {"labels", Tensor::zeros(gg::float32, {10, 2, 2})}};
  std::int64_t samples = 0;
  for (const auto& part : gg::data::batches(data, 4)) samples += part.size();
  CHECK(samples == 10);
}

TEST_CASE("promises: a value of the wrong dtype says how to convert it") {
  gg::Graph graph;
  const auto labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
  gg::Session session(graph);
  CHECK_THROWS_WITH_AS(session.run({{labels, Tensor{0, 1}}}, labels),
                       doctest::Contains("'labels' takes int64[?], not int32[2]: "
                                         "`.cast(gg::int64)` converts a Tensor"),
                       gg::RunError);
}

TEST_CASE("promises: apply_where keeps what a function is not made for out of its gradient") {
  gg::Graph graph;
  const auto x = gg::constant(graph, Tensor{-1.f, 0.f, 4.f});
  const auto positive = gg::greater(x, 0.f);
  struct Case {
    gg::UnaryFunction function;
    float value, gradient;
    double stand_in = 1;
  };
  const std::vector<Case> cases = {
      {gg::log, std::log(4.f), 0.25f},
      {gg::sqrt, 2, 0.25f},
      {gg::rsqrt, 0.5f, -0.0625f},
      {[](Output y) { return 1.f / y; }, 0.25f, -0.0625f},
      {[](Output y) { return gg::log(y - 3.f); }, 0, 1, 4},
  };
  gg::Session session(graph);
  for (const Case& c : cases) {
    const auto y = gg::apply_where(positive, x, c.function, 7.f, c.stand_in);
    const auto first = gg::gradients({y}, {x})[0];
    const auto second = gg::gradients({first}, {x})[0];
    const auto results = session.run({}, {y, first, second});
    CHECK(results[0].at<float>({0}) == 7);
    CHECK(results[0].at<float>({1}) == 7);
    CHECK(results[0].at<float>({2}) == doctest::Approx(c.value));
    for (int i = 0; i < 2; ++i)
      for (const Tensor& gradient : {results[1], results[2]}) CHECK(gradient.at<float>({i}) == 0);
    CHECK(results[1].at<float>({2}) == doctest::Approx(c.gradient));
    CHECK(std::isfinite(results[2].at<float>({2})));
  }
  // As docs/ops.md says, a plain choice lets NaN through.
  const auto plain = gg::where(positive, gg::log(x), 7.f);
  CHECK(std::isnan(session.run(gg::gradients({plain}, {x})[0]).at<float>({1})));
  CHECK_THROWS_WITH_AS(gg::apply_where(positive, x, gg::UnaryFunction(), 0.f),
                       doctest::Contains("there is no function"), gg::BuildError);
  CHECK_THROWS_WITH_AS(gg::apply_where(
                           positive, x, [](Output) { return Output(); }, 0.f),
                       doctest::Contains("the function gives an empty Output"), gg::BuildError);
}

TEST_CASE("promises: a custom gradient refuses what it would give no gradient") {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {2}, "x");
  const auto w = gg::variable(graph, Tensor{1.f, 2.f}, "w");
  const auto hidden = gg::exp(w);
  const auto build = [&](const std::vector<Output>& inputs,
                         const std::function<Output(const std::vector<Output>&)>& forward) {
    return gg::custom_gradient(
        inputs, [&](const auto& in) { return std::vector<Output>{forward(in)}; },
        [](const auto& in, const auto&, const auto& grads) {
          return std::vector<Output>(in.size(), grads[0]);
        });
  };
  const int before = graph.num_nodes();
  for (const auto& forward : std::vector<std::function<Output(const std::vector<Output>&)>>{
           [&](const auto& in) { return in[0] * w; },
           [&](const auto& in) { return in[0] * hidden; }, [&](const auto&) { return w; },
           [&](const auto& in) { return in[0] + gg::sum(gg::tanh(hidden * 2.f)); }})
    CHECK_THROWS_WITH_AS(
        build({x}, forward),
        doctest::Contains("[custom_gradient] 'custom_gradient': the forward function reads "
                          "variable 'w', which is not among its inputs"),
        gg::BuildError);
  CHECK_THROWS_WITH_AS(build({w}, [&](const auto& in) { return in[0] * x; }),
                       doctest::Contains("reads placeholder 'x'"), gg::BuildError);
  CHECK(graph.num_nodes() == before);
  CHECK_NOTHROW(build({x, w}, [](const auto& in) { return in[0] * in[1]; }));
  CHECK_NOTHROW(build({x, hidden}, [&](const auto& in) { return in[0] * in[1]; }));
  CHECK_NOTHROW(build({x}, [&](const auto& in) { return in[0] * gg::stop_gradient(w); }));
  CHECK_NOTHROW(build({x}, [&](const auto& in) {
    return in[0] * gg::cast(gg::greater(w, 0.f), gg::float32) + Tensor{1.f, kNan};
  }));
}

TEST_CASE("promises: messages say what is there, and where") {
  gg::Graph graph;
  const auto x = gg::placeholder(graph, gg::float32, {4}, "x");
  const auto v = gg::variable(graph, Tensor{1.f, 2.f}, "v");
  const auto parts = gg::split(x, {1, 3}, 0);
  const auto update = gg::assign_add(v, Tensor{1.f, 1.f});
  gg::Session session(graph);
  const auto message = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const gg::Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  const auto says = [&](auto&& call, std::string_view part) {
    const std::string text = message(call);
    CHECK_MESSAGE(text.find(part) != std::string::npos, text);
    CHECK_MESSAGE(text.find("(test_promises.cpp:") != std::string::npos, text);
  };
  says([&] { gg::neg(parts[0].node().output(5)); },
       "[neg] 'neg': input 'split:5' is not there: [split] 'split' has 2 outputs");
  says([&] { parts[0].node().output(5).shape(); },
       "[split] 'split': has no output 5, only 0 to 1");
  says(
      [&] {
        session.run({{v, Tensor{5.f, 6.f}}}, update);
      },
      "[assign_add] 'assign_add': updates variable 'v', which this run feeds");
  says([&] { gg::Session(graph, {.disabled_passes = {"nonsense"}}); },
       "disabled_passes: there is no pass 'nonsense', only simplify");
  says([&] { gg::Session(graph, {.device = "abacus"}); }, "there is no device 'abacus'");
  says([&] { gg::Session(graph, {.threads = -1}); }, "-1 is no number of threads");
  auto call = session.prepare({x}, {gg::neg(x)});
  const std::string line = std::to_string(__LINE__ + 1);
  const std::string text = message([&] { call(); });
  CHECK(text == "takes 1 feed ('x'), not 0  (test_promises.cpp:" + line + ")");
  says([&] { call(Tensor{1.f}, Tensor{1.f}); }, "takes 1 feed ('x'), not 2");
  says([&] { call(Tensor{1.f}); }, "'x' takes float32[4], not float32[1]");
  says([&] { gg::cosine_schedule(-1, 10); }, "cosine_schedule: a learning rate cannot be -1");
  says([&] { gg::warm_up(0, 1, gg::constant_schedule(1)); },
       "warm_up: the number of steps must be positive, not 0");
  says([&] { gg::warm_up(5, 1, {}); }, "warm_up: needs a schedule for the steps after it");
  says([&] { gg::Adam{.learning_rate = gg::Schedule()}.minimize(gg::sum(v)); },
       "the learning rate is an empty schedule");
  says(
      [&] {
        gg::custom_gradient(
            {x}, [](const auto& in) { return in; }, nullptr);
      },
      "the forward or the gradient function is missing");
  const auto named = gg::named(gg::neg(x), std::string("nul\0l", 5));
  says([&] { gg::reshape(named, {3}); }, "[reshape]");
  CHECK(message([&] { gg::named(Output(), std::string("a\0b", 3)); }).find("'a\\0b'") !=
        std::string::npos);
}
