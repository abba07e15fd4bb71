#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "drawn.h"
#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "passes/pass_list.h"
#include "simulated_device.h"

/// What sessions make of gg::cond: passes, memory, times, devices, pictures.
namespace gg = gradgraph;
using gg::any;
using gg::Output;
using gg::Tensor;
using gg::tests::close;
using gg::tests::message_of;
using gg::tests::same_bits;

namespace {

/// Two branches in which most passes find something to do.
struct Model {
  gg::Graph graph;
  Output predicate = gg::placeholder(graph, gg::boolean, {}, "predicate");
  Output x = gg::placeholder(graph, gg::float32, {any, 8}, "x");
  Output labels = gg::placeholder(graph, gg::int64, {any}, "labels");
  Output loss, grad;

  Model() {
    const Output logits = gg::cond(
        predicate,
        [&] {
          const Output h = gg::nn::dense(x, {.units = 16, .activation = gg::relu}, "hidden");
          return gg::nn::dense(h * 1.f, {.units = 4}, "logits");
        },
        [&] {
          const Output wide = gg::concat({x, gg::tanh(x) * 0.5f + x * x}, 1);
          return gg::sum(gg::reshape(wide, {-1, 4, 4}), {2}) -
                 gg::log(gg::softmax(gg::slice(x, {0, 0}, {-1, 4})));
        });
    loss = gg::mean(gg::sparse_softmax_cross_entropy(logits, labels));
    grad = gg::gradients({loss}, {x})[0];
  }
  gg::Feeds feeds(bool value) const {
    Tensor input(gg::float32, {5, 8});
    for (std::int64_t i = 0; i < 40; ++i)
      input.data<float>()[i] = std::sin(static_cast<float>(i));
    return {{predicate, Tensor(value)},
            {x, input},
            {labels, Tensor{std::int64_t{0}, std::int64_t{3}, std::int64_t{1}, std::int64_t{2},
                            std::int64_t{2}}}};
  }
};

/// 0, 1, ... in float32.
Tensor numbers_to(std::int64_t count) {
  Tensor numbers(gg::float32, {count});
  for (std::int64_t i = 0; i < count; ++i) numbers.data<float>()[i] = static_cast<float>(i);
  return numbers;
}

}  // namespace

