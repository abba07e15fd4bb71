#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "device/cpu/elementwise/loops.h"
#include "device/kernel.h"
#include "device/shared/elementwise_ops.h"
#include "device/shared/scalar_functors.h"
#include "gradgraph/gradgraph.h"
#include "messages.h"
#include "noise.h"

/// What rows cannot show of elementwise ops: kinks, errors, large shapes, shared buffers.
using namespace gradgraph;
using tests::contains;
using tests::message_of;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string at_line(unsigned line) {
  return "(test_elementwise.cpp:" + std::to_string(line) + ")";
}

/// The gradient of sum(op(x)) by x, at `values`.
Tensor gradient_of(Output (*op)(Output, Where), const Tensor& values) {
  Graph graph;
  const Output x = placeholder(graph, values.dtype(), values.shape());
  return Session(graph).run({{x, values}}, gradients({op(x, {})}, {x})[0]);
}

struct ByBoth {
  Tensor by_a, by_b;
};
ByBoth gradients_of(Output (*op)(Operand, Operand, Where), const Tensor& a, const Tensor& b) {
  Graph graph;
  const Output x = placeholder(graph, a.dtype(), a.shape());
  const Output y = placeholder(graph, b.dtype(), b.shape());
  const auto results = Session(graph).run({{x, a}, {y, b}}, gradients({op(x, y, {})}, {x, y}));
  return {results[0], results[1]};
}

void check_values(const Tensor& tensor, const std::vector<double>& expected) {
  const auto values = tensor.span<double>();
  CHECK(std::equal(values.begin(), values.end(), expected.begin(), expected.end(),
                   [](double a, double b) { return a == b || (a != a && b != b); }));
}

}  // namespace

TEST_CASE("elementwise: gradients at kinks are PyTorch's") {
  check_values(gradient_of(abs, Tensor{-2., 0., 3.}), {-1, 0, 1});
  check_values(gradient_of(relu, Tensor{-2., 0., 3.}), {0, 0, 1});
  check_values(gradient_of(sign, Tensor{-2., 0., 3.}), {0, 0, 0});
  check_values(gradient_of(sqrt, Tensor{0., 4.}), {kInfinity, 0.25});

  const ByBoth top = gradients_of(maximum, Tensor{1., 2., 3.}, Tensor{2., 2., 2.});
  check_values(top.by_a, {0, 0.5, 1});
  check_values(top.by_b, {1, 0.5, 0});
  const ByBoth low = gradients_of(minimum, Tensor{1., 2., 3.}, Tensor{2., 2., 2.});
  check_values(low.by_a, {1, 0.5, 0});
  check_values(low.by_b, {0, 0.5, 1});
}

TEST_CASE("elementwise: the gradient of pow has no NaN where PyTorch has none") {
  const ByBoth zero = gradients_of(pow, Tensor{0., 0., 0., 0.}, Tensor{0., 1., 2., 0.5});
  check_values(zero.by_a, {0, 1, 0, kInfinity});
  check_values(zero.by_b, {0, 0, 0, 0});
  const ByBoth negative = gradients_of(pow, Tensor{-2., -2.}, Tensor{3., 0.});
  check_values(negative.by_a, {12, 0});
  check_values(negative.by_b, {NAN, NAN});

  Graph graph;
  const Output x = placeholder(graph, float64, {3});
  const Output first = gradients({pow(x, 2)}, {x})[0];
  const Output second = gradients({first}, {x})[0];
  check_values(Session(graph).run({{x, Tensor{0., -1., 3.}}}, second), {2, 2, 2});
}

TEST_CASE("elementwise: the gradient of a cast comes back in the input's dtype") {
  Graph graph;
  const Output x = placeholder(graph, float64, {2});
  const Output grad = gradients({square(cast(x, float32))}, {x})[0];
  CHECK(grad.dtype() == float64);
  check_values(Session(graph).run({{x, Tensor{1.5, -2.}}}, grad), {3, -4});
}

