#include <doctest/doctest.h>
#include <pthread.h>

#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "messages.h"

/// Variables whose first values are made of each other's.
using namespace gradgraph;
using tests::contains;
using tests::message_of;

namespace {

void check_says(const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) CHECK_MESSAGE(contains(message, part), message);
}

std::string line(int number) {
  return " (test_initial_values.cpp:" + std::to_string(number) + ")";
}

/// Runs `body` on a stack that a call for each of some ten thousand nodes would not fit on.
void with_small_stack(const std::function<void()>& body) {
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, 256 * 1024) == 0);
  pthread_t thread{};
  const auto run = [](void* argument) -> void* {
    (*static_cast<const std::function<void()>*>(argument))();
    return nullptr;
  };
  void* argument = const_cast<std::function<void()>*>(&body);
  REQUIRE(pthread_create(&thread, &attributes, run, argument) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

constexpr int kDeep = 20000;

}  // namespace

TEST_SUITE("initial values") {
  TEST_CASE("variables that need each other's first values are named, with their lines") {
    Graph graph;
    const Output v = variable(graph, float32, {2}, "v");
    const int own = __LINE__ - 1;
    graph.set_initial_value(v.node(), v + 1.f);
    const Output a = variable(graph, float32, {}, "a");
    const Output b = variable(a * 2.f, "b");
    const Output c = variable(b - a, "c");
    const int last = __LINE__ - 1;
    graph.set_initial_value(a.node(), sum(v) + c * 3.f);
    const Output user = variable(c + 1.f, "user"), other = variable(graph, Tensor(5.f), "other");

    Session session(graph);
    const std::string itself = message_of<RunError>([&] { session.value(v); });
    check_says(itself,
               {"the initial value of variable 'v'" + line(own) + " needs that of 'v' itself",
                "set_value"});
    session.set_value(v, Tensor{1.f, 2.f});
    const std::string circle = message_of<RunError>([&] { session.run(user * 1.f); });
    check_says(circle, {"'a'" + line(last - 2), "'b'" + line(last - 1), "'c'" + line(last)});
    CHECK(message_of<RunError>([&] { session.initialize(); }) != "(no error)");
    for (const Output& variable : {a, b, c, user}) CHECK_FALSE(session.is_initialized(variable));
    CHECK(session.value(other).item<float>() == 5.f);

    session.set_value(c, Tensor(4.f));
    CHECK(session.value(b).item<float>() == 2 * (3.f + 12.f));
    CHECK(session.value(user).item<float>() == 5.f);
  }

  TEST_CASE("a long circle is named by its beginning") {
    Graph graph;
    const Output first = variable(graph, float32, {}, "first");
    Output v = first;
    for (int i = 0; i < kDeep; ++i) v = variable(v + 1.f);
    graph.set_initial_value(first.node(), v * 0.5f);
    Session session(graph);
    const std::string message = message_of<RunError>([&] { session.value(v); });
    check_says(message, {"variable_19999", "19993 more"});
    CHECK(message.size() < 2000);
  }

  TEST_CASE("a long chain of variables gets its values in one run") {
    Graph graph;
    const Output first = variable(random_normal(graph, {3}, float64), "first");
    std::vector<Output> chain{first};
    while (chain.size() < kDeep) chain.push_back(variable(chain.back() + 1.0));
    with_small_stack([&] {
      Session session(graph);
      const Tensor last = session.value(chain.back()), begin = session.value(first);
      for (std::int64_t i = 0; i < 3; ++i)
        CHECK(last.at<double>({i}) == doctest::Approx(begin.at<double>({i}) + kDeep - 1));
      CHECK(session.last_run().nodes_run > kDeep);
      for (const Output& v : {chain[1], chain[kDeep / 2]}) CHECK(session.is_initialized(v));
      // From the middle on, with what is there.
      Session other(graph);
      other.set_value(chain[kDeep / 2], Tensor{1.0, 2.0, 3.0});
      CHECK(other.value(chain.back()).at<double>({2}) == kDeep - 1 - kDeep / 2 + 3.0);
      CHECK_FALSE(other.is_initialized(first));
    });
  }

  TEST_CASE("each variable is drawn once, whoever needs it") {
    Graph graph;
    const Output noise = random_uniform(graph, {4});
    const Output a = variable(noise, "a"), b = variable(noise * 1.f, "b");
    const Output c = variable(a + b, "c"), d = variable(c - a, "d");
    Session session(graph, {.seed = 3}), one_by_one(graph, {.seed = 3});
    session.initialize();
    for (const Output& v : {a, b, c, d})
      CHECK(one_by_one.value(v).to_string() == session.value(v).to_string());
    CHECK(session.value(a).to_string() == session.value(b).to_string());
    CHECK(session.value(c).at<float>({2}) == 2 * session.value(a).at<float>({2}));
  }

  TEST_CASE("a shape is no value, and control inputs are not followed") {
    Graph graph;
    const Output w = variable(graph, float32, {2, 3}, "w");
    graph.set_initial_value(w.node(), zeros_like(w) + 1.f);
    const Output count = variable(graph, Tensor(0.f), "count");
    const Output missing = variable(graph, float32, {2}, "missing");
    Output inside;
    {
      const auto after = control_dependencies(graph, {assign_add(count, 1.f), missing * 2.f});
      inside = variable(count + sum(w), "inside");
    }
    Session session(graph);
    CHECK(session.value(inside).item<float>() == 6.f);
    CHECK(session.value(count).item<float>() == 0.f);
    CHECK(session.value(variable(ones_like(missing), "like")).at<float>({1}) == 1.f);
    CHECK_FALSE(session.is_initialized(missing));
    check_says(message_of<RunError>([&] { session.value(variable(missing + 1.f)); }),
               {"'missing'", "has no value"});
  }

  TEST_CASE("an initial value that does not fit, or that an update gives, is refused") {
    Graph graph;
    const Output v = variable(graph, float32, {2}, "v"),
                 other = variable(graph, Tensor(1.f), "o");
    const auto refused = [&](Output value, const std::string& part) {
      CHECK_THROWS_WITH_AS(graph.set_initial_value(v.node(), value),
                           doctest::Contains(part.c_str()), BuildError);
    };
    refused(constant(graph, Tensor{1.f, 2.f, 3.f}), "is float32[3], not float32[2]");
    refused(constant(graph, Tensor{1.0, 2.0}), "is float64[2], not float32[2]");
    Graph foreign;
    refused(constant(foreign, Tensor{1.f, 2.f}), "another graph");
    Session session(graph);
    // Of a length that only the run knows.
    const Output length = cast(constant(graph, Tensor{3}), int64);
    graph.set_initial_value(v.node(), fill(length, constant(graph, Tensor(1.f))));
    check_says(message_of<RunError>([&] { session.value(v); }),
               {"[variable] 'v'", "float32[3], not float32[2]"});
    CHECK_FALSE(session.is_initialized(v));

    const Output w = variable(assign_add(other, 1.f) * 2.f, "w");
    const std::string update = message_of<RunError>([&] { session.value(w); });
    check_says(update, {"[assign_add]", "'w'" + line(__LINE__ - 2)});
    CHECK(session.value(other).item<float>() == 1.f);
  }
}

