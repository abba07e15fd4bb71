#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

/// Kernels that programs give their own ops, by the public header alone.
using namespace gradgraph;

namespace {

using Ints = std::vector<std::int64_t>;

/// Not among the library's lists of ops, which tests go through.
constexpr Traits kHidden = {.internal = true};

OpDef& add_op(std::string name, Traits traits, void (*infer)(InferContext&)) {
  return op_registry().add({.name = std::move(name), .traits = traits, .infer = infer});
}

void infer_like_input(InferContext& context) {
  context.output(context.dtype(0), context.shape(0));
}

/// Quotient and remainder of x by a number, which must not be 0.
const OpDef& division_op() {
  static const OpDef& op = [&]() -> const OpDef& {
    Traits traits = kHidden;
    traits.may_fail = true;
    OpDef& added = add_op("user_division", traits, [](InferContext& context) {
      context.output(int64, context.shape(0));
      context.output(int64, context.shape(0));
    });
    added.describe("quotient and remainder", {"x", "by"});
    register_cpu_kernel("user_division", {int64}, [](const KernelNode&) {
      return CpuKernel{[](const KernelCall& call) {
        const auto x = call.input<std::int64_t>(0), by = call.input<std::int64_t>(1);
        const auto quotient = call.output<std::int64_t>(0), rest = call.output<std::int64_t>(1);
        if (by[0] == 0) throw RunError("the divisor is 0");
        for (std::size_t i = 0; i < x.size(); ++i) {
          quotient[i] = x[i] / by[0];
          rest[i] = x[i] % by[0];
        }
      }};
    });
    return added;
  }();
  return op;
}

}  // namespace

TEST_SUITE("user kernels") {
  TEST_CASE("a kernel has several outputs, and what it refuses is told like anything else") {
    Graph graph;
    const Output x = placeholder(graph, int64, {any}, "x"), by = placeholder(graph, int64, {});
    const Output kept = variable(graph, Tensor(std::int64_t{0}), "kept");
    const int line = __LINE__ + 1;
    Node& node = graph.add(division_op(), {x, by}, {}, SourceLocation::current(), "cut");
    const Output update = assign_add(kept, 1);
    Session session(graph);
    const Tensor values{std::int64_t{7}, std::int64_t{-9}, std::int64_t{4}};
    const std::vector<Output> fetches = {node.output(0), node.output(1), update};
    const auto results = session.run({{x, values}, {by, Tensor(std::int64_t{4})}}, fetches);
    CHECK(results[0].to_string() == "int64[3] [1, -2, 1]");
    CHECK(results[1].to_string() == "int64[3] [3, -1, 0]");
    const std::string message =
        "[user_division] 'cut': the divisor is 0: int64[3] x int64[]  "
        "(test_user_kernels.cpp:" +
        std::to_string(line) + ")";
    const Feeds bad = {{x, values}, {by, Tensor(std::int64_t{0})}};
    CHECK_THROWS_WITH_AS(session.run(bad, fetches), message.c_str(), RunError);
    CHECK(session.value(kept).item<std::int64_t>() == 1);
  }

  TEST_CASE("a kernel knows attributes, shapes, static inputs and threads, and has work space") {
    static std::vector<KernelNode> seen;
    Traits traits = kHidden;
    traits.static_inputs = 0b10;
    OpDef& op = add_op("user_window", traits, infer_like_input);
    op.describe("x[i] + x[i + shift], cyclic, times a factor", {"x", "shift"})
        .attribute("factor", 2.0, "of each sum");
    register_cpu_kernel("user_window", {float32, float64}, [](const KernelNode& node) {
      seen.push_back(node);
      const auto n = static_cast<std::size_t>(node.outputs[0].shape.num_elements());
      const auto shift = static_cast<std::size_t>(node.static_values[1][0]);
      const auto factor = static_cast<float>(node.attributes.get<double>("factor"));
      return CpuKernel{[=, threads = node.threads](const KernelCall& call) {
                         const auto x = call.input<float>(0);
                         auto* copy = static_cast<float*>(call.workspace());
                         std::copy(x.begin(), x.end(), copy);
                         const auto out = call.output<float>();
                         run_parallel(static_cast<std::int64_t>(n), 16, threads,
                                      [&](std::int64_t begin, std::int64_t end) {
                                        for (auto i = static_cast<std::size_t>(begin);
                                             i < static_cast<std::size_t>(end); ++i)
                                          out[i] = (copy[i] + copy[(i + shift) % n]) * factor;
                                      });
                       },
                       n * sizeof(float)};
    });
    Graph graph;
    const Output x = placeholder(graph, float32, {any}, "x");
    const Output shift = constant(graph, Tensor{std::int64_t{1}});
    const Output y = graph.add(op, {x, shift}, {{"factor", 3.0}}, {}).output();
    for (const int threads : {1, 3}) {
      Session session(graph, {.threads = threads});
      Tensor values(float32, {1000});
      std::iota(values.span<float>().begin(), values.span<float>().end(), 0.f);
      auto call = session.prepare({x}, {y});
      for (int step = 0; step < 2; ++step) {
        const Tensor result = call(values)[0];
        CHECK(result.at<float>({5}) == 33.f);
        CHECK(result.at<float>({999}) == 2997.f);
      }
      REQUIRE(seen.size() == 1);  // not once a step
      CHECK(seen[0].inputs[0].shape == Shape{1000});
      CHECK(seen[0].outputs[0].dtype == float32);
      CHECK(seen[0].static_values[1] == Ints{1});
      CHECK(seen[0].static_values[0].empty());
      CHECK(seen[0].threads == threads);
      seen.clear();
    }
    const Output wide = placeholder(graph, float64, {2});
    const Output wrong = graph.add(op, {wide, shift}, {}, SourceLocation::current()).output();
    Session session(graph);
    CHECK_THROWS_WITH_AS(session.run({{wide, Tensor{1.0, 2.0}}}, wrong),
                         doctest::Contains("input 0 is float64, not float32"), RunError);
  }

  TEST_CASE("a kernel that is not there, twice there, or empty, is refused") {
    CHECK_THROWS_WITH_AS(
        register_cpu_kernel("add", {float32}, [](const KernelNode&) { return CpuKernel{}; }),
        doctest::Contains("op 'add' has a kernel for float32 already"), BuildError);
    CHECK_THROWS_WITH_AS(register_cpu_kernel("user_empty", {float32}, nullptr),
                         doctest::Contains("op 'user_empty'"), BuildError);
    const OpDef& op = add_op("user_empty", kHidden, infer_like_input);
    register_cpu_kernel("user_empty", {float32}, [](const KernelNode& node) {
      if (node.inputs[0].shape[0] > 2) throw BuildError("takes two elements at most");
      return CpuKernel{};
    });
    Graph graph;
    const Output x = placeholder(graph, float32, {any}), i = placeholder(graph, int32, {any});
    const Output y = graph.add(op, {x}, {}, {}).output(), z = graph.add(op, {i}, {}, {}).output();
    Session session(graph);
    CHECK_THROWS_WITH_AS(
        session.run({{x, Tensor{1.f}}}, y),
        doctest::Contains("[user_empty] 'user_empty': its kernel has no function"), RunError);
    CHECK_THROWS_WITH_AS(session.run({{x, Tensor{1.f, 2.f, 3.f}}}, y),
                         doctest::Contains("takes two elements at most: float32[3]"), RunError);
    CHECK_THROWS_AS(session.run({{i, Tensor{1}}}, z), PlacementError);
  }
}