TEST_CASE("elementwise: gradients of broadcast operands have the operands' shapes") {
  Graph graph;
  const Output a = placeholder(graph, float64, {any, 1}),
               b = placeholder(graph, float64, {1, any});
  const auto grads = gradients({a * b}, {a, b});
  const auto values =
      Session(graph).run({{a, Tensor{{1.}, {2.}}}, {b, Tensor{{3., 4., 5.}}}}, grads);
  CHECK(values[0].shape() == Shape{2, 1});
  CHECK(values[1].shape() == Shape{1, 3});
  check_values(values[0], {12, 12});
  check_values(values[1], {3, 3, 3});
}

TEST_CASE("elementwise: what does not fit is refused where it is written") {
  Graph graph;
  const Output a = placeholder(graph, float32, {2, 3}, "a");
  const Output b = placeholder(graph, float32, {4}, "b");
  const Output n = placeholder(graph, int32, {3}, "n");
  const Output p = placeholder(graph, boolean, {3}, "p");
  struct Case {
    unsigned line;
    std::function<void()> build;
    std::string expected;
  };
  const Case cases[] = {
      {__LINE__, [&] { add(a, b); },
       "[add] 'add': shapes do not broadcast: float32[2,3] x float32[4]"},
      {__LINE__, [&] { a* b; }, "[mul] 'mul': shapes do not broadcast"},
      {__LINE__, [&] { sub(a, n); }, "[sub] 'sub': dtypes differ: float32 and int32"},
      {__LINE__, [&] { p + p; }, "[add] 'add': input 0 must be numbers, not bool"},
      {__LINE__, [&] { n + 0.5; }, "[add] 'add': 0.5 is no int32, the dtype of 'n'"},
      {__LINE__, [&] { exp(n); }, "[exp] 'exp': input 0 must be of a floating dtype, not int32"},
      {__LINE__, [&] { relu(p); }, "[relu] 'relu': input 0 must be"},
      {__LINE__, [&] { less(p, p); }, "[less] 'less': input 0 must be"},
      {__LINE__, [&] { equal(a, p); }, "[equal] 'equal': dtypes differ: float32 and bool"},
      {__LINE__, [&] { logical_and(n, n); }, "[logical_and] 'logical_and': input 0 must be bool"},
      {__LINE__, [&] { logical_not(a); }, "[logical_not] 'logical_not': input 0 must be bool"},
      {__LINE__, [&] { where(n, n, n); }, "[where] 'where': input 0 must be bool, not int32"},
      {__LINE__, [&] { where(p, a, n); }, "[where] 'where': dtypes differ: float32 and int32"},
      {__LINE__, [&] { where(p, b, 0); }, "[where] 'where': shapes do not broadcast"},
      {__LINE__, [&] { where(p, 1, 0); }, "one of the two values must be an Output"},
      {__LINE__, [&] { where(Output(), a, 0); }, "[where] 'where': input 0 is empty"},
      {__LINE__, [&] { tanh(Output()); }, "[tanh] 'tanh': input 0 is empty"},
      {__LINE__, [&] { maximum(1, 2); }, "one operand must be an Output that is not empty"},
      {__LINE__, [&] { cast(Output(), int32); }, "[cast] 'cast': input 0 is empty"},
  };
  const int nodes = graph.num_nodes();
  for (const Case& test : cases) {
    const std::string message = message_of<BuildError>(test.build);
    CHECK_MESSAGE(contains(message, test.expected), message);
    CHECK_MESSAGE(contains(message, at_line(test.line)), message);
  }
  for (int id = nodes; id < graph.num_nodes(); ++id)
    CHECK(graph.nodes()[static_cast<std::size_t>(id)].op().name == "constant");
}

