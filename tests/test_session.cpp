#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>

#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "session/session_state.h"

using namespace gradgraph;
using tests::contains;
using tests::message_of;

namespace {

std::string line(int number) { return "test_session.cpp:" + std::to_string(number); }

}  // namespace

TEST_SUITE("session") {
  TEST_CASE("a run computes fetches from feeds") {
    Graph graph;
    const Output x = placeholder(graph, float32, {any, 2}, "x");
    const Output y = 2.0f * x + 1.0f;
    Session session(graph);
    const Tensor result = session.run({{x, Tensor{{1.f, 2.f}, {3.f, 4.f}}}}, y);
    CHECK(result.shape() == Shape{2, 2});
    CHECK(result.at<float>({1, 1}) == 9.f);
    // Another batch, another plan; the first result stays as it was.
    CHECK(session.run({{x, Tensor{{5.f, 6.f}}}}, y).at<float>({0, 0}) == 11.f);
    CHECK(session.run({{x, Tensor(float32, {0, 2})}}, y).shape() == Shape{0, 2});
    CHECK(result.at<float>({0, 0}) == 3.f);
  }

  TEST_CASE("any output can be fed, and what it hides is not needed") {
    Graph graph;
    const Output x = placeholder(graph, float32, {}, "x");
    const Output y = x * 3.f;
    const Output z = y + 1.f;
    Session session(graph);
    CHECK(session.run({{y, Tensor(10.f)}}, z).item<float>() == 11.f);
    const auto both = session.run({{y, Tensor(10.f)}}, {y, z});
    CHECK(both[0].item<float>() == 10.f);
  }

  TEST_CASE("variables are initialised on first use, each in its own session") {
    Graph graph;
    const Output w = variable(graph, Tensor{1.f, 2.f}, "w");
    const Output doubled = variable(w * 2.f, "doubled");
    const Output update = assign_add(w, Tensor{10.f, 10.f});
    Session a(graph), b(graph);
    CHECK_FALSE(a.is_initialized(doubled));
    CHECK(a.value(doubled).at<float>({1}) == 4.f);
    CHECK(a.is_initialized(w));
    CHECK(a.run(update).at<float>({0}) == 11.f);
    CHECK(a.value(w).at<float>({0}) == 11.f);
    CHECK(b.value(w).at<float>({0}) == 1.f);
    b.set_value(w, Tensor{7.f, 8.f});
    CHECK(b.run(identity(w)).at<float>({1}) == 8.f);
  }

  TEST_CASE("assign gives a first value to a variable without one") {
    Graph graph;
    const Output w = variable(graph, float32, {2}, "w");
    const Output set = assign(w, Tensor{1.f, 2.f});
    Session session(graph);
    session.run(set);
    CHECK(session.value(w).at<float>({1}) == 2.f);
  }

  TEST_CASE("initial values depend on seed and name, not on the step or the order of runs") {
    Graph graph;
    const Output w = variable(random_normal(graph, {4}), "w");
    const Output noise = random_uniform(graph, {4});
    Session a(graph, {.seed = 5}), b(graph, {.seed = 5}), c(graph, {.seed = 6});
    a.run(noise);
    a.run(noise);
    CHECK(a.value(w).to_string() == b.value(w).to_string());
    CHECK(a.value(w).to_string() != c.value(w).to_string());
    CHECK(a.run(noise).to_string() != a.run(noise).to_string());
    a.set_step(0);
    b.set_step(0);
    CHECK(a.run(noise).to_string() == b.run(noise).to_string());
    CHECK(a.step() == 1);
  }
}

