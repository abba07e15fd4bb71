#include <doctest/doctest.h>

#include <algorithm>

#include "device/kernel.h"
#include "gradgraph/gradgraph.h"
#include "simulated_device.h"

using namespace gradgraph;

namespace {

using Takes = bool (*)(const KernelSite&);

/// Kernels that fill the output with a number; one without `takes` is the reference.
void add_filling(KernelRegistry& registry, float value, Takes takes = nullptr,
                 std::string_view kind = "cpu") {
  const auto make = [=](const KernelSite& site) -> Kernel {
    if (takes && !takes(site)) return {};
    const std::int64_t count = site.output_shape().num_elements();
    return {[=](const KernelArgs& args) { std::fill_n(args.output<float>(), count, value); }};
  };
  if (takes)
    registry.add_faster("choose", kind, {float32}, make);
  else
    registry.add("choose", kind, {float32}, make);
}

bool is_vector(const KernelSite& site) { return site.output_shape().rank() == 1; }

/// An op with a reference, 1, and faster kernels that take some shapes only: 2 any vector, 3 one
/// of an even length.
const OpDef& choose_op() {
  static const OpDef& op = [&]() -> const OpDef& {
    KernelRegistry& registry = kernel_registry();
    add_filling(registry, 2, is_vector);
    add_filling(registry, 1);  // the reference wherever it stands
    add_filling(registry, 3, [](const KernelSite& site) {
      return is_vector(site) && site.output_shape()[0] % 2 == 0;
    });
    return op_registry()
        .add({.name = "choose",
              .traits = {.internal = true},
              .infer = [](InferContext& context) { context.output(float32, context.shape(0)); }})
        .describe("a number of the kernel's choice", {"x"});
  }();
  return op;
}

float chosen(const Shape& shape, SessionOptions options) {
  Graph graph;
  const Output x = placeholder(graph, float32, shape);
  const Output y = graph.add(choose_op(), {x}, {}, {}).output();
  const Tensor result = Session(graph, std::move(options)).run({{x, Tensor(float32, shape)}}, y);
  return result.data<float>()[0];
}

}  // namespace

TEST_CASE("kernels: the last added that takes a node computes it") {
  CHECK(chosen({4}, {}) == 3);
  CHECK(chosen({5}, {}) == 2);
  CHECK(chosen({2, 2}, {}) == 1);
}

TEST_CASE("kernels: references alone, where a session asks for them") {
  CHECK(chosen({4}, {.reference_kernels = true}) == 1);
  CHECK(chosen({5}, {.reference_kernels = true}) == 1);
}

TEST_CASE("kernels: none for an op or dtype that nobody registered") {
  choose_op();
  Graph graph;
  const Output x = placeholder(graph, float64, {3});
  CHECK_FALSE(kernel_registry().make(KernelSite(neg(x).node()), "abacus"));
  CHECK_FALSE(kernel_registry().has("choose", "cpu", float64));
  CHECK_FALSE(kernel_registry().has("nothing", "cpu", float32));
}

TEST_CASE("kernels: a device shares all of another's for an op") {
  choose_op();
  KernelRegistry registry;
  add_filling(registry, 1);
  add_filling(registry, 2, [](const KernelSite&) { return true; });
  registry.share("other", "cpu");
  Graph graph;
  const Output x = placeholder(graph, float32, {1});
  const Node& node = graph.add(choose_op(), {x}, {}, {});
  for (const bool reference : {false, true}) {
    float value = 0;
    void* outputs[] = {&value};
    registry.make(KernelSite(node), "other", reference).run({{}, outputs});
    CHECK(value == (reference ? 1 : 2));
  }
}

TEST_CASE("kernels: there is one reference") {
  KernelRegistry registry;
  add_filling(registry, 1);
  CHECK_THROWS_WITH_AS(add_filling(registry, 2),
                       doctest::Contains("'choose' has a reference kernel for float32 on 'cpu'"),
                       BuildError);
}

TEST_CASE("kernels: what no kernel of a device takes runs elsewhere, or is refused") {
  choose_op();
  tests::add_simulated_devices("picky", 1, {"choose"});
  static const bool added = [] {
    add_filling(kernel_registry(), 5, is_vector, "picky");
    return true;
  }();
  REQUIRE(added);
  CHECK(chosen({4}, {.device = "picky"}) == 5);
  CHECK(chosen({2, 2}, {.device = "picky"}) == 1);
  CHECK_THROWS_WITH_AS(chosen({2, 2}, {.device = "picky", .soft_placement = false}),
                       doctest::Contains("device 'picky:0' has no float32 kernel"),
                       PlacementError);
  CHECK(chosen({4}, {.device = "picky", .reference_kernels = true}) == 5);
}
