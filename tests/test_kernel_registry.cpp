#include <doctest/doctest.h>

#include <algorithm>

#include "device/kernel.h"
#include "gradgraph/gradgraph.h"

using namespace gradgraph;

namespace {

void add_filling(KernelRegistry& registry, float value, bool (*takes)(const KernelSite&)) {
  registry.add("choose", "cpu", {float32}, [=](const KernelSite& site) -> Kernel {
    if (!takes(site)) return {};
    const std::int64_t count = site.output_shape().num_elements();
    return {[=](const KernelArgs& args) { std::fill_n(args.output<float>(), count, value); }};
  });
}

/// An op with a reference, 1, and faster kernels that take some shapes only: 2 any vector, 3 one
/// of an even length.
const OpDef& choose_op() {
  static const OpDef& op = [&]() -> const OpDef& {
    KernelRegistry& registry = kernel_registry();
    add_filling(registry, 1, [](const KernelSite&) { return true; });
    add_filling(registry, 2,
                [](const KernelSite& site) { return site.output_shape().rank() == 1; });
    add_filling(registry, 3, [](const KernelSite& site) {
      return site.output_shape().rank() == 1 && site.output_shape()[0] % 2 == 0;
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
  add_filling(registry, 1, [](const KernelSite&) { return true; });
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