TEST_SUITE("cond in sessions") {
  TEST_CASE("all kinds of sessions give the same") {
    Model model;
    for (const bool value : {true, false}) {
      CAPTURE(value);
      const std::vector<Output> fetches = {model.loss, model.grad};
      const std::vector<Tensor> expected =
          gg::Session(model.graph, {.threads = 1}).run(model.feeds(value), fetches);
      std::vector<gg::SessionOptions> all = {{.threads = 2},
                                             {.exact_rewrites = true},
                                             {.check_passes = true},
                                             {.reference_kernels = true}};
      std::vector<std::string> names;
      for (const gg::Pass& pass : gg::pass_list()) names.emplace_back(pass.name);
      all.push_back({.disabled_passes = names});
      for (const std::string& name : names) all.push_back({.disabled_passes = {name}});
      for (const gg::SessionOptions& options : all) {
        CAPTURE(&options - all.data());
        gg::Session session(model.graph, options);
        const std::vector<Tensor> actual = session.run(model.feeds(value), fetches);
        for (std::size_t i = 0; i < actual.size(); ++i)
          CHECK(close(actual[i], expected[i], 1e-5));
      }
    }
  }

  TEST_CASE("passes rewrite branches, and check_passes names the rewrite that is wrong there") {
    Model model;
    gg::Session session(model.graph);
    const std::string lines = session.explain_passes(model.feeds(true), {model.loss});
    CHECK_MESSAGE(gg::tests::contains(lines, "simplify: 'cond/then/mul' = "), lines);
    CHECK_MESSAGE(gg::tests::contains(lines, "simplify: 'cond/else/log' = log_softmax("), lines);

    const auto spoil = [](gg::Graph& graph, const gg::PassContext&, gg::RewriteLog& log) {
      for (gg::Node& node : graph.nodes())
        if (node.op().name == "tanh" && log.admit([&] { return node.name(); }))
          for (gg::Node& reader : graph.nodes())
            for (int i = 0; i < reader.num_inputs(); ++i)
              if (reader.input(i) == node.output()) graph.set_input(reader, i, node.input(0));
    };
    gg::pass_list().push_back({.name = "spoil", .run = spoil});
    const std::string message = message_of<gg::RunError>([&] {
      gg::Session(model.graph, {.disabled_passes = {"fuse_elementwise", "merge_elementwise"},
                                .check_passes = true})
          .run(model.feeds(false), model.loss);
    });
    gg::pass_list().pop_back();
    CHECK_MESSAGE(gg::tests::contains(message, ": spoil: cond/else/tanh ("), message);
  }

  TEST_CASE("memory is that of the larger branch, known before") {
    gg::Graph graph;
    const Output p = gg::placeholder(graph, gg::boolean, {});
    const Output x = gg::placeholder(graph, gg::float32, {1000});
    const auto large = [&] {
      const Output square = gg::reshape(x, {1000, 1}) * x;
      return gg::sum(gg::sort(square, 0));
    };
    const auto small = [&] { return gg::sum(x); };
    const Output of_one = gg::cond(p, large, small), of_two = gg::cond(p, large, large);
    const gg::Feeds feeds = {{p, Tensor(false)}, {x, Tensor::full(gg::float32, {1000}, 1)}};
    gg::Session session(graph);
    const std::size_t arena = session.predict_memory(feeds, {of_one}).arena;
    CHECK(arena >= 4'000'000);
    CHECK(session.predict_memory(feeds, {of_two}).arena <= arena + 1024);
    CHECK(session.run(feeds, of_one).item<float>() == 1000);
    CHECK(session.last_run().memory.arena == arena);
    gg::Session limited(graph, {.memory_limit = 1'000'000});
    CHECK(gg::tests::contains(message_of<gg::RunError>([&] { limited.run(feeds, of_one); }),
                              "needs more memory than the limit"));
    const Output table = gg::constant(graph, numbers_to(1000));
    const Output looked_up = gg::cond(
        p, [&] { return x * table; }, [&] { return x; });
    CHECK(session.predict_memory(feeds, {looked_up}).constants >= 4000);
  }

  TEST_CASE("what runs inside has times of its own, and is not counted twice") {
    gg::Graph graph;
    const Output p = gg::placeholder(graph, gg::boolean, {});
    const Output x = gg::placeholder(graph, gg::float32, {100000});
    const Output y = gg::cond(
        p,
        [&] {
          return gg::cond(
              p, [&] { return gg::cumsum(gg::sin(x), 0); }, [&] { return gg::tanh(x); });
        },
        [&] { return gg::exp(x); });
    gg::Session session(graph, {.node_times = true});
    for (int repeat = 0; repeat < 2; ++repeat) {
      session.run({{p, Tensor(true)}, {x, Tensor::full(gg::float32, {100000}, 1)}}, y);
      const gg::RunStats& run = session.last_run();
      std::set<std::string> ops;
      double sum = 0;
      for (const gg::NodeTime& time : run.nodes) {
        CHECK(time.seconds >= 0);
        CHECK(time.start + time.seconds <= run.total_seconds);
        sum += time.seconds;
        ops.insert(time.planned->op().name);
      }
      CHECK(sum <= run.total_seconds);
      CHECK(run.nodes.size() == 4);
      CHECK(ops == std::set<std::string>{"cond", "cumsum", "sin"});
      gg::Profile profile({.skipped_runs = 0});
      profile.add_run(run);
      CHECK(gg::tests::contains(profile.table({1e12, 1e11}), "cond/then/cond/then/cumsum"));
    }
  }

  TEST_CASE("results that nobody reads are not computed, unless somebody waits for them") {
    gg::Graph graph;
    const Output p = gg::placeholder(graph, gg::boolean, {});
    const Output x = gg::placeholder(graph, gg::float32, {8});
    const auto both = [&] {
      return std::vector<Output>{gg::cumsum(x, 0),
                                 gg::gather(x, gg::argmax(gg::expand_dims(x, 0), 1))};
    };
    const std::vector<Output> y = gg::cond(p, both, both);
    const auto after = [&] {
      const auto guard = gg::control_dependencies(graph, {y[0]});
      return gg::identity(x);
    }();
    gg::Session session(graph, {.node_times = true});
    const auto computes = [&](const Output& fetch, const std::string& op) {
      session.run({{p, Tensor(true)}, {x, numbers_to(8)}}, fetch);
      const auto& nodes = session.last_run().nodes;
      return std::ranges::any_of(
          nodes, [&](const gg::NodeTime& time) { return time.planned->op().name == op; });
    };
    CHECK(computes(y[0], "cumsum"));
    CHECK(!computes(y[0], "gather"));
    CHECK(!computes(y[1], "cumsum"));
    CHECK(computes(y[1], "gather"));
    CHECK(computes(after, "cumsum"));
    CHECK(computes(after, "gather"));
  }

  TEST_CASE("results are computed where they belong, or brought there") {
    gg::Graph graph;
    const Output p = gg::placeholder(graph, gg::boolean, {});
    const Output x = gg::placeholder(graph, gg::float32, {4});
    const auto branch = [&] {
      const Output a = gg::exp(x), b = gg::relu(a), c = gg::neg(b);
      return std::vector<Output>{a, b, c, c, x, a * c, gg::constant(graph, Tensor{7.f})};
    };
    const auto other = [&] {
      std::vector<Output> results = branch();
      std::swap(results[0], results[3]);
      return results;
    };
    const std::vector<Output> y = gg::cond(p, branch, other);
    std::vector<std::string> names;
    for (const gg::Pass& pass : gg::pass_list()) names.emplace_back(pass.name);
    for (const auto& disabled : {std::vector<std::string>(), names}) {
      gg::Session session(graph, {.disabled_passes = disabled});
      const Tensor zero = Tensor::zeros(gg::float32, {4});
      for (const bool value : {true, false}) {
        const std::vector<Tensor> results = session.run({{p, Tensor(value)}, {x, zero}}, y);
        const float first = value ? 1.f : -1.f;
        const float expected[] = {first, 1, -1, -first, 0, -1, 7};
        for (std::size_t i = 0; i < results.size(); ++i) {
          CAPTURE(i);
          for (const float number : results[i].span<float>()) CHECK(number == expected[i]);
        }
      }
    }
  }

  TEST_CASE("other devices leave branches to the host, and say so") {
    gg::tests::add_simulated_devices("simulated_cond", 1);
    Model model;
    const std::vector<Output> fetches = {model.loss, model.grad};
    const std::vector<std::string> plain = {"fuse_cross_entropy", "fuse_reductions"};
    gg::Session host(model.graph, {.threads = 1, .disabled_passes = plain});
    gg::Session session(model.graph,
                        {.device = "simulated_cond:0", .threads = 1, .disabled_passes = plain});
    for (const bool value : {true, false, true}) {
      const std::vector<Tensor> expected = host.run(model.feeds(value), fetches);
      const std::vector<Tensor> actual = session.run(model.feeds(value), fetches);
      for (std::size_t i = 0; i < actual.size(); ++i) CHECK(same_bits(actual[i], expected[i]));
    }
    const std::string nodes = session.explain_placement(model.feeds(true), fetches);
    CHECK_MESSAGE(gg::tests::contains(nodes, "fallback: no bool kernel on simulated_cond:0"),
                  nodes);
    CHECK_MESSAGE(gg::tests::contains(nodes, "cond/then/logits/"), nodes);
    gg::Session strict(model.graph, {.device = "simulated_cond:0", .soft_placement = false});
    CHECK(gg::tests::contains(
        message_of<gg::PlacementError>([&] { strict.run(model.feeds(true), model.loss); }),
        "[cond] 'cond/cond': device 'simulated_cond:0' has no bool kernel"));
  }

  TEST_CASE("a picture shows the branches, and what they read") {
    gg::Graph graph;
    const Output p = gg::placeholder(graph, gg::boolean, {}, "p");
    const Output x = gg::placeholder(graph, gg::float32, {3}, "x");
    const Output hidden = gg::tanh(x);
    const Output y = gg::cond(
        p, [&] { return gg::exp(hidden); }, [&] { return gg::named(gg::sin(x), "wave"); });
    const std::string text = gg::tests::dot(graph, {.fetches = {y}});
    for (const char* part : {"subgraph \"cluster cond\"", "subgraph \"cluster cond/then\"",
                             "subgraph \"cluster cond/else\"", "<B>exp</B>", "<B>wave</B>"})
      CHECK_MESSAGE(gg::tests::contains(text, part), text);
    // p -> cond, x -> tanh -> exp -> cond, x -> sin -> cond; no arrow past the branches.
    CHECK(gg::tests::count(text, " -> ") == 6);
    gg::tests::draw(text);
    gg::gradients({y}, {x});
    gg::tests::draw(gg::tests::dot(graph));
  }

  TEST_CASE("an iteration of a loop draws its own numbers, the first those of no loop") {
    gg::Graph graph;
    const Output shape = gg::constant(graph, Tensor{std::int64_t{16}});
    const gg::Node& node = gg::random_uniform(graph, shape, gg::float32).node();
    const gg::Kernel kernel = gg::kernel_registry().make(gg::KernelSite(node), "cpu");
    const auto draw = [&](const gg::RunInfo& run) {
      std::vector<float> numbers(16);
      const void* const inputs[] = {nullptr};
      void* const outputs[] = {numbers.data()};
      kernel.run({inputs, outputs, nullptr, &run});
      return numbers;
    };
    std::set<std::vector<float>> all;
    for (std::uint64_t iteration = 0; iteration < 100; ++iteration)
      all.insert(draw({.seed = 1, .step = 2, .iteration = iteration}));
    CHECK(all.size() == 100);
    CHECK(draw({.seed = 1, .step = 2, .iteration = 0}) == draw({.seed = 1, .step = 2}));
  }
}
