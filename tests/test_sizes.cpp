#include <doctest/doctest.h>

#include <limits>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "device/cpu/cpu_device.h"
#include "device/kernel.h"
#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "plan/arena.h"
#include "session/memory.h"

/// Sizes that no memory holds, or that 64 bits cannot count: each is refused by an Error that
/// names op, node, shape and line, and graph and session go on.
namespace gradgraph::tests {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t power(int exponent) { return std::int64_t{1} << exponent; }

/// Checks that `body` throws an Error with these parts and a line of the tests; the message.
template <class Body>
std::string refusal(const Body& body, const std::vector<std::string>& parts) {
  try {
    body();
  } catch (const Error& error) {
    const std::string message = error.what();
    for (const std::string& part : parts) CHECK_MESSAGE(contains(message, part), message);
    CHECK_MESSAGE(contains(message, "test_sizes.cpp:"), message);
    CHECK_MESSAGE(error.where().known(), message);
    return message;
  }
  FAIL_CHECK("nothing was thrown, not " << parts[0]);
  return {};
}

/// A graph with something that always works, to see that a session goes on.
struct Fixture {
  Graph graph;
  Output x = placeholder(graph, float32, {}, "x");
  Output good = exp(x) + 1;

  void check_usable(Session& session) {
    CHECK(session.run({{x, Tensor(0.f)}}, good).item<float>() == 2);
  }
};

}  // namespace