TEST_SUITE("step semantics") {
  TEST_CASE("reads see the value from before the run's updates") {
    Graph graph;
    const Output w = variable(graph, Tensor(1.f), "w");
    const Output update = assign_add(w, 1.f);
    const Output after_creation = w * 10.f;  // made later, still not after the update
    Session session(graph);
    const auto results = session.run({}, {w, update, after_creation});
    CHECK(results[0].item<float>() == 1.f);
    CHECK(results[1].item<float>() == 2.f);
    CHECK(results[2].item<float>() == 10.f);
    CHECK(session.value(w).item<float>() == 2.f);
  }

  TEST_CASE("a control input puts a read after the update") {
    Graph graph;
    const Output w = variable(graph, Tensor(1.f), "w");
    const Output update = assign(w, 5.f);
    Output late;
    {
      const auto after = control_dependencies(graph, {update});
      late = identity(w);
    }
    const Output early = identity(w);
    Session session(graph);
    const auto results = session.run({}, {late, early});
    CHECK(results[0].item<float>() == 5.f);
    CHECK(results[1].item<float>() == 1.f);
  }

  TEST_CASE("two variables can be swapped") {
    Graph graph;
    const Output a = variable(graph, Tensor{1.f, 2.f}, "a");
    const Output b = variable(graph, Tensor{3.f, 4.f}, "b");
    const Output both = group(graph, {assign(a, b), assign(b, a)});
    Session session(graph);
    session.run(both);
    CHECK(session.value(a).at<float>({0}) == 3.f);
    CHECK(session.value(b).at<float>({1}) == 2.f);
    session.run(both);
    CHECK(session.value(a).at<float>({0}) == 1.f);
  }

  TEST_CASE("a view of a variable keeps the old value") {
    Graph graph;
    const Output w = variable(graph, Tensor{1.f, 2.f}, "w");
    const Output view = reshape(w, {2, 1});
    const Output update = assign(w, Tensor{8.f, 9.f});
    Output late;
    {
      const auto after = control_dependencies(graph, {update});
      late = view * 1.f;  // runs after the update, reads the view from before
    }
    Session session(graph);
    CHECK(session.run(late).at<float>({0, 0}) == 1.f);
  }

  TEST_CASE("updates in a row by control inputs") {
    Graph graph;
    const Output w = variable(graph, Tensor(1.f), "w");
    const Output first = assign_add(w, 1.f);
    Output second;
    {
      const auto after = control_dependencies(graph, {first});
      second = assign(w, w * 10.f);
    }
    Session session(graph);
    CHECK(session.run(second).item<float>() == 20.f);
  }

  TEST_CASE("bad input: two updates without an order") {
    Graph graph;
    const Output w = variable(graph, Tensor(1.f), "w");
    assign_add(w, 4.f);  // not of this run
    const Output a = assign_add(w, 1.f);
    const Output b = assign_add(w, 2.f);
    Session session(graph);
    const std::string message = message_of([&] { session.run({}, {b, a}); });
    CHECK(contains(message, "[variable] 'w': 'assign_add_1' (test_session.cpp:"));
    CHECK(contains(message, ") and 'assign_add_2' (test_session.cpp:"));
    CHECK(contains(message, "update it, and this run has no order for them"));
    CHECK(contains(message, line(__LINE__ - 7)));
    CHECK(session.value(w).item<float>() == 1.f);
  }

  TEST_CASE("a run that throws leaves every variable as it was") {
    Graph graph;
    const Output w = variable(graph, Tensor{0.f, 0.f}, "w");
    const Output count = variable(graph, Tensor(0.f), "count");
    const Output index = placeholder(graph, int64, {1}, "index");
    const Output update = assign_add(w, Tensor{1.f, 1.f});
    const Output counted = assign_add(count, 1.f);
    Output late;
    {  // fails after both updates have run
      const auto after = control_dependencies(graph, {update, counted});
      late = gather(w, index);
    }
    const int gather_line = __LINE__ - 2;
    Session session(graph);
    const std::string message = message_of([&] {
      session.run({{index, Tensor{std::int64_t{5}}}}, {late, counted});
    });
    CHECK(contains(message, "[gather]"));
    CHECK(contains(message, line(gather_line)));
    CHECK(session.value(w).at<float>({0}) == 0.f);
    CHECK(session.value(count).item<float>() == 0.f);
    // The session stays usable.
    CHECK(session.run({{index, Tensor{std::int64_t{1}}}}, late).at<float>({0}) == 1.f);
    CHECK(session.value(count).item<float>() == 1.f);
  }
}

