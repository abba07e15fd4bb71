/// Where the time of a training step goes: a table per model of every node, beside what the
/// machine can do at most, measured in the same run. On zeros, which cost what digits cost.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <string>

#include "models.h"

namespace {

/// Calls `visit(run)` after each training step of a model.
template <class Visit>
void for_steps(const std::string& name, std::int64_t batch, int steps, int threads,
               const Visit& visit) {
  gg::Graph graph;
  const bench::Model model = bench::make_model(graph, name);
  gg::Session session(graph, {.seed = 1, .threads = threads, .node_times = true});
  auto step = session.prepare(model.feeds, {model.loss, model.accuracy, model.train});
  const auto images = gg::Tensor::full(gg::float32, {batch, 28, 28, 1}, 0.5);
  const auto labels = gg::Tensor::zeros(gg::int64, {batch});
  const gg::Tensor training(true);
  std::printf("\n%s, batch %lld\n", name.c_str(), static_cast<long long>(batch));
  for (int i = 0; i < steps; ++i) {
    step(images, labels, training);
    visit(session.last_run());
  }
}

/// The shortest time of each node, which depends less on what else the machine does.
void print_least(const std::string& name, std::int64_t batch, int steps, int threads) {
  std::map<std::string, double> least;
  for_steps(name, batch, steps, threads, [&](const gg::RunStats& run) {
    for (const gg::NodeTime& node : run.nodes) {
      double& seconds = least.try_emplace(node.kernel, node.seconds).first->second;
      seconds = std::min(seconds, node.seconds);
    }
  });
  double total = 0;
  for (const auto& [kernel, seconds] : least) {
    std::printf("%9.1f us  %s\n", seconds * 1e6, kernel.c_str());
    total += seconds;
  }
  std::printf("%9.1f us  in all\n", total * 1e6);
  std::fflush(stdout);
}

void print_table(const std::string& name, std::int64_t batch, int steps, int threads,
                 const gg::Ceilings& ceilings) {
  gg::Profile profile;
  for_steps(name, batch, steps, threads, [&](const gg::RunStats& run) { profile.add_run(run); });
  std::printf("%s", profile.table(ceilings).c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  int steps = 50, threads = 0;
  bool least = false;
  CLI::App app("Prints where the time of a training step goes.");
  app.add_option("--steps", steps, "Steps of each model")->capture_default_str();
  app.add_option("--threads", threads, "CPU threads; 0 means all cores");
  app.add_flag("--least", least, "Print the shortest time of each node instead");
  CLI11_PARSE(app, argc, argv);
  try {
    const gg::Ceilings ceilings = least ? gg::Ceilings{} : gg::measure_ceilings(threads);
    for (const char* name : {"mlp", "cnn"})
      for (const std::int64_t batch : {128, 1000})
        if (least)
          print_least(name, batch, steps, threads);
        else
          print_table(name, batch, steps, threads, ceilings);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