TEST_SUITE("deep graphs") {
  TEST_CASE("a long chain of updates of one variable runs in its order") {
    Graph graph;
    const Output v = variable(graph, Tensor(0.0), "v");
    Output update = v, sum_of_some = constant(graph, Tensor(0.0));
    for (int i = 1; i <= kDeep; ++i) {
      const auto after = control_dependencies(graph, {update});
      if (i % 5000 == 0) sum_of_some = sum_of_some + identity(v);
      update = assign_add(v, 1.0);
    }
    with_small_stack([&] {
      Session session(graph, {.threads = 1});
      // Those before an identity number 4999, 9999, 14999 and 19999.
      CHECK(session.run({}, {sum_of_some, update})[0].item<double>() == 49996.0);
      CHECK(session.value(v).item<double>() == kDeep);
    });
  }

  TEST_CASE("no stage between the user's graph and its first run needs a deep stack") {
    with_small_stack([] {
      Graph graph;
      const Output w = variable(graph, Tensor{1.f, 2.f}, "w");
      const Output x = placeholder(graph, float32, {any, 2}, "x");
      Output y = x;
      for (int i = 0; i < kDeep / 4; ++i) {
        y = gradgraph::tanh(y) * w;
        y = -identity(-y) + 1.f;  // for passes
      }
      {
        const auto again = recompute(graph, "again");
        for (int i = 0; i < kDeep / 4; ++i) y = gradgraph::sin(y);
      }
      Output before = y;
      for (int i = 0; i < kDeep / 4; ++i) {
        const auto after = control_dependencies(graph, {before});
        before = x * 2.f;
      }
      const Output loss = sum(y) + sum(before);
      const Output train = GradientDescent{}.minimize(loss);
      verify(graph);
      for (const bool without : {false, true}) {
        std::vector<std::string> disabled;
        if (without)
          disabled = {"simplify", "eliminate_moves", "eliminate_common", "fuse_elementwise",
                      "merge_elementwise"};
        Session session(graph, {.threads = 1, .disabled_passes = disabled});
        session.run({{x, Tensor{{0.5f, 0.25f}}}}, {loss, train});
        CHECK(session.explain_placement({{x, Tensor{{0.5f, 0.25f}}}}, {train}).size() > 0);
      }
      std::ostringstream picture;
      write_dot(graph, picture, {.fetches = {loss}});
      CHECK(picture.str().size() > 1000);
    });
  }

  TEST_CASE("vectors of sizes may be made of each other without end") {
    with_small_stack([] {
      Graph graph;
      const Output x = placeholder(graph, float32, {2, any}, "x");
      const Output given = placeholder(graph, int64, {2}, "given");
      for (const Output& vector : {shape_of(x), given}) {
        Output views = vector, parts = vector, picked = vector;
        for (int i = 0; i < kDeep; ++i) {
          views = identity(views);
          picked = gather(picked, constant(graph, Tensor{1, 0}));
        }
        for (int i = 0; i < 200; ++i)
          parts = concat({slice(parts, {1}, {1}), slice(parts, {0}, {1})}, 0);
        Session session(graph, {.threads = 1});
        for (const Output& shape : {views, parts, picked}) {
          const Output wide = fill(shape, constant(graph, Tensor(1.f)));
          const Feeds feeds = {{x, Tensor(float32, {2, 3})},
                               {given, Tensor{std::int64_t{2}, std::int64_t{3}}}};
          CHECK(session.run(feeds, wide).shape() == Shape{2, 3});
          CHECK(session.run(feeds, shape).at<std::int64_t>({1}) == 3);
        }
      }
    });
  }
}
