#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <utility>

#include "gradgraph/gradgraph.h"
#include "random_placement.h"
#include "recorded_work.h"
#include "refused_plan.h"
#include "session/session_state.h"

/// A run on devices beside the host: what waits for what, and when the host waits.
using namespace gradgraph;
using namespace gradgraph::tests;

namespace {

SimulatedDevice& simulated(const std::string& name) {
  add_simulated_devices("simulated", 2);
  return dynamic_cast<SimulatedDevice&>(*device_registry().open(name));
}

/// Notes what is issued to devices while it lives.
class IssuedWork {
 public:
  IssuedWork() {
    for (const char* name : {"simulated:0", "simulated:1"}) simulated(name).record_to(&record_);
  }
  ~IssuedWork() {
    for (const char* name : {"simulated:0", "simulated:1"}) simulated(name).record_to(nullptr);
  }
  const std::vector<WorkItem>& items() const { return record_.items(); }
  std::size_t count(WorkItem::Kind kind) const {
    return static_cast<std::size_t>(std::ranges::count(items(), kind, &WorkItem::kind));
  }
  std::size_t count(CopyKind kind) const {
    return static_cast<std::size_t>(std::ranges::count_if(items(), [&](const WorkItem& item) {
      return item.kind == WorkItem::Kind::copy && item.copy_kind == kind;
    }));
  }
  /// What was issued after the host waited for the first time.
  std::size_t issued_after_wait() const {
    const auto first = std::ranges::find(items(), WorkItem::Kind::host_waits, &WorkItem::kind);
    return static_cast<std::size_t>(std::count_if(first, items().end(), [](const auto& item) {
      return item.kind != WorkItem::Kind::host_waits;
    }));
  }
  void clear() { record_.clear(); }

 private:
  WorkRecord record_;
};

void check_order(const IssuedWork& issued) {
  CHECK(find_race(issued.items()) == "");
  std::size_t unneeded = 0;
  for (std::size_t i = 0; i < issued.items().size(); ++i)
    if (issued.items()[i].kind == WorkItem::Kind::wait)
      unneeded += find_race(issued.items(), i).empty();
  CHECK(unneeded == 0);
}

/// The perceptron of the example program, with narrower layers.
struct Perceptron {
  Graph graph;
  Output images = placeholder(graph, float32, {any, 28, 28, 1}, "images");
  Output labels = placeholder(graph, int64, {any}, "labels");
  Output training = placeholder(graph, boolean, {}, "training");
  Output loss, accuracy, train;

  Perceptron() {
    Output x = nn::dense(nn::flatten(images), {.units = 32, .activation = relu}, "dense1");
    x = nn::dense(x, {.units = 32, .activation = relu}, "dense2");
    x = nn::dropout(x, 0.2, training);
    const Output logits = nn::dense(x, {.units = 10}, "logits");
    loss = mean(sparse_softmax_cross_entropy(logits, labels));
    accuracy = mean(cast(equal(argmax(logits, -1), labels), float32));
    train = Adam{}.minimize(loss);
  }
  Feeds feeds(std::int64_t batch, std::int64_t label = 3) const {
    Tensor pixels(float32, {batch, 28, 28, 1});
    std::mt19937 random(2);
    for (float& pixel : pixels.span<float>()) pixel = static_cast<float>(random() % 256) / 255;
    return {{images, pixels},
            {labels, Tensor::full(int64, {batch}, static_cast<double>(label))},
            {training, Tensor(true)}};
  }
};

std::vector<Tensor> values_of(const Feeds& feeds) {
  std::vector<Tensor> values;
  for (const auto& [output, value] : feeds) values.push_back(value);
  return values;
}

/// Each wait of the plan is needed, and `verify` sees when it is missing.
void check_waits(const Plan& plan) {
  verify(plan);
  std::size_t unseen = 0;
  Plan less = plan;
  for (PlannedWait& wait : less.waits) {
    const std::int32_t step = std::exchange(wait.step, kNoStep);
    unseen += !is_refused(less);
    wait.step = step;
  }
  for (std::int32_t& join : less.joins) {
    const std::int32_t step = std::exchange(join, kNoStep);
    unseen += !is_refused(less);
    join = step;
  }
  less.backups.clear();
  if (!plan.backups.empty()) unseen += !is_refused(less);
  CHECK(unseen == 0);
}

}  // namespace