TEST_CASE("elementwise: integers refuse a zero divisor and a negative power") {
  Graph graph;
  for (const DType dtype : {int32, int64, uint8}) {
    const Output a = placeholder(graph, dtype, {any, 2}), b = placeholder(graph, dtype, {any, 2});
    const Output quotient = div(a, b);
    const unsigned line = __LINE__ - 1;
    Session session(graph);
    const Tensor ones = Tensor::full(dtype, {2, 2}, 1);
    Tensor divisor = ones.clone();
    static_cast<char*>(divisor.raw())[3 * size_of(dtype)] = 0;
    const std::string message = message_of<RunError>([&] {
      session.run({{a, ones}, {b, divisor}}, quotient);
    });
    CHECK_MESSAGE(contains(message, "division by zero"), message);
    CHECK_MESSAGE(contains(message, "[div] 'div"), message);
    CHECK_MESSAGE(contains(message, at_line(line)), message);
    CHECK_MESSAGE(message_of<RunError>([&] {
                    session.run({{a, ones}, {b, Tensor::zeros(dtype, {1, 2})}}, quotient);
                  }) != "(no error)",
                  "a divisor that is broadcast");
    CHECK(session.run({{a, ones}, {b, ones}}, quotient).num_elements() == 4);
  }
  const Output base = placeholder(graph, int32, {2});
  const std::string message = message_of<RunError>([&] {
    Session(graph).run({{base, Tensor{2, 3}}}, pow(base, Tensor{2, -1}));
  });
  CHECK_MESSAGE(contains(message, "an integer to a negative power"), message);
}

TEST_CASE("elementwise: large shapes, for every way to broadcast and any number of threads") {
  struct Case {
    Shape a, b;
  };
  const Case cases[] = {{{70001}, {70001}},
                        {{70001}, {}},
                        {{}, {70001}},
                        {{257, 301}, {301}},
                        {{257, 1}, {301}},
                        {{257, 301}, {257, 1}},
                        {{41, 1, 43, 1}, {47, 1, 5}},
                        {{3, 5, 7, 11, 1, 13}, {5, 1, 11, 2, 13}},
                        {{1, 1}, {65, 1, 1, 129}}};
  const auto fill = [](const Shape& shape, double factor) {
    Tensor tensor(float32, shape);
    for (std::int64_t i = 0; i < tensor.num_elements(); ++i)
      tensor.data<float>()[i] = static_cast<float>(std::sin(factor * static_cast<double>(i)));
    return tensor;
  };
  const auto element = [](const Tensor& tensor, const Shape& result, std::int64_t at) {
    std::int64_t offset = 0, stride = 1;
    for (int axis = result.rank() - 1; axis >= 0; --axis) {
      const int own = axis - (result.rank() - tensor.shape().rank());
      const std::int64_t index = at % result[axis];
      at /= result[axis];
      if (own < 0) continue;
      if (tensor.shape()[own] != 1) offset += index * stride;
      stride *= tensor.shape()[own];
    }
    return tensor.data<float>()[offset];
  };
  for (const Case& test : cases) {
    Graph graph;
    const Output a = placeholder(graph, float32, test.a), b = placeholder(graph, float32, test.b);
    const std::vector<Output> fetches = {a - b, less(a, b), where(less(b, 0), a, b)};
    const Tensor x = fill(test.a, 1.5), y = fill(test.b, 2.5);
    for (const int threads : {1, 2, 3}) {
      Session session(graph, {.threads = threads});
      const auto results = session.run({{a, x}, {b, y}}, fetches);
      const Shape& shape = results[0].shape();
      bool same = true;
      for (std::int64_t i = 0; i < shape.num_elements(); ++i) {
        const float p = element(x, shape, i), q = element(y, shape, i);
        same = same && results[0].data<float>()[i] == p - q &&
               results[1].data<bool>()[i] == (p < q) &&
               results[2].data<float>()[i] == (q < 0 ? p : q);
      }
      CHECK_MESSAGE(same, shape << " with " << threads << " threads");
    }
  }
}

