#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "gradgraph/gradgraph.h"
#include "kernel_helpers.h"
#include "messages.h"
#include "models.h"
#include "noise.h"
#include "op_rows.h"
#include "settings.h"

/// Steps that are recorded once and issued as a whole, one by one or many at once, against those
/// whose kernels are issued one by one: the same bits.
namespace gg = gradgraph;
using gg::Tensor;
using gg::tests::contains;
using gg::tests::message_of;
using gg::tests::same_bits;

namespace {

constexpr std::int64_t kBatch = 4;

/// Feeds of `steps` steps of an example model, images and labels behind a first axis.
std::vector<Tensor> stacked_feeds(const bench::Model& model, std::int64_t steps) {
  std::mt19937_64 random(5);
  std::vector<std::int64_t> dims = {steps, kBatch};
  const gg::Shape& shape = model.feeds[0].shape();
  for (int axis = 1; axis < shape.rank(); ++axis) dims.push_back(shape[axis]);
  Tensor images(gg::float32, gg::Shape(dims)), labels(gg::int64, {steps, kBatch});
  for (float& x : images.span<float>())
    x = static_cast<float>(static_cast<double>(random() >> 11) * 0x1p-53);
  for (std::int64_t& x : labels.span<std::int64_t>())
    x = static_cast<std::int64_t>(random() % 10);
  std::vector<Tensor> feeds = {images, labels.cast(model.feeds[1].dtype())};
  if (model.feeds.size() == 3) feeds.push_back(Tensor(true));
  return feeds;
}

std::vector<Tensor> first_of(const std::vector<Tensor>& stacked) {
  std::vector<Tensor> first;
  for (const Tensor& tensor : stacked) {
    if (tensor.shape().rank() == 0) {
      first.push_back(tensor);
      continue;
    }
    std::vector<std::int64_t> dims;
    for (int axis = 1; axis < tensor.shape().rank(); ++axis) dims.push_back(tensor.shape()[axis]);
    Tensor slice(tensor.dtype(), gg::Shape(dims));
    std::memcpy(slice.raw(), tensor.raw(), slice.bytes());
    first.push_back(slice);
  }
  return first;
}

/// Losses, and all variables after them.
std::vector<Tensor> trained(const std::string& name, bool record, std::int64_t calls,
                            std::int64_t steps_per_call) {
  gg::Graph graph;
  const bench::Model model = bench::make_model(graph, name);
  gg::Session session(graph, {.device = "cuda", .seed = 3, .threads = 1, .record_steps = record});
  gg::Callable step = session.prepare(model.feeds, {model.loss, model.train});
  const std::vector<Tensor> feeds = stacked_feeds(model, steps_per_call);
  std::vector<Tensor> values;
  for (std::int64_t call = 0; call < calls; ++call) {
    const Tensor losses = step.run_steps(steps_per_call, feeds.data(), feeds.size())[0].clone();
    CHECK(losses.shape() == gg::Shape{steps_per_call});
    values.push_back(losses);
  }
  CHECK(session.step() == calls * steps_per_call);
  for (const gg::Output& variable : gg::variables(graph))
    values.push_back(session.value(variable));
  return values;
}

void check_same(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    CAPTURE(i);
    CHECK(same_bits(actual[i], expected[i]));
  }
}

}  // namespace