TEST_SUITE("callable") {
  TEST_CASE("results are reused unless the caller holds them") {
    Graph graph;
    const Output x = placeholder(graph, float32, {2}, "x");
    Session session(graph);
    Callable square_it = session.prepare({x}, {square(x)});
    const void* memory = square_it(Tensor{1.f, 2.f})[0].raw();
    CHECK(square_it(Tensor{3.f, 4.f})[0].raw() == memory);
    const Tensor held = square_it(Tensor{3.f, 4.f})[0];
    CHECK(square_it(Tensor{5.f, 6.f})[0].at<float>({0}) == 25.f);
    CHECK(held.at<float>({0}) == 9.f);
  }

  TEST_CASE("sessions on one graph run at once") {
    Graph graph;
    const Output w = variable(graph, Tensor(0.f), "w");
    const Output update = assign_add(w, 1.f);
    const auto count_to = [&](Session& session, int steps) {
      Callable step = session.prepare({}, {update});
      for (int i = 0; i < steps; ++i) step();
    };
    Session a(graph), b(graph);
    std::thread other([&] { count_to(a, 300); });
    count_to(b, 200);
    other.join();
    CHECK(a.value(w).item<float>() == 300.f);
    CHECK(b.value(w).item<float>() == 200.f);
  }

  TEST_CASE("denormal numbers are zero in training steps, unless asked otherwise") {
    constexpr std::int64_t kCount = 1 << 20;  // enough for all threads
    constexpr float kTiny = 1e-39F;
    Graph graph;
    const Output w = variable(graph, Tensor::full(float32, {kCount}, kTiny), "w");
    const Output half = 0.5F * w;
    const Output update = assign_sub(w, half);
    const auto halves = [&](const SessionOptions& options, const std::vector<Output>& fetches) {
      Session session(graph, options);
      session.set_value(w, Tensor::full(float32, {kCount}, kTiny));
      const Tensor result = session.run({}, fetches).front();
      return std::ranges::count_if(result.span<float>(), [](float x) { return x > 0; });
    };
    CHECK(halves({.threads = 2}, {half}) == kCount);
    CHECK(halves({.threads = 2, .flush_denormals = false}, {half, update}) == kCount);
    volatile float tiny = kTiny;
#ifdef __SSE2__
    CHECK(halves({.threads = 2}, {half, update}) == 0);
#endif
    CHECK(0.5F * tiny > 0);  // the caller's thread is left as it was
  }

  TEST_CASE("plans are kept up to a bound") {
    Graph graph;
    const Output x = placeholder(graph, float32, {any}, "x");
    const Output y = sum(x);
    Session session(graph, {.plan_cache_size = 2});
    Callable total = session.prepare({x}, {y});
    const auto cached = [&](std::int64_t size) {
      total(Tensor::zeros(float32, {size}));
      return session.last_run().plan_was_cached;
    };
    CHECK_FALSE(cached(1));
    CHECK_FALSE(cached(2));
    CHECK(cached(1));
    CHECK_FALSE(cached(3));  // 2 was not used for longest
    CHECK(cached(1));
    CHECK_FALSE(cached(2));
  }

  TEST_CASE("step statistics name the user's nodes") {
    Graph graph;
    const Output x = placeholder(graph, float32, {8}, "x");
    const Output y = named(exp(x), "y");
    Session session(graph, {.node_times = true});
    session.run({{x, Tensor::zeros(float32, {8})}}, y);
    const RunStats& stats = session.last_run();
    REQUIRE(stats.nodes.size() == 1);
    CHECK(stats.nodes[0].node == &y.node());
    CHECK(stats.nodes[0].seconds >= 0);
    CHECK(stats.total_seconds >= stats.nodes[0].seconds);
  }
}

TEST_SUITE("shapes that depend on values") {
  TEST_CASE("a fed shape makes a plan of its own") {
    Graph graph;
    const Output x = placeholder(graph, float32, {any}, "x");
    const Output shape = placeholder(graph, int64, {2}, "shape");
    const Output y = reshape(x, shape);
    Session session(graph);
    const Tensor values = Tensor::zeros(float32, {6});
    const auto shape_for = [&](std::int64_t a, std::int64_t b) {
      return session.run({{x, values}, {shape, Tensor{a, b}}}, y).shape();
    };
    CHECK(shape_for(2, 3) == Shape{2, 3});
    CHECK(shape_for(3, -1) == Shape{3, 2});
    CHECK(contains(message_of([&] { shape_for(4, 2); }), "[reshape]"));
  }

  TEST_CASE("arithmetic on shapes is done before the run") {
    Graph graph;
    const Output x = placeholder(graph, float32, {any, any}, "x");
    const Output rows = slice(shape_of(x), {0}, {1});
    const Output y =
        reshape(x, concat({rows * std::int64_t{2}, constant(graph, Tensor{-1L})}, 0));
    Session session(graph);
    CHECK(session.run({{x, Tensor::zeros(float32, {3, 4})}}, y).shape() == Shape{6, 2});
  }

  TEST_CASE("bad input: a shape that only the run knows") {
    Graph graph;
    const Output x = placeholder(graph, float32, {4}, "x");
    const Output size = variable(graph, Tensor{std::int64_t{2}, std::int64_t{2}}, "size");
    const Output y = reshape(x, size);
    Session session(graph);
    const std::string message = message_of([&] {
      session.run({{x, Tensor::zeros(float32, {4})}}, y);
    });
    CHECK(contains(message, "only known during the run"));
    CHECK(contains(message, line(__LINE__ - 6)));
  }
}

