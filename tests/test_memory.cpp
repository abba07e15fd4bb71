#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "device/cpu/cpu_device.h"
#include "device/kernel.h"
#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "plan/peak.h"
#include "session/session_state.h"
#include "simulated_device.h"

using namespace gradgraph;
using tests::contains;

namespace {

/// The CPU under another name, which counts the bytes that are allocated.
class CountingDevice final : public Device {
 public:
  explicit CountingDevice(const std::string& name) : Device(name), cpu_(open_cpu_device(name)) {}

  bool host_memory() const override { return true; }
  void* allocate(std::size_t bytes) override {
    void* memory = cpu_->allocate(bytes);
    sizes_[memory] = bytes;
    live_ += bytes;
    peak_ = std::max(peak_, live_);
    return memory;
  }
  void deallocate(void* memory) noexcept override {
    live_ -= sizes_.at(memory);
    sizes_.erase(memory);
    cpu_->deallocate(memory);
  }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<HostStream>(*this); }
  std::unique_ptr<Event> make_event() override { return make_host_event(); }
  void synchronize(Event&) override {}

  std::size_t live() const { return live_; }
  std::size_t peak() const { return peak_; }
  void forget_peak() { peak_ = live_; }

 private:
  std::shared_ptr<Device> cpu_;
  std::map<void*, std::size_t> sizes_;
  std::size_t live_ = 0, peak_ = 0;
};

/// The device "measured:0", without anything in it.
CountingDevice& counting_device() {
  static const auto device = [] {
    auto counting = std::make_shared<CountingDevice>("measured:0");
    kernel_registry().share("measured", "cpu");
    device_registry().add("measured", [counting](const std::string&) { return counting; },
                          {"measured:0"});
    return counting;
  }();
  REQUIRE(device->live() == 0);
  device->forget_peak();
  return *device;
}

/// The networks of the example programs.
struct Model {
  explicit Model(bool convolutional) {
    Output x = images;
    if (convolutional) {
      x = nn::conv2d(x, {.filters = 24, .kernel = 5, .activation = relu}, "conv1");
      x = nn::max_pool2d(x, 2, "pool1");
      x = nn::conv2d(x, {.filters = 48, .kernel = 5, .activation = relu}, "conv2");
      x = nn::max_pool2d(x, 2, "pool2");
    }
    x = nn::dense(nn::flatten(x), {.units = 512, .activation = relu}, "dense1");
    if (!convolutional) {
      x = nn::dense(x, {.units = 512, .activation = relu}, "dense2");
      x = nn::dropout(x, 0.2, training);
    }
    logits = nn::dense(x, {.units = 10}, "logits");
    loss = mean(sparse_softmax_cross_entropy(logits, labels));
    train = Adam{}.minimize(loss);
  }

  Feeds feeds(std::int64_t batch) const {
    return {{images, Tensor::zeros(float32, {batch, 28, 28, 1})},
            {labels, Tensor::zeros(int64, {batch})},
            {training, Tensor(true)}};
  }

  Graph graph;
  Output images = placeholder(graph, float32, {any, 28, 28, 1}, "images");
  Output labels = placeholder(graph, int64, {any}, "labels");
  Output training = placeholder(graph, boolean, {}, "training");
  Output logits, loss, train;
};

std::vector<Tensor> values_of(const Feeds& feeds) {
  std::vector<Tensor> values;
  for (const auto& [output, value] : feeds) values.push_back(value);
  return values;
}

/// Pairs of steps of which one must wait for the other only since they use the same memory of an
/// arena.
int waits_for_memory(const Plan& plan) {
  std::map<std::int32_t, std::vector<std::size_t>> writers;  // by value
  std::vector<std::vector<bool>> follows;                    // [step][earlier step]
  std::vector<std::vector<Access>> accesses;
  int waits = 0;
  for (const PlannedStep& step : plan.steps) {
    const std::size_t s = follows.size();
    auto& own = follows.emplace_back(plan.steps.size(), false);
    for (int i = 0; i < step.num_inputs + step.num_outputs; ++i) {
      std::int32_t value = plan.step_values[static_cast<std::size_t>(step.first_value + i)];
      if (value == kNoValue) continue;
      const std::int32_t whole = plan.values[static_cast<std::size_t>(value)].whole;
      if (whole != kNoValue) value = whole;
      if (i >= step.num_inputs) {
        writers[value].push_back(s);
        continue;
      }
      for (const std::size_t writer : writers[value])
        for (std::size_t t = 0; t < s; ++t) own[t] = own[t] || t == writer || follows[writer][t];
    }
    accesses.push_back(accesses_of(plan, step));
    for (std::size_t t = 0; t < s; ++t) {
      bool touches = false;
      for (const Access& a : accesses[s])
        for (const Access& b : accesses[t])
          touches |= a.space == b.space && a.space < static_cast<int>(plan.buffers.size()) &&
                     (a.writes || b.writes) && a.begin < b.end && b.begin < a.end;
      waits += touches && !own[t];
    }
  }
  return waits;
}

