/// Where the time of a training step goes: a table per model of every node, beside what the
/// machine can do at most, measured in the same run. On zeros, which cost what digits cost.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "models.h"

namespace {

void print_table(const std::string& name, std::int64_t batch, int steps, int threads,
                 const gg::Ceilings& ceilings) {
  gg::Graph graph;
  const bench::Model model = bench::make_model(graph, name);
  gg::Session session(graph, {.seed = 1, .threads = threads, .node_times = true});
  auto step = session.prepare(model.feeds, {model.loss, model.accuracy, model.train});
  const auto images = gg::Tensor::full(gg::float32, {batch, 28, 28, 1}, 0.5);
  const auto labels = gg::Tensor::zeros(gg::int64, {batch});
  const gg::Tensor training(true);
  gg::Profile profile;
  for (int i = 0; i < steps; ++i) {
    step(images, labels, training);
    profile.add_run(session.last_run());
  }
  std::printf("\n%s, batch %lld\n%s", name.c_str(), static_cast<long long>(batch),
              profile.table(ceilings).c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  int steps = 50, threads = 0;
  CLI::App app("Prints where the time of a training step goes.");
  app.add_option("--steps", steps, "Steps of each model")->capture_default_str();
  app.add_option("--threads", threads, "CPU threads; 0 means all cores");
  CLI11_PARSE(app, argc, argv);
  try {
    const gg::Ceilings ceilings = gg::measure_ceilings(threads);
    for (const char* name : {"mlp", "cnn"})
      for (const std::int64_t batch : {128, 1000})
        print_table(name, batch, steps, threads, ceilings);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
