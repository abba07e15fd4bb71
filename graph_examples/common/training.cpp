#include "common/training.h"

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace examples {
namespace {

namespace gg = gradgraph;

constexpr int kInterruptedStatus = 130;  ///< as a shell reports a program that Ctrl-C ended

/// Whether nodes go to a GPU unless they ask for something else, or may go there.
bool is_on_gpu(const Flags& flags) {
  const auto is_gpu = [](const std::string& device) { return device.starts_with("cuda"); };
  if (flags.device != "auto") return is_gpu(flags.device);
  const std::vector<std::string> devices = gg::available_devices();
  return std::any_of(devices.begin(), devices.end(), is_gpu);
}

/// "cpu" for "auto", as long as there is nothing else to choose.
std::string device_in_words(const std::string& device) {
  if (device != "auto") return device;
  std::string words;
  for (const std::string& name : gg::available_devices())
    words += (words.empty() ? "" : " or ") + name;
  return words;
}

/// A batch of zeros, to have something of the right shape.
gg::Tensor stand_in(const gg::Output& placeholder, const Flags& flags) {
  gg::Shape shape = placeholder.shape();
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (shape[axis] == gg::any) shape.set(axis, flags.batch_size);
  return gg::Tensor::zeros(placeholder.dtype(), shape);
}

/// "pass: rewrite" lines, as a line per pass and its rewrites below it.
void print_rewrites(const std::string& lines) {
  std::vector<std::pair<std::string, std::vector<std::string>>> passes;
  std::istringstream stream(lines);
  for (std::string line; std::getline(stream, line);) {
    const std::size_t colon = line.find(": ");
    const std::string pass = line.substr(0, colon);
    auto known = std::find_if(passes.begin(), passes.end(),
                              [&](const auto& entry) { return entry.first == pass; });
    if (known == passes.end()) known = passes.insert(known, {pass, {}});
    known->second.push_back(line.substr(colon + 2));
  }
  for (const auto& [pass, rewrites] : passes) {
    std::printf("%s: %zu rewrite%s\n", pass.c_str(), rewrites.size(),
                rewrites.size() == 1 ? "" : "s");
    for (const std::string& rewrite : rewrites) std::printf("  %s\n", rewrite.c_str());
  }
}

void report(const Flags& flags, const gg::data::Mnist& mnist, gg::Session& session,
            const gg::TrainingStep& step) {
  const gg::Graph& graph = step.loss.graph();
  std::vector<gg::Output> feeds, fetches = {step.loss};
  for (const auto& array : step.batch.arrays) feeds.push_back(array.second);
  if (step.training) feeds.push_back(step.training);
  for (const gg::Metric& metric : step.metrics) fetches.push_back(metric.value);
  fetches.push_back(step.train);
  if (!flags.dot.empty())
    gg::write_dot(graph, flags.dot.string(), {.fetches = fetches, .depth = flags.dot_depth});
  if (!flags.quiet) {
    const unsigned cores = std::max(std::thread::hardware_concurrency(), 1U);
    const unsigned threads = flags.threads > 0 ? static_cast<unsigned>(flags.threads) : cores;
    std::printf("%s\n", gg::summary(graph).c_str());
    std::printf("data: %s, %lld training and %lld validation samples; device: %s, %u thread%s\n",
                mnist.source.c_str(), static_cast<long long>(mnist.train.size()),
                static_cast<long long>(mnist.test.size()), device_in_words(flags.device).c_str(),
                threads, threads == 1 ? "" : "s");
  }
  if (flags.explain_placement || flags.explain_memory || flags.explain_passes) {
    gg::Feeds values;
    for (const gg::Output& feed : feeds) values.emplace_back(feed, stand_in(feed, flags));
    if (flags.explain_placement)
      std::printf("%s", session.explain_placement(values, fetches).c_str());
    if (flags.explain_memory)
      std::printf("memory: %s\n", session.explain_memory(values, fetches).c_str());
    if (flags.explain_passes) print_rewrites(session.explain_passes(values, fetches));
  }
  std::fflush(stdout);
}

gg::FitOptions fit_options(const Flags& flags, const gg::data::Mnist& mnist) {
  gg::FitOptions options{.epochs = flags.epochs,
                         .batch_size = flags.batch_size,
                         .seed = flags.seed,
                         .validation = mnist.test,
                         .threads = flags.threads,
                         .data_in_graph = is_on_gpu(flags) && !flags.times_nodes(),
                         .steps_per_call = flags.steps_per_launch,
                         .log_every = flags.log_every,
                         .progress_bar = !flags.quiet,
                         .metrics_file = flags.metrics,
                         .event_directory = flags.events,
                         .checkpoint_every = flags.checkpoint_every,
                         .resume = flags.resume};
  if (!flags.checkpoints.empty())
    options.checkpoints = gg::CheckpointOptions{.directory = flags.checkpoints};
  return options;
}

void print_profile(const Flags& flags, const gg::Profile& profile) {
  if (!flags.trace.empty()) profile.write_trace(flags.trace.string());
  if (!flags.profile) return;
  std::vector<gg::Ceilings> ceilings;
  for (const std::string& device : profile.devices())
    ceilings.push_back(gg::measure_ceilings(device, flags.threads));
  std::printf("%s", profile.table(ceilings).c_str());
}

}  // namespace

gg::data::Mnist load_mnist(const Flags& flags) {
  gg::data::Mnist mnist = gg::data::find_mnist(flags.data);
  mnist.train = mnist.train.first(flags.limit);
  mnist.test = mnist.test.first(flags.limit);
  return mnist;
}

int train(const Flags& flags, const gg::data::Mnist& mnist, gg::Session& session,
          const gg::TrainingStep& step) {
  report(flags, mnist, session, step);
  gg::Profile profile;
  gg::FitOptions options = fit_options(flags, mnist);
  if (flags.times_nodes()) options.profile = &profile;
  const gg::FitResult result = gg::fit(session, step, mnist.train, options);
  if (result.was_interrupted) {
    std::fprintf(stderr, "interrupted in epoch %zu of %d\n", result.epochs.size() + 1,
                 flags.epochs);
    return kInterruptedStatus;
  }
  print_profile(flags, profile);
  return 0;
}

}  // namespace examples