TEST_SUITE("bad input") {
  TEST_CASE("runs say what is wrong and where") {
    Graph graph, other;
    const Output x = placeholder(graph, float32, {any, 3}, "images");
    const int placeholder_line = __LINE__ - 1;
    const Output y = named(x + 1.f, "y");
    const Output empty_variable = variable(graph, float32, {2}, "empty");
    const int variable_line = __LINE__ - 1;
    const Output elsewhere = placeholder(other, float32, {}, "elsewhere");
    Session session(graph);
    const Tensor good = Tensor::zeros(float32, {2, 3});

    std::string message = message_of([&] { session.run(y); });
    CHECK(contains(message, "'images'"));
    CHECK(contains(message, "was not fed"));
    CHECK(contains(message, line(placeholder_line)));
    CHECK(contains(message, line(__LINE__ - 4)));

    message = message_of([&] { session.run({{x, Tensor::zeros(float32, {2, 4})}}, y); });
    CHECK(contains(message, "'images' takes float32[?,3], not float32[2,4]"));
    CHECK(contains(message, line(__LINE__ - 2)));

    message = message_of([&] { session.run({{x, Tensor::zeros(float64, {2, 3})}}, y); });
    CHECK(contains(message, "not float64[2,3]"));
    CHECK(contains(message, line(__LINE__ - 2)));

    message = message_of([&] { session.run({{x, Tensor()}}, y); });
    CHECK(contains(message, "'images' is empty"));

    message = message_of([&] { session.run({{x, good}, {x, good}}, y); });
    CHECK(contains(message, "'images' is fed twice"));

    message = message_of([&] { session.run({{elsewhere, Tensor(1.f)}}, y); });
    CHECK(contains(message, "feed 'elsewhere' is of another graph"));

    message = message_of([&] { session.run(elsewhere); });
    CHECK(contains(message, "fetch 'elsewhere' is of another graph"));
    CHECK(contains(message, line(__LINE__ - 2)));

    message = message_of([&] { session.run(Output()); });
    CHECK(contains(message, "fetch 0 of 1 is empty"));

    message = message_of([&] { session.run(identity(empty_variable)); });
    CHECK(contains(message, "variable 'empty'"));
    CHECK(contains(message, line(variable_line)));
    CHECK(contains(message, line(__LINE__ - 3)));

    message = message_of([&] { session.value(y); });
    CHECK(contains(message, "'y' is no variable"));
    CHECK(contains(message, line(__LINE__ - 2)));

    message = message_of([&] { session.set_value(empty_variable, Tensor{1.f, 2.f, 3.f}); });
    CHECK(contains(message, "'empty' takes float32[2], not float32[3]"));
    CHECK(contains(message, line(__LINE__ - 2)));

    Callable callable = session.prepare({x}, {y});
    message = message_of([&] { callable(); });
    CHECK(contains(message, "takes 1 feed ('images'), not 0"));
    CHECK(contains(message, line(__LINE__ - 2)));

    message = message_of([&] { Session(graph, {.device = "gpu"}); });
    CHECK(contains(message, "there is no device 'gpu'"));
    CHECK(contains(message, "cpu"));

    message = message_of([&] { Session(graph, {.threads = -1}); });
    CHECK(contains(message, "-1 is no number of threads"));

    CHECK(session.run({{x, good}}, y).at<float>({1, 2}) == 1.f);
  }
}