TEST_CASE("elementwise: the output may be the first operand") {
  Graph graph;
  const Output x = placeholder(graph, float32, {1000}), v = placeholder(graph, float32, {});
  for (const Output node : {x - v, x * x, maximum(x, v), relu(x), neg(x)}) {
    const Kernel kernel = kernel_registry().make(KernelSite(node.node()), "cpu");
    REQUIRE(kernel);
    Tensor buffer(float32, {1000}), other(float32, {1000});
    for (int i = 0; i < 1000; ++i) buffer.data<float>()[i] = static_cast<float>(i - 500) / 8;
    const Tensor scalar(2.5f);
    const void* inputs[] = {
        buffer.raw(),
        node.node().num_inputs() == 2 && node.node().input(1) == x ? buffer.raw() : scalar.raw()};
    void* elsewhere[] = {other.raw()};
    void* in_place[] = {buffer.raw()};
    kernel.run({inputs, elsewhere});
    kernel.run({inputs, in_place});
    CHECK(std::ranges::equal(buffer.span<float>(), other.span<float>()));
  }
}

namespace {

template <class... T>
std::vector<DType> dtypes(functors::List<T...>) {
  return {dtype_of<T>...};
}

/// Whether a node of `op` on inputs of `dtype` can be built.
bool builds(const OpDef& op, int inputs, DType dtype) {
  Graph graph;
  const Output x = placeholder(graph, dtype, {2});
  std::vector<Output> operands(static_cast<std::size_t>(inputs), x);
  if (op.name == "where") operands[0] = placeholder(graph, boolean, {2});
  Attributes attributes;
  for (const std::string_view name : parameters_of(op.name)) attributes.set(name, 0.5);
  const auto build = [&] { graph.add(op, operands, attributes, {}); };
  return message_of<BuildError>(build) == "(no error)";
}

/// Of an op: how many inputs it takes.
template <class F, class T, class... Rest>
int inputs_of(functors::List<T, Rest...>) {
  if constexpr (requires { F::kChooses; }) return 3;
  return static_cast<int>(functors::kOperands<F, T> - functors::kParameters<F>);
}

template <class... F>
void check_types(functors::List<F...>) {
  const auto check = [&](std::string_view name, int inputs, const std::vector<DType>& types) {
    const OpDef& op = op_registry().at(name);
    for (const DType dtype : {float32, float64, int32, int64, uint8, boolean}) {
      const bool listed = std::find(types.begin(), types.end(), dtype) != types.end();
      CHECK_MESSAGE(builds(op, inputs, dtype) == listed, op.name << " of " << dtype);
      CHECK_MESSAGE(kernel_registry().has(name, "cpu", dtype) == listed, op.name << " " << dtype);
    }
  };
  (check(F::op, inputs_of<F>(typename F::Types{}), dtypes(typename F::Types{})), ...);
}

}  // namespace

TEST_CASE("elementwise: a new value that waits until the old one was read is kept") {
  Graph graph;
  const Output a = variable(graph, tests::noise({4096}, 1, float32), "a");
  const Output b = variable(graph, tests::noise({4096}, 2, float32), "b");
  // In the first tanh's memory, which is free again, others would write for each block.
  const Output s = tanh(a), t = tanh(b);
  const Output updates =
      group(graph, {assign(a, (s * b + s) * a), assign(b, (t * a + t) * b - a)});
  Session fused(graph, {.threads = 1});
  Session plain(graph, {.threads = 1, .disabled_passes = {"fuse_elementwise"}});
  fused.run({}, updates);
  plain.run({}, updates);
  CHECK(contains(fused.explain_passes({}, {updates}), "fuse_elementwise: "));
  for (const Output& variable : {a, b}) {
    const Tensor expected = plain.value(variable), actual = fused.value(variable);
    for (std::int64_t i = 0; i < 4096; ++i)
      REQUIRE(actual.data<float>()[i] == expected.data<float>()[i]);
  }
}

TEST_CASE("elementwise: functors, kernels and inference take the same dtypes") {
  check_types(functors::Elementwise{});
}