TEST_SUITE("simulated streams") {
  TEST_CASE("a training step waits once for each device, at its end") {
    Perceptron model;
    simulated("simulated:0");
    Session session(model.graph, {.device = "simulated:0", .seed = 4});
    Session host(model.graph, {.device = "cpu", .seed = 4});
    Callable step = session.prepare({model.images, model.labels, model.training},
                                    {model.train, model.loss, model.accuracy});
    const Feeds feeds = model.feeds(16);
    const std::vector<Tensor> values = values_of(feeds);
    for (int i = 0; i < 2; ++i) {
      const float loss = step.run(values.data(), values.size())[1].item<float>();
      CHECK(loss == host.run(feeds, {model.train, model.loss})[1].item<float>());
    }
    IssuedWork issued;
    step.run(values.data(), values.size());
    CHECK(issued.count(WorkItem::Kind::host_waits) == 1);
    CHECK(issued.issued_after_wait() == 0);
    CHECK(issued.count(WorkItem::Kind::launch) >= 8);
    CHECK(issued.count(CopyKind::to_host) == 2);
    CHECK(issued.count(CopyKind::to_device) == 4);  // the feeds, and the step's number
    CHECK(issued.count(WorkItem::Kind::wait) >= 3);
    check_order(issued);
  }

  TEST_CASE("every wait of a plan is needed, and missed when it is not there") {
    Perceptron model;
    const Feeds feeds = model.feeds(3);
    std::size_t waits = 0;
    for (int i = 0; i < 12; ++i) {
      CAPTURE(i);
      std::mt19937_64 random(static_cast<std::uint64_t>(i));
      const std::string device = i == 0 ? "simulated:0" : scatter(model.graph, random);
      SessionState session(model.graph, {.device = device});
      const Plan& plan = session.cached(feeds, {model.train, model.loss, model.accuracy}, {})
                             .plan_for(values_of(feeds).data(), feeds.size())
                             .plan();
      check_waits(plan);
      waits += plan.waits.size();
    }
    CHECK(waits > 100);

    // What is computed last is not waited for by anything else.
    Graph graph;
    const Output x = placeholder(graph, float32, {5}, "x");
    SessionState session(graph, {.device = "simulated:0"});
    const Tensor value = Tensor::full(float32, {5}, 1);
    const Plan& plan = session.cached({{x, value}}, {tanh(x)}, {}).plan_for(&value, 1).plan();
    CHECK(plan.joins.size() == 1);
    check_waits(plan);
  }

  TEST_CASE("two devices copy to each other directly, in order") {
    Graph graph;
    const Output x = placeholder(graph, float32, {40, 40}, "x");
    Output y = x;
    for (int i = 0; i < 6; ++i) {
      const auto scope = device_scope(graph, i % 2 == 0 ? "simulated:0" : "simulated:1");
      y = matmul(tanh(y), y);
    }
    Session session = open_session(graph, "simulated:0");
    const Feeds feeds = {{x, Tensor::full(float32, {40, 40}, 0.2)}};
    const Tensor expected = session.run(feeds, y);
    IssuedWork issued;
    check_same({session.run(feeds, y)}, {expected});
    CHECK(issued.count(CopyKind::between) == 5);
    CHECK(issued.count(CopyKind::to_device) == 1);
    CHECK(issued.count(CopyKind::to_host) == 1);
    CHECK(issued.issued_after_wait() == 0);
    check_order(issued);
  }

  TEST_CASE("an update after a refused value does nothing, though nobody waits for it") {
    Graph graph;
    const Output index = placeholder(graph, int64, {1}, "index");
    const Output v = variable(graph, Tensor{1.f, 2.f, 3.f}, "v");
    const Output count = variable(graph, Tensor(0.f), "count");
    const Output counted = assign_add(count, 1.f);
    const Output row = gather(v, index);
    const Output all = group(graph, {assign_add(v, broadcast_to(row, {3})), counted});
    simulated("simulated:0");
    Session session(graph, {.device = "simulated:0"});
    session.run({{index, Tensor{std::int64_t{0}}}}, all);
    IssuedWork issued;
    CHECK_THROWS_WITH_AS(session.run({{index, Tensor{std::int64_t{3}}}}, all),
                         doctest::Contains("[gather]"), RunError);
    CHECK(issued.issued_after_wait() == 0);
    CHECK(issued.count(CopyKind::within) == 0);  // no backups either
    check_same({session.value(v), session.value(count)}, {Tensor{2.f, 3.f, 4.f}, Tensor(1.f)});
    session.run({{index, Tensor{std::int64_t{1}}}}, all);
    check_same({session.value(v), session.value(count)}, {Tensor{5.f, 6.f, 7.f}, Tensor(2.f)});
  }

  TEST_CASE("what may fail after an update is backed up without waiting") {
    Graph graph;
    const Output index = placeholder(graph, int64, {1}, "index");
    const Output v = variable(graph, Tensor{1.f, 2.f, 3.f}, "v");
    const Output row = gather(assign_add(v, constant(graph, Tensor{1.f, 1.f, 1.f})), index);
    simulated("simulated:0");
    Session session(graph, {.device = "simulated:0"});
    session.run({{index, Tensor{std::int64_t{0}}}}, row);
    IssuedWork issued;
    CHECK_THROWS_AS(session.run({{index, Tensor{std::int64_t{3}}}}, row), RunError);
    CHECK(issued.count(CopyKind::within) == 2);  // there, and back since it failed
    check_same({session.value(v)}, {Tensor{2.f, 3.f, 4.f}});
  }

  TEST_CASE("errors of one session are not another's") {
    Graph graph;
    const Output index = placeholder(graph, int64, {1}, "index");
    const Output row = gather(constant(graph, Tensor{1.f, 2.f}), index);
    simulated("simulated:0");
    Session failing(graph, {.device = "simulated:0"}), other(graph, {.device = "simulated:0"});
    other.run({{index, Tensor{std::int64_t{1}}}}, row);
    CHECK_THROWS_AS(failing.run({{index, Tensor{std::int64_t{3}}}}, row), RunError);
    CHECK(other.run({{index, Tensor{std::int64_t{1}}}}, row).at<float>({0}) == 2);
  }

  TEST_CASE("a device's clock times its nodes, and nobody waits for that") {
    Perceptron model;
    simulated("simulated:0");
    Session session(model.graph, {.device = "simulated:0", .node_times = true});
    const Feeds feeds = model.feeds(4);
    session.run(feeds, {model.train, model.loss});
    IssuedWork issued;
    session.run(feeds, {model.train, model.loss});
    CHECK(issued.count(WorkItem::Kind::host_waits) == 1);
    CHECK(issued.issued_after_wait() == 0);
    const RunStats& stats = session.last_run();
    const std::size_t launches = issued.count(WorkItem::Kind::launch);
    // Copies too, but for that of the step's number.
    REQUIRE(stats.nodes.size() ==
            launches + issued.count(CopyKind::to_device) - 1 + issued.count(CopyKind::to_host));
    double last = 0;
    for (std::size_t i = 0; i < stats.nodes.size(); ++i) {
      const NodeTime& node = stats.nodes[i];
      CHECK(node.seconds >= 0);
      CHECK(node.device == "simulated:0");
      CHECK((node.stream == "computing") == (i < launches));
      if (i >= launches) continue;
      CHECK(node.start >= last);  // one stream: one after the other
      last = node.start + node.seconds;
    }
    CHECK(last <= stats.total_seconds);
  }

  TEST_CASE("a device without memory says how much it has, and the session goes on") {
    Perceptron model;
    add_simulated_devices("small", 1);
    auto& device = dynamic_cast<SimulatedDevice&>(*device_registry().open("small:0"));
    device.limit_memory(2'000'000);
    Session session(model.graph, {.device = "small:0"});
    session.run(model.feeds(2), {model.train, model.loss});
    // More than the device has altogether is known before anything is asked for.
    CHECK_THROWS_WITH_AS(session.run(model.feeds(2000), {model.train, model.loss}),
                         doctest::Contains("on 'small:0', which has 2 MB"), RunError);
    // What others hold shows when it is asked for.
    void* taken = device.allocate(1'400'000);
    for (int cycle = 0; cycle < 3; ++cycle) {
      CHECK_THROWS_WITH_AS(session.run(model.feeds(250), {model.train, model.loss}),
                           doctest::Contains("there is no memory on 'small:0'"), RunError);
      CHECK_THROWS_WITH_AS(session.run(model.feeds(250), {model.train, model.loss}),
                           doctest::Contains("of its 2 MB, "), RunError);
      session.run(model.feeds(2), {model.train, model.loss});
    }
    device.deallocate(taken);
    CHECK(session.explain_memory(model.feeds(2), {model.loss}).find("on 'small:0' ") !=
          std::string::npos);
    const std::size_t before = device.live_allocations();
    for (int cycle = 0; cycle < 5; ++cycle) {
      CHECK_THROWS_AS(session.run(model.feeds(2000), {model.train, model.loss}), RunError);
      session.run(model.feeds(2), {model.train, model.loss});
    }
    CHECK(device.live_allocations() == before);
  }

  TEST_CASE("no run fails for memory that would only let kernels run side by side") {
    add_simulated_devices("tight", 1);
    auto& device = dynamic_cast<SimulatedDevice&>(*device_registry().open("tight:0"));
    const auto runs = [&](std::size_t limit, bool counts_bytes) {
      device.limit_memory(limit);
      Graph graph;
      const Output w = variable(graph, Tensor::full(float32, {1'250'000}, 1.0), "w");
      const Output x = placeholder(graph, float32, {250, 1000}, "x");
      Output chain = x, all = mean(w);
      for (int i = 0; i < 4; ++i) {
        chain = softmax(chain * 2.0F);
        all = all + max(softmax(slice(x, {0, 0}, {15, 1000}) * static_cast<float>(i + 1)));
      }
      SessionOptions options{.device = "tight:0"};
      if (counts_bytes) options.memory_limit = 1'000'000'000;
      Session session(graph, options);
      try {
        for (int i = 0; i < 2; ++i)
          session.run({{x, Tensor::zeros(float32, x.shape())}}, {max(chain) + all});
      } catch (const RunError&) {
        return false;
      }
      return true;
    };
    CHECK_FALSE(runs(6'000'000, true));
    CHECK(runs(10'000'000, true));
    for (std::size_t limit = 6'000'000; limit <= 10'000'000; limit += 50'000) {
      CAPTURE(limit);
      CHECK(runs(limit, false) == runs(limit, true));
    }
  }

  TEST_CASE("memory limits of single devices are kept, and named") {
    Perceptron model;
    add_simulated_devices("bounded", 1);
    auto& device = dynamic_cast<SimulatedDevice&>(*device_registry().open("bounded:0"));
    const Feeds feeds = model.feeds(100);
    const std::vector<Output> fetches = {model.train, model.loss};
    const auto message = [&](MemoryLimit limit) -> std::string {
      Session session(model.graph, {.device = "bounded:0", .memory_limit = std::move(limit)});
      try {
        session.run(feeds, fetches);
      } catch (const RunError& error) {
        return error.what();
      }
      return "";
    };
    const std::string refused = message({{"bounded:0", 10'000}});
    for (const char* part : {"on 'bounded:0', where the limit is 10 kB: ", "the largest tensors",
                             "test_streams.cpp:"})
      CHECK_MESSAGE(refused.find(part) != std::string::npos, refused);
    // A kind stands for its first device, and a limit for the host says so.
    CHECK(message({{"bounded", 10'000}}) == refused);
    CHECK(message({{"cpu", 1}}).find("on 'cpu', where the limit is 1 B") != std::string::npos);
    CHECK(
        message({10'000, {{"bounded:0", 1 << 30}}}).find("more memory than the limit of 10 kB") !=
        std::string::npos);
    CHECK_THROWS_WITH_AS(message({{"elsewhere", 1}}),
                         doctest::Contains("there is no device 'elsewhere'"), PlacementError);
    // What is allowed is what it takes, but for a few bytes.
    std::size_t least = 10'000, most = 1 << 30;
    while (most - least > 1) {
      const std::size_t middle = (least + most) / 2;
      (message({{"cpu", 1 << 30}, {"bounded:0", middle}}).empty() ? most : least) = middle;
    }
    device.limit_memory(most + most / 100);
    CHECK(message({{"bounded:0", most}}) == "");
    device.limit_memory(most - most / 100);
    CHECK(message({}).find("on 'bounded:0'") != std::string::npos);
  }
}
