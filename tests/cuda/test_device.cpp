#include <doctest/doctest.h>

#include <cstdint>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "op_rows.h"

/// What a GPU promises, where values are refused too.
namespace gg = gradgraph;
using gg::Tensor;
using gg::tests::check_close;
using gg::tests::contains;
using gg::tests::message_of;
using gg::tests::same_bits;

TEST_SUITE("cuda device") {
  TEST_CASE("a bad label is refused with its line, and variables stay as they were") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any, 3}, "x");
    const auto labels = gg::placeholder(graph, gg::int64, {gg::any}, "labels");
    const auto w =
        gg::variable(graph, Tensor{{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}, {7.f, 8.f, 9.f}}, "w");
    const auto loss = gg::mean(gg::sparse_softmax_cross_entropy(gg::matmul(x, w), labels));
    const auto train = gg::GradientDescent{.learning_rate = 0.1}.minimize(loss);
    gg::Session session(graph, {.device = "cuda"});
    const Tensor before = session.value(w).clone();
    const Tensor batch{{1.f, 0.f, 0.f}, {0.f, 1.f, 0.f}};
    for (const std::vector<gg::Output>& fetches :
         {std::vector{train}, std::vector{loss, train}}) {
      const std::string message = message_of([&] {
        session.run({{x, batch}, {labels, Tensor{std::int64_t{0}, std::int64_t{7}}}}, fetches);
      });
      CHECK(contains(message, "index 7 (number 1) is outside [0,3)"));
      CHECK(contains(message, "test_device.cpp:"));
      CHECK(same_bits(session.value(w), before));
    }
    // The session goes on.
    session.run({{x, batch}, {labels, Tensor{std::int64_t{0}, std::int64_t{1}}}}, {train});
    CHECK_FALSE(same_bits(session.value(w), before));
  }

  TEST_CASE("of many bad indices the first one is named") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {5}, "x");
    const auto i = gg::placeholder(graph, gg::int32, {2000}, "i");
    const auto y = gg::gather(x, i);
    gg::Session session(graph, {.device = "cuda"});
    Tensor indices = Tensor::zeros(gg::int32, {2000});
    for (const int at : {700, 701, 1300, 1999}) indices.data<std::int32_t>()[at] = -at;
    const std::string message = message_of([&] {
      session.run({{x, Tensor::zeros(gg::float32, {5})}, {i, indices}}, {y});
    });
    CHECK(contains(message, "index -700 (number 700) is outside [0,5)"));
  }

  TEST_CASE("integers divided by zero are refused") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::int64, {3}, "x");
    const auto y = x / gg::placeholder(graph, gg::int64, {3}, "y");
    gg::Session session(graph, {.device = "cuda"});
    const Tensor ones{std::int64_t{1}, std::int64_t{1}, std::int64_t{1}};
    const Tensor zeros{std::int64_t{1}, std::int64_t{0}, std::int64_t{1}};
    const auto divisor = y.node().input(1);
    CHECK(message_of([&] {
            session.run({{x, ones}, {divisor, zeros}}, {y});
          }).find("division by zero") != std::string::npos);
    check_close(session.run({{x, ones}, {divisor, ones}}, {y}), {ones}, 0);
  }

  TEST_CASE("random numbers are the CPU's, step by step") {
    gg::Graph graph;
    std::vector<gg::Output> drawn;
    for (const gg::DType dtype : {gg::float32, gg::float64}) {
      drawn.push_back(gg::random_uniform(graph, {1001}, dtype, -1, 2));
      drawn.push_back(gg::random_normal(graph, {1001}, dtype));
      drawn.push_back(gg::truncated_normal(graph, {1001}, dtype));
    }
    gg::Session cpu(graph, {.device = "cpu", .seed = 9}),
        gpu(graph, {.device = "cuda", .seed = 9});
    for (int step = 0; step < 3; ++step) {
      const std::vector<Tensor> expected = cpu.run({}, drawn), actual = gpu.run({}, drawn);
      for (std::size_t i = 0; i < drawn.size(); ++i) CHECK(same_bits(actual[i], expected[i]));
    }
  }

  TEST_CASE("elementwise ops have the CPU's bits") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {4096}, "x");
    Tensor values(gg::float32, {4096});
    for (std::int64_t i = 0; i < 4096; ++i)
      values.data<float>()[i] = static_cast<float>(i - 2048) / 97;
    const std::vector<gg::Output> ys = {gg::exp(x),  gg::tanh(x),         gg::sigmoid(x),
                                        gg::sin(x),  gg::log(x * x),      gg::erf(x),
                                        gg::gelu(x), gg::pow(x * x, 1.3f)};
    const auto expected = gg::Session(graph, {.device = "cpu"}).run({{x, values}}, ys);
    const auto actual = gg::Session(graph, {.device = "cuda"}).run({{x, values}}, ys);
    for (std::size_t i = 0; i < ys.size(); ++i) CHECK(same_bits(actual[i], expected[i]));
  }

  TEST_CASE("kernels and copies are timed, and say where they ran") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {300, 300}, "x");
    const auto y = gg::named(gg::matmul(x, x), "y");
    gg::Session session(graph, {.device = "cuda", .node_times = true});
    for (int run = 0; run < 2; ++run)
      session.run({{x, Tensor::zeros(gg::float32, {300, 300})}}, y);
    std::vector<std::string> streams;
    for (const gg::NodeTime& time : session.last_run().nodes) {
      CHECK(time.device == "cuda:0");
      CHECK(time.seconds > 0);
      streams.push_back(time.stream);
    }
    CHECK(streams ==
          std::vector<std::string>{"computing", "copying to it", "copying to the host"});
    CHECK(gg::describe_devices()[1].memory_bytes > 0);
  }

  TEST_CASE("a GPU that is not there is named, with those that are") {
    gg::Graph graph;
    const std::string message = message_of([&] { gg::Session(graph, {.device = "cuda:77"}); });
    CHECK(contains(message, "there is no device 'cuda:77'; this machine has: cpu, cuda:0"));
  }
}
