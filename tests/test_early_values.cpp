#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"
#include "noise.h"
#include "pass_drawing.h"
#include "plan/arena.h"
#include "session/early_values.h"
#include "session/session_state.h"

/// What a step computes whatever variables are has places apart from the arena.
using namespace gradgraph;

namespace {

struct Place {
  std::size_t begin, end;
};

/// Early values of what is fetched, without rewrites, by the names of their nodes.
class Early {
 public:
  Early(Graph& graph, const std::vector<Output>& fetches)
      : session_(graph, {.disabled_passes = tests::all_passes_but({})}),
        plan_(session_.cached({}, fetches, {}).plan_for(nullptr, 0).plan()),
        early_(find_early_values(plan_, 0)) {}

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for_each([&](const PlannedValue& value, Place) { names.push_back(value.node->name()); });
    std::ranges::sort(names);
    return names;
  }
  std::vector<Place> places() const {
    std::vector<Place> places;
    for_each([&](const PlannedValue&, Place place) { places.push_back(place); });
    return places;
  }
  Place place(const std::string& name) const {
    Place found = {1, 0};
    for_each([&](const PlannedValue& value, Place place) {
      if (value.node->name() == name) found = place;
    });
    return found;
  }
  std::size_t bytes() const { return early_.bytes; }
  const EarlyValues& values() const { return early_; }
  const Plan& plan() const { return plan_; }

 private:
  template <class Body>
  void for_each(const Body& body) const {
    for (std::size_t v = 0; v < plan_.values.size(); ++v) {
      const std::size_t offset = early_.value_offset[v];
      if (offset != EarlyValues::kNowhere)
        body(plan_.values[v], Place{offset, offset + plan_.values[v].bytes});
    }
  }

  SessionState session_;
  const Plan& plan_;
  EarlyValues early_;
};

}  // namespace

TEST_SUITE("early values") {
  TEST_CASE("a batch, its mask and counts are early, what reads weights and updates are not") {
    Graph graph;
    const Output data = constant(graph, tests::noise({20, 3}, 1, float32));
    const Output w = variable(graph, tests::noise({3, 2}, 2, float32), "w");
    const Output rows = cast(random_uniform(graph, {4}) * 20.f, int64);
    const Output batch = named(gather(data, rows), "batch");
    const Output masked = named(batch * random_uniform(graph, {4, 3}), "masked");
    const Output loss = named(mean(square(matmul(masked, w))), "loss");
    const Output train = GradientDescent{}.minimize(loss);
    const Early early(graph, {loss, train});
    const auto names = early.names();
    for (const char* name : {"batch", "masked"})
      CHECK(std::ranges::find(names, name) != names.end());
    for (const char* name : {"loss", "w"}) CHECK(std::ranges::find(names, name) == names.end());
    for (const std::string& name : names) CHECK(name.find("matmul") == std::string::npos);

    const std::vector<Place> places = early.places();
    for (std::size_t a = 0; a < places.size(); ++a) {
      CHECK(places[a].begin % kArenaAlignment == 0);
      CHECK(places[a].end <= early.bytes());
      for (std::size_t b = 0; b < a; ++b) {
        const bool is_taken_over = places[a].begin == places[b].begin;
        const bool is_apart =
            places[a].end <= places[b].begin || places[b].end <= places[a].begin;
        CHECK((is_apart || is_taken_over));
      }
    }
  }

  TEST_CASE("a variable that is updated behind its readers is late, one that never is is not") {
    Graph graph;
    const Output kept = variable(graph, tests::noise({5}, 1, float32), "kept");
    const Output moved = variable(graph, tests::noise({5}, 2, float32), "moved");
    const Output of_kept = named(exp(kept), "of_kept"), of_moved = named(exp(moved), "of_moved");
    const Output update = assign_add(moved, of_kept);
    const Early early(graph, {sum(of_moved), update, sum(of_kept)});
    CHECK(early.place("of_kept").end == 5 * sizeof(float) + early.place("of_kept").begin);
    CHECK(early.place("of_moved").begin > early.place("of_moved").end);
  }

  TEST_CASE("a part lies in its whole, and memory that is taken over is shared") {
    Graph graph;
    constexpr std::int64_t kRow = 16;
    const Output drawn = named(random_uniform(graph, {4, kRow}), "drawn");
    const Output part = named(slice(drawn, {1, 0}, {2, kRow}), "part");
    const Output part_exp = named(exp(part), "part_exp");
    const Output turned = named(-part_exp, "turned");
    const Early early(graph, {sum(turned), sum(drawn)});
    CHECK(early.place("part").begin == early.place("drawn").begin + kRow * sizeof(float));
    CHECK(early.place("turned").begin == early.place("part_exp").begin);
  }

  TEST_CASE("work memory of what is early lies beside it") {
    Graph graph;
    const Output drawn = random_uniform(graph, {3, 50});
    const Early early(graph, {sort(drawn, 1), assign_add(variable(graph, Tensor(1.f)), 1.f)});
    std::size_t with_workspace = 0;
    for (std::size_t s = 0; s < early.plan().steps.size(); ++s) {
      const std::size_t offset = early.values().workspace_offset[s];
      if (offset == EarlyValues::kNowhere) continue;
      ++with_workspace;
      CHECK(offset + early.plan().steps[s].workspace_bytes <= early.bytes());
    }
    CHECK(with_workspace > 0);
  }
}
