#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "device/device.h"
#include "gradgraph/gradgraph.h"
#include "refused_allocations.h"
#include "simulated_device.h"
#include "small_models.h"

/// What a machine may refuse, it refuses at every moment of a session's life: each time that is
/// an Error with a line, the variables are what they were, and the session goes on.
namespace gradgraph {
namespace {

using tests::RefusedAllocation;
using tests::SimulatedDevice;
using tests::SmallModel;

bool same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  return std::ranges::equal(a, b, [](const Tensor& x, const Tensor& y) {
    return !x ? !y : x.bytes() == y.bytes() && std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
  });
}

constexpr char kKind[] = "refusing";

SimulatedDevice& simulated() {
  tests::add_simulated_devices(kKind, 1);
  static const std::shared_ptr<Device> device = device_registry().open("refusing:0");
  return dynamic_cast<SimulatedDevice&>(*device);
}

/// In its scope the device refuses the n-th allocation, launch or copy.
struct RefusedWork {
  explicit RefusedWork(int n) { simulated().refuse(n); }
  ~RefusedWork() { simulated().refuse(0); }
  /// Whether it refused something; nothing is refused any more.
  bool end() { return refused = simulated().refuse(0) || refused; }

  bool refused = false;
};

void first_step(Session& session, const SmallModel& model) {
  Callable step = session.prepare(model.feeds, model.fetches);
  step.run(model.batches[0].data(), model.batches[0].size());
}

/// Updates run beside the backward pass. What a device refuses behind the first of them leaves a
/// part of the variables updated, and the message says which.
bool says_what_changed(const std::string& message) {
  return message.find("variables that had been updated by then") != std::string::npos;
}

std::vector<Tensor> values(Session& session, const SmallModel& model) {
  std::vector<Tensor> all;
  for (const Output& variable : model.variables) all.push_back(session.value(variable));
  return all;
}

/// The first session and step of a model, with the n-th of what `Refused` refuses being refused,
/// for n = 1, 2, ... until there is nothing left; gives how many there were.
template <class Refused>
int refuse_from_the_start(SmallModel& model, const SessionOptions& options) {
  Session undisturbed(model.graph, options);
  const std::vector<Tensor> expected = model.train(undisturbed);
  for (int n = 1;; ++n) {
    CAPTURE(n);
    std::optional<Session> session;
    bool refused = false, changed = false;
    {
      Refused scope(n);
      try {
        session.emplace(model.graph, options);
        first_step(*session, model);
      } catch (const Error& error) {
        scope.end();
        CAPTURE(error.what());
        CHECK(error.where().known());
        changed = says_what_changed(error.what());
      }
      refused = scope.end();
    }
    if (!refused) return n - 1;
    // The same session goes on, unless its making failed, or it could do without.
    if (!session || session->step() > 0 || changed) session.emplace(model.graph, options);
    REQUIRE(same(model.train(*session), expected));
  }
}

TEST_SUITE("refusals") {
  TEST_CASE("each allocation on the host, from the making of a session to its first step") {
    SmallModel model("mlp");
    CHECK(refuse_from_the_start<RefusedAllocation>(model, {.seed = 17, .threads = 1}) > 1000);
  }

  TEST_CASE("each allocation, launch and copy of a device, to the end of the first step") {
    for (const char* const name : {"softmax", "mlp", "cnn"}) {
      SmallModel model(name);
      const std::size_t before = simulated().live_allocations();
      const int refused =
          refuse_from_the_start<RefusedWork>(model, {.device = kKind, .seed = 17, .threads = 1});
      CAPTURE(name);
      CHECK(refused > 20);
      CHECK(simulated().live_allocations() == before);
      CHECK(simulated().wrong_frees() == 0);
    }
  }

  TEST_CASE("each launch and copy of a later step") {
    for (const char* const name : {"softmax", "mlp", "cnn"}) {
      SmallModel model(name);
      Session session(model.graph, {.device = kKind, .seed = 17, .threads = 1});
      Callable step = session.prepare(model.feeds, model.fetches);
      const auto& batch = model.batches[0];
      step.run(batch.data(), batch.size());
      int n = 1;
      for (bool refused = true; refused; ++n) {
        CAPTURE(n);
        const std::vector<Tensor> before = values(session, model);
        std::string message;
        {
          RefusedWork scope(n);
          try {
            step.run(batch.data(), batch.size());
          } catch (const Error& error) {
            scope.end();
            message = error.what();
            CHECK(error.where().known());
          }
          refused = scope.end();
        }
        CAPTURE(message);
        CHECK(refused == !message.empty());
        if (refused) CHECK(same(values(session, model), before) != says_what_changed(message));
      }
      CHECK(n > 10);
    }
  }
}

}  // namespace
}  // namespace gradgraph
