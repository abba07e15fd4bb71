/// What functions cost for each element on one thread: a line of JSON per case, which
/// bench/elements.py reads beside those of a peer.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "gradgraph/gradgraph.h"

namespace gg = gradgraph;

namespace {

using Function = std::function<std::vector<gg::Output>(gg::Output x, gg::Output other)>;

/// A function of x and of another operand like it, both of `shape`.
struct Case {
  std::string name;
  gg::Shape shape;
  Function function;
};

/// Numbers in [0.25, 2.25), in no order that a branch could learn.
gg::Tensor numbers(const gg::Shape& shape, std::uint32_t seed) {
  gg::Tensor values(gg::float32, shape);
  for (float& value : values.span<float>()) {
    seed = seed * 1664525u + 1013904223u;
    value = 0.25F + static_cast<float>(seed >> 8) * 0x1p-23F;
  }
  return values;
}

/// The least of many times.
double nanoseconds(const Case& measured, double seconds) {
  using Clock = std::chrono::steady_clock;
  gg::Graph graph;
  const gg::Output x = gg::placeholder(graph, gg::float32, measured.shape);
  const gg::Output other = gg::placeholder(graph, gg::float32, measured.shape);
  gg::Session session(graph, {.seed = 1, .threads = 1});
  gg::Callable step = session.prepare({x, other}, measured.function(x, other));
  const gg::Tensor values = numbers(measured.shape, 1), others = numbers(measured.shape, 2);
  step(values, others);
  double least = 1e9;
  for (const auto start = Clock::now();
       Clock::now() - start < std::chrono::duration<double>(seconds);) {
    const auto before = Clock::now();
    step(values, others);
    least =
        std::min(least, std::chrono::duration<double, std::nano>(Clock::now() - before).count());
  }
  return least / static_cast<double>(measured.shape.num_elements());
}

Function unary(gg::Output (*function)(gg::Output, gg::Where)) {
  return [=](gg::Output x, gg::Output) -> std::vector<gg::Output> { return {function(x, {})}; };
}

std::vector<Case> cases() {
  using gg::Output;
  using Outputs = std::vector<Output>;
  const gg::Shape square = {256, 256};
  std::vector<Case> all = {
      {"exp", square, unary(gg::exp)},
      {"log", square, unary(gg::log)},
      {"tanh", square, unary(gg::tanh)},
      {"sigmoid", square, unary(gg::sigmoid)},
      {"sin", square, unary(gg::sin)},
      {"cos", square, unary(gg::cos)},
      {"pow", square, [](Output x, Output y) -> Outputs { return {gg::pow(x, y)}; }},
  };
  const Function softmax = [](Output x, Output) -> Outputs { return {gg::softmax(x)}; };
  const Function log_softmax = [](Output x, Output) -> Outputs { return {gg::log_softmax(x)}; };
  const Function softmax_gradient = [](Output x, Output w) -> Outputs {
    return gg::gradients({gg::sum(gg::softmax(x) * w)}, {x});
  };
  const Function log_softmax_gradient = [](Output x, Output w) -> Outputs {
    return gg::gradients({gg::sum(gg::log_softmax(x) * w)}, {x});
  };
  const Function cross_entropy = [](Output x, Output y) -> Outputs {
    const Output labels = gg::cast(gg::slice(y, {0, 0}, {-1, 1}), gg::int64);
    const Output loss = gg::mean(gg::sparse_softmax_cross_entropy(x, gg::reshape(labels, {-1})));
    return {loss, gg::gradients({loss}, {x})[0]};
  };
  const Function layer_norm = [](Output x, Output) -> Outputs { return {gg::nn::layer_norm(x)}; };
  for (const gg::Shape& shape : {gg::Shape{4096, 10}, {4096, 32}, {512, 128}, {64, 1000}}) {
    all.push_back({"softmax", shape, softmax});
    all.push_back({"log_softmax", shape, log_softmax});
    all.push_back({"softmax and gradient", shape, softmax_gradient});
    all.push_back({"log_softmax and gradient", shape, log_softmax_gradient});
    all.push_back({"cross entropy and gradient", shape, cross_entropy});
    all.push_back({"layer_norm", shape, layer_norm});
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 0.1;
  std::string filter;
  CLI::App app("Prints what functions cost for each element on one thread.");
  app.add_option("--seconds", seconds, "For each case")->capture_default_str();
  app.add_option("--filter", filter, "Cases whose name contains this");
  CLI11_PARSE(app, argc, argv);
  try {
    for (const Case& measured : cases()) {
      if (measured.name.find(filter) == std::string::npos) continue;
      std::printf("{\"case\": \"%s [%lld,%lld]\", \"nanoseconds\": %.4f}\n",
                  measured.name.c_str(), static_cast<long long>(measured.shape[0]),
                  static_cast<long long>(measured.shape[1]), nanoseconds(measured, seconds));
      std::fflush(stdout);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
