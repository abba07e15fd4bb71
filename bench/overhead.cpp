/// What a node costs beside its arithmetic: a chain of 1,000 tiny nodes, each launched alone.
/// Prints nanoseconds per node, a line of JSON per run.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>

#include "gradgraph/gradgraph.h"

namespace {

constexpr int kNodes = 1000, kRepeats = 2000;

void measure(int runs) {
  gg::Graph graph;
  const auto start = gg::placeholder(graph, gg::float32, {}, "start");
  const auto one = gg::placeholder(graph, gg::float32, {}, "one");
  gg::Output x = start;
  for (int i = 0; i < kNodes; ++i) x = x + one;
  gg::Session session(graph, {.disabled_passes = {"fuse_elementwise", "merge_elementwise"}});
  auto chain = session.prepare({start, one}, {x});
  const gg::Tensor value(1.0f);
  chain(value, value);
  if (session.last_run().nodes_run < kNodes) throw gg::RunError("the chain was shortened");
  for (int run = 0; run < runs; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kRepeats; ++i) chain(value, value);
    const std::chrono::duration<double, std::nano> passed =
        std::chrono::steady_clock::now() - begin;
    std::printf("{\"nanoseconds_per_node\": %.3f}\n", passed.count() / kRepeats / kNodes);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int runs = 5;
  CLI::App app("Measures what a node costs beside its arithmetic.");
  app.add_option("--runs", runs, "Times that it is measured")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    measure(runs);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