double ratio(std::size_t a, std::size_t b) {
  return static_cast<double>(a) / static_cast<double>(b);
}

}  // namespace

TEST_SUITE("memory") {
  TEST_CASE("the predicted memory is what a session allocates") {
    for (const bool convolutional : {false, true}) {
      CAPTURE(convolutional);
      Model model(convolutional);
      CountingDevice& device = counting_device();
      SessionState session(model.graph, {.device = "measured"});
      const auto check_use = [&](const MemoryUse& use) {
        const std::size_t host_arena = session.memory.arena_bytes(0);  // for results
        const double actual = ratio(device.peak() + host_arena, use.arena + use.variables);
        CHECK(std::abs(actual - 1) < 0.01);
      };
      const auto predict = [&](std::int64_t batch, const std::vector<Output>& fetches) {
        const Feeds feeds = model.feeds(batch);
        return session.cached(feeds, fetches, {})
            .plan_for(values_of(feeds).data(), feeds.size())
            .memory_use();
      };
      const auto run = [&](std::int64_t batch, const std::vector<Output>& fetches) {
        const Feeds feeds = model.feeds(batch);
        session.cached(feeds, fetches, {}).run(values_of(feeds).data(), feeds.size());
        return session.stats.memory;
      };
      std::vector<Node*> variables;
      for (Node& node : model.graph.nodes())
        if (node.op().name == "variable") variables.push_back(&node);
      session.initialize(variables, {});
      const MemoryUse training = predict(32, {model.train, model.loss});
      CHECK(run(32, {model.train, model.loss}).total() == training.total());
      CHECK(training.results == 4);
      check_use(training);

      // A second plan shares what the first one has.
      const MemoryUse both = predict(100, {model.train, model.logits});
      CHECK(both.variables == training.variables);
      CHECK(both.results == 100 * 10 * 4);
      run(100, {model.train, model.logits});
      CHECK(run(32, {model.train, model.loss}).arena == both.arena);
      check_use(both);
    }
  }

  TEST_CASE("constants are counted once") {
    Graph graph;
    const Output x = placeholder(graph, float32, {1000}, "x");
    Tensor numbers = Tensor::full(float32, {1000}, 2);
    numbers.data<float>()[7] = 3;  // a single number would be kept as one
    const Output c = constant(graph, numbers);
    Session session(graph);
    const Feeds feeds = {{x, Tensor::zeros(float32, {1000})}};
    const MemoryUse use = session.predict_memory(feeds, {x * c + c});
    CHECK(use.constants == 4000);
    CHECK(use.variables == 0);
    CHECK(use.results == 4000);
    CHECK(use.arena >= 4000);
  }

  TEST_CASE("a run over the limit is refused before anything is allocated") {
    Model model(true);
    std::size_t needed = 0;
    const std::vector<std::string> disabled = {"fuse_pooling"};  // conv2d's output is large
    const Feeds feeds = model.feeds(64);
    {
      Session session(model.graph, {.disabled_passes = disabled});
      needed = session.predict_memory(feeds, {model.train}).total();
    }
    CountingDevice& device = counting_device();
    Session session(
        model.graph,
        {.device = "measured", .memory_limit = needed - 1, .disabled_passes = disabled});
    std::string message;
    const int line = __LINE__ + 2;
    try {
      session.run(feeds, {model.train});
    } catch (const RunError& error) {
      message = error.what();
      CHECK(error.where().line == line);
    }
    CHECK(device.peak() == 0);
    CHECK(session.step() == 0);
    CHECK(contains(message, "more memory than the limit of"));
    CHECK(contains(message, "variables 5.14 MB"));
    // What is large, its shape, and the user's line of it.
    CHECK(contains(message, "float32[64,24,24,24]  (test_memory.cpp:"));
    CHECK(contains(message, "3.54 MB"));
    CHECK(std::ranges::count(message, '\n') == 11);

    // The session stays usable: a smaller batch fits.
    session.run(model.feeds(8), {model.train});
    CHECK(session.step() == 1);
    CHECK(device.peak() < needed);
    Session exact(model.graph, {.memory_limit = needed, .disabled_passes = disabled});
    exact.run(feeds, {model.train});
    CHECK(exact.last_run().memory.total() == needed);
  }

  TEST_CASE("initial values are computed where they stay") {
    Graph graph;
    const Output w = variable(random_uniform(graph, {1000, 1000}, float32), "w");
    Session session(graph, {.seed = 3, .memory_limit = 8'100'000});  // drawn, then kept
    const Tensor value = session.value(w);
    CHECK(value.at<float>({0, 0}) != value.at<float>({999, 999}));
    // A Tensor that the caller got is the caller's.
    session.set_value(w, Tensor::zeros(float32, {1000, 1000}));
    CHECK(value.at<float>({999, 999}) != 0);
  }

  TEST_CASE("explain_memory lists what is large at the peak") {
    Model model(false);
    Session session(model.graph);
    const std::string text = session.explain_memory(model.feeds(16), {model.train, model.loss});
    CHECK(contains(text, "at its peak (intermediate values "));
    CHECK(
        contains(text, "1.61 MB  variable 'dense1/kernel' float32[784,512]  (test_memory.cpp:"));
    CHECK(std::ranges::count(text, '\n') == 10);

    // Nothing at all is no problem either.
    Graph empty;
    const Output x = placeholder(empty, float32, {0}, "x");
    Session nothing(empty);
    CHECK(contains(nothing.explain_memory({{x, Tensor(float32, {0})}}, {x}), "0 B at its peak"));
  }

  TEST_CASE("variables are kept for what may fail, and for nothing else") {
    for (const DType dtype : {float32, int64}) {
      CAPTURE(dtype);
      Graph graph;
      const Output w = variable(graph, Tensor::full(dtype, {1000}, 1), "w");
      const Output x = placeholder(graph, dtype, {1000}, "x");
      const Output updated = assign_add(w, x);
      const Output after = updated / x;
      Session session(graph, {.disabled_passes = {"fuse_elementwise", "merge_elementwise"}});
      session.run({{x, Tensor::full(dtype, {1000}, 2)}}, after);
      const std::size_t bytes = 1000 * size_of(dtype);
      CHECK(session.last_run().memory.variables == (dtype == int64 ? 2 * bytes : bytes));
    }
  }

  TEST_CASE("what lives at once never overlaps in an arena") {
    std::mt19937_64 random(5);
    for (const std::int32_t count : {0, 1, 2, 30, 500, 3000}) {  // few and many go different ways
      CAPTURE(count);
      std::vector<Lifetime> lifetimes;
      for (std::int32_t i = 0; i < count; ++i) {
        const std::size_t factor = random() % 7;
        lifetimes.push_back(
            {factor * (random() % 1000), i, i + static_cast<std::int32_t>(random() % 40)});
      }
      const std::size_t arena = pack(lifetimes);
      std::size_t faults = 0, sum = 0;
      for (std::size_t i = 0; i < lifetimes.size(); ++i) {
        const Lifetime& a = lifetimes[i];
        sum += rounded(a.bytes);
        faults += a.offset % kArenaAlignment != 0 || a.offset + a.bytes > arena;
        for (std::size_t j = 0; j < i; ++j) {
          const Lifetime& b = lifetimes[j];
          faults += a.first <= b.last && b.first <= a.last && a.offset < b.offset + b.bytes &&
                    b.offset < a.offset + a.bytes;
        }
      }
      CHECK(faults == 0);
      CHECK(arena <= sum);
      if (count >= 500) CHECK(arena < sum / 4);
    }
  }

  TEST_CASE("on a device beside the host nobody waits for memory that others use") {
    tests::add_simulated_devices("beside", 1);
    for (const bool convolutional : {false, true}) {
      CAPTURE(convolutional);
      Model model(convolutional);
      const Feeds feeds = model.feeds(128);
      const auto waits = [&](const SessionOptions& options) {
        SessionState session(model.graph, options);
        const std::vector<Output> fetches = {
            model.train, model.loss,
            mean(cast(equal(argmax(model.logits, 1), model.labels), float32))};
        return waits_for_memory(session.cached(feeds, fetches, {})
                                    .plan_for(values_of(feeds).data(), feeds.size())
                                    .plan());
      };
      CHECK(waits({.device = "beside"}) == 0);
      // Where bytes count they do.
      CHECK(waits({.device = "beside", .memory_limit = 1'000'000'000}) > 0);
      CHECK(waits({.device = "cpu"}) > 0);
    }
  }

  TEST_CASE("arenas are packed tightly") {
    for (const bool convolutional : {false, true}) {
      CAPTURE(convolutional);
      Model model(convolutional);
      SessionState session(model.graph, {});
      const Feeds feeds = model.feeds(128);
      const Plan& plan = session.cached(feeds, {model.train, model.loss}, {})
                             .plan_for(values_of(feeds).data(), feeds.size())
                             .plan();
      const Peak peak = find_peak(plan, 0);
      REQUIRE(peak.step >= 0);
      CHECK(plan.arena_bytes[0] >= peak.bytes);
      CHECK(ratio(plan.arena_bytes[0], peak.bytes) < 1.02);
    }
  }
}
