#include <doctest/doctest.h>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "op_rows.h"

/// Many steps in one call, and data sets inside graphs.
namespace gg = gradgraph;
using gg::Tensor;
using gg::tests::contains;
using gg::tests::message_of;
using gg::tests::same_bits;

namespace {

gg::data::Dataset numbered(std::int64_t size, std::int64_t first = 0) {
  Tensor images(gg::uint8, {size, 2}), labels(gg::int64, {size});
  for (std::int64_t i = 0; i < size; ++i) {
    images.data<std::uint8_t>()[2 * i] = static_cast<std::uint8_t>(first + i);
    images.data<std::uint8_t>()[2 * i + 1] = static_cast<std::uint8_t>(255 - i);
    labels.data<std::int64_t>()[i] = first + i;
  }
  return {{"images", images}, {"labels", labels}};
}

}  // namespace

TEST_SUITE("run_steps") {
  TEST_CASE("steps see their own values of a feed, or all the same, and results are stacked") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any}, "x");
    const auto scale = gg::placeholder(graph, gg::float32, {}, "scale");
    const auto total = gg::variable(graph, Tensor{0.f, 0.f}, "total");
    const auto added = gg::assign_add(total, x * scale);
    gg::Session session(graph);
    gg::Callable step = session.prepare({x, scale}, {added, x, gg::group(graph, {added})});
    for (int call = 0; call < 3; ++call) {
      session.set_value(total, Tensor{0.f, 0.f});
      const auto& results =
          step.run_steps(3, {Tensor{{1.f, 2.f}, {3.f, 4.f}, {5.f, 6.f}}, Tensor(10.f)});
      CHECK(same_bits(results[0], Tensor{{10.f, 20.f}, {40.f, 60.f}, {90.f, 120.f}}));
      CHECK(same_bits(results[1], Tensor{{1.f, 2.f}, {3.f, 4.f}, {5.f, 6.f}}));
      CHECK(results[2].empty_handle());
      CHECK(session.step() == 3 * (call + 1));
    }
    // One for each, of both.
    const auto& results = step.run_steps(2, {Tensor{1.f, 1.f}, Tensor{1.f, 2.f}});
    CHECK(same_bits(results[0], Tensor{{91.f, 121.f}, {93.f, 123.f}}));
  }

  TEST_CASE("what does not fit is refused") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any}, "x");
    const auto sum = gg::sum(x);
    gg::Session session(graph);
    gg::Callable step = session.prepare({x}, {sum});
    CHECK(contains(message_of([&] { step.run_steps(0, {Tensor{1.f}}); }),
                   "run_steps takes 1 step or more, not 0"));
    CHECK(contains(message_of([&] {
                     step.run_steps(3, {Tensor{{1.f}, {2.f}}});
                   }),
                   "'x' has 2 values, float32[2,1], for 3 steps"));
    CHECK(
        contains(message_of([&] { step.run_steps(3, {Tensor(1.f)}); }), "'x' takes float32[?]"));
    CHECK(contains(message_of([&] { step.run_steps(3, {}); }), "takes 1 feed"));
    CHECK(step.run_steps(1, {Tensor{{1.f, 2.f}}})[0].shape() == gg::Shape{1});
  }

  TEST_CASE("when a step throws those before it are made") {
    gg::Graph graph;
    const auto index = gg::placeholder(graph, gg::int64, {}, "index");
    const auto count = gg::variable(graph, Tensor(0.f), "count");
    const auto picked = gg::gather(gg::constant(graph, Tensor{1.f, 2.f}), index);
    const auto added = gg::assign_add(count, picked);
    gg::Session session(graph);
    gg::Callable step = session.prepare({index}, {added});
    CHECK(contains(message_of([&] {
                     step.run_steps(4, {Tensor{std::int64_t{0}, std::int64_t{1}, std::int64_t{2},
                                               std::int64_t{0}}});
                   }),
                   "index 2"));
    CHECK(session.step() == 2);
    CHECK(session.value(count).item<float>() == 3);
  }

  TEST_CASE("a batch in a graph is what Batches hands out") {
    const gg::data::Dataset first = numbered(23), second = numbered(5, 100);
    gg::Graph graph;
    const auto batch_of_graph = gg::data::graph_batch(graph, {first, second});
    const auto samples = batch_of_graph.samples, images = batch_of_graph["images"],
               labels = batch_of_graph["labels"];
    gg::Session session(graph);
    gg::Callable run = session.prepare({samples}, {images, labels});
    const Tensor order = gg::data::shuffled_samples(23, 7, 3);
    std::int64_t done = 0;
    for (const auto& batch : gg::data::batches(first, 5, {.seed = 7, .epoch = 3})) {
      Tensor numbers(gg::int64, {batch.size()});
      std::copy_n(order.data<std::int64_t>() + done, batch.size(), numbers.data<std::int64_t>());
      done += batch.size();
      const auto& results = run({numbers});
      CHECK(same_bits(results[0], batch["images"]));
      CHECK(same_bits(results[1], batch["labels"]));
    }
    CHECK(run({Tensor{std::int64_t{24}}})[1].item<std::int64_t>() == 101);
    // Fed themselves, they need no samples.
    const Tensor fed{std::int64_t{4}};
    CHECK(same_bits(session.run({{labels, fed}}, labels + labels), Tensor{std::int64_t{8}}));
  }

  TEST_CASE("data sets that do not go together are refused") {
    gg::Graph graph;
    CHECK(
        contains(message_of([&] { gg::data::graph_batch(graph, {}); }), "there is no data set"));
    const auto refused = [&](const gg::data::Dataset& other) {
      return message_of([&] { gg::data::graph_batch(graph, {numbered(2), other}); });
    };
    CHECK(contains(refused({{"images", Tensor(gg::uint8, {3, 4})}, {"labels", Tensor{1, 2, 3}}}),
                   "images of uint8[2,2] and of uint8[3,4]"));
    CHECK(contains(refused({{"images", Tensor(gg::uint8, {3, 2})}}),
                   "a data set of the arrays 'images, labels', and one of 'images'"));
    CHECK(contains(message_of([&] { gg::data::shuffled_samples(-1, 0, 0); }), "no -1 samples"));
  }
}