TEST_SUITE("sizes") {
  TEST_CASE("values whose sum wraps are refused, with and without a limit") {
    for (const std::size_t limit : {std::size_t{0}, std::size_t{1} << 20}) {
      Fixture f;
      std::vector<Output> values;
      for (int i = 0; i < 4; ++i)
        values.push_back(named(broadcast_to(f.x + i, {power(60)}), "v" + std::to_string(i)));
      Session session(f.graph, {.memory_limit = limit});
      f.check_usable(session);
      const auto run = [&] { session.run({{f.x, Tensor(1.f)}}, values); };
      refusal(run, {"[broadcast_to] 'v0'", "float32[1152921504606846976]"});
      refusal([&] { session.predict_memory({{f.x, Tensor(1.f)}}, values); }, {"[broadcast_to]"});
      refusal([&] { session.explain_memory({{f.x, Tensor(1.f)}}, values); }, {"[broadcast_to]"});
      f.check_usable(session);
    }
  }

  TEST_CASE("many values, each of which could be there, are refused where the sum is too large") {
    Fixture f;
    std::vector<Output> values;
    for (int i = 0; i < 8200; ++i) values.push_back(broadcast_to(f.x, {power(46) - i}));
    Session session(f.graph, {.disabled_passes = {"eliminate_common"}});
    refusal(
        [&] {
          session.predict_memory({{f.x, Tensor(1.f)}}, values);
        },
        {"[broadcast_to] 'broadcast_to_", "larger than any memory"});
    f.check_usable(session);
  }

  TEST_CASE("a fed shape is refused like one that is known") {
    Fixture f;
    const Output shape = placeholder(f.graph, int64, {1}, "shape");
    const Output b = named(broadcast_to(f.x, shape), "b");
    Session session(f.graph);
    const auto run = [&](std::int64_t size) {
      return session.run({{f.x, Tensor(1.f)}, {shape, Tensor{size}}}, b);
    };
    CHECK(run(3).num_elements() == 3);
    for (const std::int64_t size : {power(44), power(47), power(60), power(62), kMost})
      refusal([&] { run(size); }, {"[broadcast_to] 'b'", "[" + std::to_string(size) + "]"});
    for (const std::int64_t size : {std::int64_t{-2}, kLeast})
      refusal([&] { run(size); }, {"[broadcast_to] 'b'", std::to_string(size)});
    CHECK(run(5).num_elements() == 5);
    f.check_usable(session);
  }

  TEST_CASE("an arena that no memory is left for, and older plans after it") {
    Fixture f;
    const Output large = sum(named(random_uniform(f.graph, {power(44)}, float32), "noise"));
    const Output small = sum(exp(broadcast_to(f.x, {1000}) * random_uniform(f.graph, {1000})));
    Session session(f.graph);
    Callable step = session.prepare({f.x}, {small});
    const float before = step(Tensor(0.f))[0].item<float>();
    CHECK(before == 1000);
    for (int i = 0; i < 2; ++i) {
      const std::string message =
          refusal([&] { session.run(large); },
                  {"[random_uniform] 'noise'", "float32[17592186044416]", "no memory on 'cpu'",
                   "70.4 TB", "the largest tensors then"});
      CHECK(step(Tensor(0.f))[0].item<float>() == before);
    }
    f.check_usable(session);
    CHECK(session.predict_memory({}, {large}).arena > static_cast<std::size_t>(power(46)));
  }

  TEST_CASE("an arena that is refused leaves a new generation and no stale address") {
    SessionMemory memory({"cpu"});
    memory.reserve_arena(0, 1000);
    const std::int64_t before = memory.generation();
    CHECK_THROWS_AS(memory.reserve_arena(0, std::size_t{1} << 50), std::bad_alloc);
    CHECK(memory.generation() != before);
    CHECK(memory.arena_bytes(0) == 0);
    CHECK(memory.arena(0) == nullptr);
    memory.reserve_arena(0, 1000);
    CHECK(memory.arena_bytes(0) == 1000);
  }

  TEST_CASE("variables, results and work memory that are too large") {
    Fixture f;
    const Output c = constant(f.graph, Tensor(1.f));
    const Output v = variable(fill({power(44)}, c), "v");
    const Output read = sum(v), bumped = assign(v, v);
    const Output result = named(broadcast_to(f.x, {power(44)}), "result");
    Session session(f.graph);
    for (const Output& fetch : {read, v, bumped})
      refusal([&] { session.run(fetch); },
              {"[variable] 'v'", "float32[17592186044416]", "no memory on 'cpu'"});
    refusal([&] { session.value(v); }, {"[variable] 'v'"});
    refusal([&] { session.initialize(); }, {"[variable] 'v'"});
    CHECK_FALSE(session.is_initialized(v));
    refusal(
        [&] {
          session.run({{f.x, Tensor(1.f)}}, result);
        },
        {"[broadcast_to] 'result'", "no memory for float32[17592186044416]"});
    f.check_usable(session);
    for (const std::int64_t size : {power(47), power(60)}) {
      const Output w = variable(f.graph, float32, {size}, "w");
      refusal([&] { session.run(sum(w)); }, {"[variable] 'w", std::to_string(size)});
    }
    f.check_usable(session);

    // A kernel that asks for too much.
    static std::size_t wanted = 0;
    static const bool added = [] {
      kernel_registry().share("greedy", "cpu");
      kernel_registry().add_faster("neg", "greedy", {float32}, [](const KernelSite&) {
        return Kernel{[](const KernelArgs&) {}, wanted};
      });
      device_registry().add(
          "greedy", [](const std::string& name) { return open_cpu_device(name); }, {"greedy:0"});
      return true;
    }();
    REQUIRE(added);
    const Output y = named(-(f.x * random_uniform(f.graph, {3})), "y");
    Session greedy(f.graph, {.device = "greedy",
                             .disabled_passes = {"fuse_elementwise", "merge_elementwise"}});
    for (const std::size_t bytes :
         {std::size_t{1} << 45, std::size_t{1} << 50, std::size_t{1} << 63,
          std::numeric_limits<std::size_t>::max()}) {
      wanted = bytes;
      refusal([&] { greedy.run({{f.x, Tensor(1.f)}}, y); }, {"[neg] 'y'"});
      f.check_usable(greedy);
    }
  }

  TEST_CASE("lifetimes whose sum wraps are not packed") {
    const auto size = static_cast<std::size_t>(power(62));
    for (const std::size_t bytes : {size, std::numeric_limits<std::size_t>::max()}) {
      std::vector<Lifetime> four(4, Lifetime{bytes, 0, 3, 0});
      CHECK_THROWS_AS(pack(four), BuildError);
    }
    std::vector<Lifetime> two(2, Lifetime{size, 0, 3, 0});
    CHECK(pack(two) == 2 * size);
  }

  TEST_CASE("shapes with more elements than can be counted are refused at the user's line") {
    Fixture f;
    const std::int64_t half = power(40);
    const Output c = constant(f.graph, Tensor(1.f));
    const Output row = placeholder(f.graph, float32, {half, 1}, "row"),
                 column = placeholder(f.graph, float32, {1, half}, "column");
    const std::string shape = "float32[1099511627776,1099511627776] has too many elements";
    refusal(
        [&] {
          placeholder(f.graph, float32, {half, half}, "p");
        },
        {"[placeholder] 'p'", shape});
    refusal([&] { variable(f.graph, float32, {half, half}, "v"); }, {"[variable] 'v'", shape});
    refusal([&] { broadcast_to(c, {half, half}); }, {"[broadcast_to]", shape});
    refusal([&] { fill({half, half}, c); }, {"[fill]", shape});
    refusal([&] { random_normal(f.graph, {half, half}); }, {"[random_normal]", shape});
    refusal([&] { row + column; }, {"[add]", shape});
    refusal([&] { matmul(row, column); }, {"[matmul]", shape});
    refusal([&] { one_hot(placeholder(f.graph, int64, {half}), half); }, {"[one_hot]"});
    // Elements that can be counted, but not their bytes.
    refusal([&] { broadcast_to(c, {power(61)}); },
            {"float32[2305843009213693952] has too many elements"});
    // Nothing is there, but parts of such shapes would be multiplied.
    refusal([&] { broadcast_to(c, {0, half, half}); }, {"[broadcast_to]"});
    refusal([&] { reshape(row, {half, half}); }, {"[reshape]"});
    const Output unknown = placeholder(f.graph, float32, {any, half}, "unknown");
    refusal([&] { tile(unknown, {1, half}); }, {"[tile]"});
    // What is far from a node is told its name, too.
    refusal([&] { broadcast_to(c, std::vector<std::int64_t>(9, 1)); }, {"[broadcast_to]"});
    Session session(f.graph);
    f.check_usable(session);
  }

  TEST_CASE("windows at the ends of the integers") {
    Fixture f;
    const Output image = placeholder(f.graph, float32, {1, 4, 4, 1}, "image"),
                 filter = placeholder(f.graph, float32, {2, 2, 1, 1}, "filter");
    const auto border = [&](Border edges) {
      refusal([&] { conv2d(image, filter, {.padding = Padding::explicit_, .border = edges}); },
              {"[conv2d] 'conv2d'", "float32[1,4,4,1] x float32[2,2,1,1]"});
      for (const auto pool : {max_pool2d, avg_pool2d})
        refusal(
            [&] {
              pool(image, {.padding = Padding::explicit_, .border = edges},
                   SourceLocation::current());
            },
            {"_pool2d]", "float32[1,4,4,1]"});
    };
    border({kMost, 0, 0, 0});
    border({0, kMost, 0, 0});
    border({0, 0, kMost, 0});
    border({0, 0, power(62), power(62)});
    border({kLeast, 0, 0, 0});
    for (const std::int64_t bad : {kLeast, std::int64_t{-1}, std::int64_t{0}}) {
      refusal([&] { conv2d(image, filter, {.strides = {bad, 1}}); }, {"[conv2d]"});
      refusal([&] { conv2d(image, filter, {.dilations = {1, bad}}); }, {"[conv2d]"});
      refusal([&] { max_pool2d(image, {.window = {bad, 1}}); }, {"[max_pool2d]"});
    }
    for (const std::int64_t huge : {power(31), power(32), power(62), kMost}) {
      refusal([&] { conv2d(image, filter, {.dilations = {huge, 1}}); }, {"[conv2d]"});
      refusal([&] { conv2d(image, filter, {.groups = huge}); }, {"[conv2d]"});
      refusal([&] { max_pool2d(image, {.window = {huge, 1}}); }, {"[max_pool2d]"});
      // A stride beyond the image is no fault: one window.
      const Output y = conv2d(image, filter, {.strides = {huge, huge}});
      const Output p = avg_pool2d(
          image, {.window = {huge, huge}, .strides = {huge, huge}, .padding = Padding::same});
      CHECK(y.shape() == Shape{1, 1, 1, 1});
      const Feeds feeds = {{image, Tensor::full(float32, {1, 4, 4, 1}, 3)},
                           {filter, Tensor::full(float32, {2, 2, 1, 1}, 1)}};
      const std::vector<Output> grads = gradients({sum(y)}, {image, filter});
      for (const bool reference : {false, true}) {
        Session session(f.graph, {.reference_kernels = reference});
        CHECK(session.run(feeds, y).item<float>() == 12);
        CHECK(session.run(feeds, p).item<float>() == 3);
        const std::vector<Tensor> by = session.run(feeds, grads);
        CHECK(by[0].at<float>({0, 1, 1, 0}) == 1);
        CHECK(by[0].at<float>({0, 2, 1, 0}) == 0);
        CHECK(by[1].at<float>({1, 1, 0, 0}) == 3);
        session.run(feeds, gradients({p}, {image})[0]);
      }
    }
    // A border that could be, but nobody has memory for; and one that only windows see.
    for (const int exponent : {20, 40, 58}) {
      const std::int64_t wide = power(exponent);
      const Border edges = {wide, wide, wide, wide};
      Session session(f.graph, {.memory_limit = 1 << 24});
      const Feeds feeds = {{image, Tensor::full(float32, {1, 4, 4, 1}, 3)},
                           {filter, Tensor::full(float32, {2, 2, 1, 1}, 1)}};
      const auto run = [&] {
        session.run(feeds,
                    conv2d(image, filter, {.padding = Padding::explicit_, .border = edges}));
      };
      refusal(run, {"[conv2d] 'conv2d"});
      const Output few =
          conv2d(image, filter,
                 {.strides = {wide, wide}, .padding = Padding::explicit_, .border = edges});
      CHECK(few.shape() == Shape{1, 3, 3, 1});
      const Tensor result = session.run(feeds, few);
      CHECK(result.at<float>({0, 0, 0, 0}) == 0);
      CHECK(result.at<float>({0, 1, 1, 0}) == 12);
      for (const Output& grad : gradients({sum(few)}, {image, filter})) session.run(feeds, grad);
    }
  }

  TEST_CASE("tensors on the host") {
    CHECK_THROWS_AS(Tensor(float32, Shape{power(40), power(40)}), BuildError);
    CHECK_THROWS_AS(Tensor(float32, Shape{power(61)}), BuildError);
    CHECK_THROWS_WITH_AS(
        Tensor(float32, Shape{power(44)}),
        doctest::Contains(
            "no memory for float32[17592186044416], 70368744177664 bytes  (test_sizes.cpp:"),
        RunError);
    CHECK_THROWS_AS(Tensor(float32, Shape{kMost}), BuildError);
    CHECK_THROWS_AS(Tensor(boolean, Shape{kMost}), RunError);
    CHECK_THROWS_AS(Tensor::zeros(int64, Shape{power(50)}), RunError);
    CHECK_THROWS_AS(Tensor::full(int64, Shape{power(50)}, 1), RunError);
    CHECK_THROWS_AS(Tensor::from(std::vector<float>{1}, Shape{power(50)}), RunError);
    CHECK_THROWS_AS(Tensor(1.f).reshaped(Shape{kMost, kMost}), BuildError);
    CHECK(Tensor(float32, Shape{0, kMost, kMost}).bytes() == 0);
    CHECK_THROWS_AS((void)Shape({power(40), power(40)}).num_elements(), BuildError);
  }

  TEST_CASE("batches, threads, layers, tables and pictures") {
    const data::Dataset dataset{{"images", Tensor::full(uint8, {10, 2}, 255)},
                                {"labels", Tensor::zeros(int64, {10})}};
    for (const std::int64_t size : {std::int64_t{1}, power(31), power(62), kMost}) {
      data::Batches batches(dataset, size, {.prefetch = std::numeric_limits<int>::max()});
      std::int64_t samples = 0;
      for (const data::Batch& batch : batches) samples += batch["images"].shape()[0];
      CHECK(samples == 10);
    }
    for (const std::int64_t size : {std::int64_t{0}, std::int64_t{-1}, kLeast})
      CHECK_THROWS_AS(data::Batches(dataset, size), BuildError);
    // Samples without elements, but of a number that no list can hold.
    const data::Dataset empty{{"images", Tensor(uint8, {power(50), 0})},
                              {"labels", Tensor(int64, {power(50), 0})}};
    CHECK_THROWS_AS(data::Batches(empty, 1), RunError);

    Fixture f;
    CHECK_THROWS_AS(Session(f.graph, {.threads = std::numeric_limits<int>::max()}), RunError);
    const Output batch = placeholder(f.graph, float32, {any, 3}, "batch");
    for (const std::int64_t units :
         {kLeast, std::int64_t{-1}, std::int64_t{0}, power(62), kMost}) {
      CAPTURE(units);
      refusal([&] { nn::dense(batch, {.units = units}); }, {"dense"});
      refusal([&] { nn::embedding(constant(f.graph, Tensor(1)), units, 3); }, {"embedding"});
      refusal([&] { nn::embedding(constant(f.graph, Tensor(1)), 3, units); }, {"embedding"});
      const Output image = placeholder(f.graph, float32, {any, 8, 8, 3});
      refusal([&] { nn::conv2d(image, {.filters = units}); }, {"conv2d"});
      refusal([&] { nn::conv2d(image, {.filters = 2, .kernel = {units, 1}}); }, {"conv2d"});
      refusal([&] { nn::max_pool2d(image, {units, 2}); }, {"max_pool2d"});
    }
    // Orthogonal values are drawn on the host while the graph is built.
    refusal(
        [&] { nn::dense(batch, {.units = power(44), .kernel_initializer = nn::orthogonal()}); },
        {"orthogonal", "17592186044416"});

    // Each variable can be, all together cannot be counted.
    Graph huge;
    for (int i = 0; i < 40; ++i) variable(huge, boolean, {power(62)});
    CHECK_THROWS_AS(summary(huge), Error);
    std::ostringstream picture;
    write_dot(huge, picture);
    CHECK(contains(picture.str(), "4611686018427387904"));
  }
}

}  // namespace gradgraph::tests