TEST_SUITE("cuda recording") {
  TEST_CASE("every op row, recorded") {
    for (const gg::tests::OpRow& row : gg::tests::op_rows()) {
      CAPTURE(row.name);
      gg::Graph graph;
      std::vector<gg::Output> inputs;
      for (const Tensor& value : row.inputs)
        inputs.push_back(gg::placeholder(graph, value.dtype(), value.shape()));
      if (inputs.empty()) continue;  // makes a graph of its own
      const auto fetches = gg::tests::with_gradients(row, inputs, row.build(inputs));
      gg::Session session(graph, {.device = "cuda", .threads = 1});
      gg::Callable run = session.prepare(inputs, fetches);
      session.set_step(5);
      std::vector<Tensor> first;
      for (const Tensor& value : run.run(row.inputs.data(), row.inputs.size()))
        first.push_back(value ? value.clone() : value);
      for (int again = 0; again < 2; ++again) {
        session.set_step(5);
        const auto& values = run.run(row.inputs.data(), row.inputs.size());
        for (std::size_t i = 0; i < first.size(); ++i)
          if (first[i]) CHECK(same_bits(values[i], first[i]));
      }
    }
  }

  TEST_CASE("random numbers go on from step to step") {
    gg::Graph graph;
    const auto drawn = gg::random_uniform(graph, {7});
    gg::Session cpu(graph, {.device = "cpu", .seed = 2}),
        gpu(graph, {.device = "cuda", .seed = 2});
    gg::Callable on_cpu = cpu.prepare({}, {drawn}), on_gpu = gpu.prepare({}, {drawn});
    for (int call = 0; call < 3; ++call)
      CHECK(same_bits(on_gpu.run_steps(5, {})[0], on_cpu.run_steps(5, {})[0]));
    CHECK(same_bits(on_gpu()[0], on_cpu()[0]));
  }

  TEST_CASE("a value that is refused in the third step: two steps are made") {
    gg::Graph graph;
    const auto labels = gg::placeholder(graph, gg::int64, {2}, "labels");
    const auto w = gg::variable(graph, Tensor{{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}}, "w");
    const auto loss = gg::mean(gg::sparse_softmax_cross_entropy(w, labels));
    const auto train = gg::GradientDescent{.learning_rate = 0.1}.minimize(loss);
    const Tensor good = Tensor::zeros(gg::int64, {4, 2});
    Tensor bad = Tensor::zeros(gg::int64, {4, 2});
    bad.data<std::int64_t>()[5] = 7;  // of step 2
    const auto run_on = [&](const char* device) {
      gg::Session session(graph, {.device = device});
      gg::Callable step = session.prepare({labels}, {loss, train});
      step.run_steps(4, {good});
      step.run_steps(4, {good});
      const std::string message = message_of([&] { step.run_steps(4, {bad}); });
      CHECK(contains(message, "index 7 (number 1) is outside [0,3)"));
      CHECK(session.step() == 10);
      const Tensor after = session.value(w);
      step.run_steps(4, {good});  // goes on
      CHECK(session.step() == 14);
      return after;
    };
    const Tensor expected = run_on("cpu");
    gg::tests::in_every_setting([&] { gg::tests::check_close(run_on("cuda"), expected, 1e-6); });
  }

  TEST_CASE("a value that is refused, in the first run too: no variable is said to be updated") {
    gg::Graph graph;
    const auto data = gg::constant(graph, Tensor{1.f, 2.f, 4.f});
    const auto rows = gg::placeholder(graph, gg::int64, {2}, "rows");
    const auto total = gg::variable(graph, Tensor{0.f, 0.f}, "total");
    const auto count = gg::variable(graph, Tensor{0.f}, "count");
    const std::vector<gg::Output> updates = {gg::assign_add(total, gg::gather(data, rows)),
                                             gg::assign_add(count, Tensor{1.f})};
    gg::tests::in_every_setting([&] {
      gg::Session session(graph, {.device = "cuda"});
      gg::Callable step = session.prepare({rows}, updates);
      const auto refuse = [&] {
        const std::string message = message_of([&] { step({Tensor::full(gg::int64, {2}, 3)}); });
        CHECK(contains(message, "index 3 (number 0) is outside [0,3)"));
        CHECK(!contains(message, "updated"));
      };
      refuse();
      CHECK(same_bits(session.value(count), Tensor{0.f}));
      step({Tensor::zeros(gg::int64, {2})});
      refuse();
      CHECK(same_bits(session.value(count), Tensor{1.f}));
      CHECK(same_bits(session.value(total), Tensor{1.f, 1.f}));
    });
  }

  TEST_CASE("of steps that refuse values side by side the first one counts") {
    gg::Graph graph;
    const auto data = gg::constant(graph, Tensor{1.f, 2.f, 4.f, 8.f, 16.f});
    const auto rows = gg::placeholder(graph, gg::int64, {2}, "rows");
    const auto total = gg::variable(graph, Tensor{0.f, 0.f}, "total");
    // Nothing here waits for the update of the step before.
    const auto batch = gg::gather(data, rows);
    const auto sum = gg::assign_add(total, batch);
    const auto run_on = [&](const char* device, const std::vector<std::int64_t>& bad_steps) {
      gg::Session session(graph, {.device = device});
      gg::Callable step = session.prepare({rows}, {batch, sum});
      Tensor indices = Tensor::full(gg::int64, {9, 2}, 1);
      step.run_steps(9, {indices});
      step.run_steps(9, {indices});
      for (const std::int64_t k : bad_steps) indices.data<std::int64_t>()[2 * k + 1] = 10 + k;
      const std::string message = message_of([&] { step.run_steps(9, {indices}); });
      CHECK(contains(message, "index " + std::to_string(10 + bad_steps.front()) +
                                  " (number 1) is outside [0,5)"));
      CHECK(session.step() == 18 + bad_steps.front());
      return session.value(total);
    };
    for (const std::vector<std::int64_t>& bad : std::vector<std::vector<std::int64_t>>{
             {0}, {0, 1}, {1, 2}, {2, 3, 4, 5}, {3, 6}, {4, 5, 8}, {8}}) {
      CAPTURE(bad.front());
      const Tensor expected = run_on("cpu", bad);
      gg::tests::in_every_setting([&] { CHECK(same_bits(run_on("cuda", bad), expected)); });
    }
  }

  TEST_CASE("parts of what is fed, and what it is put together with") {
    constexpr std::int64_t kRow = 16;  // floats: as long as an arena's alignment
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {6, kRow}, "x");
    const auto w = gg::variable(graph, gg::tests::noise({kRow, kRow}, 1, gg::float32), "w");
    const auto part = gg::slice(x, {2, 0}, {2, kRow});
    const auto drawn = gg::random_uniform(graph, {3, kRow});
    const auto moved = gg::assign_sub(w, gg::matmul(part, part, {.transpose_a = true}));
    const std::vector<gg::Output> fetches = {
        gg::matmul(part, w), gg::matmul(gg::concat({x, drawn}, 0), w),
        gg::matmul(gg::concat({gg::exp(w), x}, 0), w), moved};
    const Tensor steps = gg::tests::noise({5, 6, kRow}, 2, gg::float32);
    const auto run_on = [&](const char* device, bool record) {
      gg::Session session(graph, {.device = device, .record_steps = record});
      gg::Callable step = session.prepare({x}, fetches);
      step.run_steps(5, {steps});
      session.initialize();
      std::vector<Tensor> results;
      for (const Tensor& result : step.run_steps(5, {steps})) results.push_back(result.clone());
      return results;
    };
    const std::vector<Tensor> expected = run_on("cuda", false);
    gg::tests::in_every_setting([&] { check_same(run_on("cuda", true), expected); });
  }

  TEST_CASE("calls of several numbers of steps, and single ones, each with what it is fed") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {100}, "x");
    const auto total = gg::variable(graph, Tensor::zeros(gg::float32, {100}), "total");
    const auto sum = gg::assign_add(total, x);
    const auto run_on_gpu = [&] {
      gg::Session session(graph, {.device = "cuda"});
      gg::Callable step = session.prepare({x}, {sum});
      float expected = 0;
      for (const std::int64_t count : {1, 3, 4, 0, 5, 1, 3, 0, 4, 6, 0, 5}) {
        const auto value = static_cast<float>(count + 1);
        if (count == 0)
          step({Tensor::full(gg::float32, {100}, value)});
        else
          step.run_steps(count, {Tensor::full(gg::float32, {count, 100}, value)});
        expected += value * static_cast<float>(std::max<std::int64_t>(count, 1));
        CHECK(same_bits(session.value(total), Tensor::full(gg::float32, {100}, expected)));
      }
    };
    gg::tests::in_every_setting(run_on_gpu);
  }

  TEST_CASE("a variable of the host that the GPU reads: steps run one by one") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {4}, "x");
    gg::Output w;
    {
      const auto on_host = gg::device_scope(graph, "cpu");
      w = gg::variable(graph, Tensor{1.f, 2.f, 3.f, 4.f}, "w");
    }
    const auto y = x * w;
    gg::Session session(graph, {.device = "cuda"});
    gg::Callable step = session.prepare({x}, {y});
    const Tensor ones = Tensor::full(gg::float32, {4}, 1),
                 many = Tensor::full(gg::float32, {3, 4}, 1);
    for (int call = 0; call < 4; ++call) {
      CHECK(same_bits(step({ones})[0], session.value(w)));
      const Tensor& all = step.run_steps(3, {many})[0];
      for (int i = 0; i < 12; ++i) CHECK(all.data<float>()[i] == static_cast<float>(i % 4 + 1));
    }
  }

  TEST_CASE("what a plan holds moves: it is recorded anew") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {gg::any, 100}, "x");
    const auto y = gg::sum(gg::softmax(x), 1);
    gg::Session session(graph, {.device = "cuda"});
    gg::Callable run = session.prepare({x}, {y});
    for (const std::int64_t rows : {2, 2, 500, 500, 2, 2, 9000, 2, 500}) {
      const Tensor& sums = run({Tensor::zeros(gg::float32, {rows, 100})})[0];
      gg::tests::check_close(sums, Tensor::full(gg::float32, {rows}, 1), 1e-5);
    }
  }

  TEST_CASE("where a limit has no room for all steps at once they run one by one") {
    gg::Graph graph;
    const auto x = gg::placeholder(graph, gg::float32, {1000}, "x");
    const auto total = gg::variable(graph, Tensor::zeros(gg::float32, {1000}), "total");
    const auto sum = gg::sum(gg::assign_add(total, x));
    Tensor steps(gg::float32, {100, 1000});
    for (float& value : steps.span<float>()) value = 1;
    const std::size_t needed =
        gg::Session(graph, {.device = "cuda"})
            .predict_memory({{x, Tensor::zeros(gg::float32, {1000})}}, {sum})
            .total();
    const auto free = [] { return gg::describe_devices()[1].free_bytes; };
    const auto held = [&](const gg::MemoryLimit& limit) {
      gg::Session session(graph, {.device = "cuda", .memory_limit = limit});
      gg::Callable step = session.prepare({x}, {sum});
      step.run_steps(100, {steps});
      const std::size_t before = free();
      for (int call = 1; call <= 2; ++call)
        CHECK(step.run_steps(100, {steps})[0].data<float>()[99] ==
              1e5f * static_cast<float>(call + 1));
      return before - free();
    };
    CHECK(held({}) >= steps.bytes());
    CHECK(held(needed) == 0);
    CHECK(held({{"cuda:0", needed + steps.bytes() / 2}}) == 0);
  }
}

TEST_SUITE("cuda training") {
  TEST_CASE("models train to the same bits, recorded or not, many steps at once or one by one") {
    for (const char* name : {"mlp", "cnn"}) {
      CAPTURE(name);
      const std::vector<Tensor> plain = trained(name, false, 2, 2);
      gg::tests::in_every_order([&] { check_same(trained(name, true, 2, 2), plain); });
    }
  }

  TEST_CASE("training allocates nothing once it runs") {
    for (const bool record : {false, true}) {
      CAPTURE(record);
      gg::Graph graph;
      const bench::Model model = bench::make_model(graph, "mlp");
      gg::Session session(graph, {.device = "cuda", .threads = 1, .record_steps = record});
      gg::Callable step = session.prepare(model.feeds, {model.loss, model.train});
      const std::vector<Tensor> many = stacked_feeds(model, 2), one = first_of(many);
      const auto train = [&] {
        step.run(one.data(), one.size());
        step.run_steps(2, many.data(), many.size());
      };
      for (int i = 0; i < 2; ++i) train();
      CHECK(gg::tests::allocations_in(train) == 0);
    }
  }
}
