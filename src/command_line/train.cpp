#include <algorithm>
#include <cstdio>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/text.h"
#include "core/threads.h"
#include "gradgraph/command_line.h"
#include "gradgraph/dot.h"
#include "gradgraph/nn.h"
#include "gradgraph/profile.h"
#include "gradgraph/replay.h"

namespace gradgraph {
namespace command_line {
namespace {

constexpr int kInterruptedStatus = 130;  ///< as a shell reports a program that Ctrl-C ended

/// Whether nodes go to a GPU unless they ask for something else, or may go there.
bool is_on_gpu(const TrainingFlags& flags) {
  const auto is_gpu = [](const std::string& device) { return device.starts_with("cuda"); };
  if (flags.device != "auto") return is_gpu(flags.device);
  const std::vector<std::string> devices = available_devices();
  return std::any_of(devices.begin(), devices.end(), is_gpu);
}

/// "cpu" for "auto", as long as there is nothing else to choose.
std::string device_in_words(const std::string& device) {
  return device == "auto" ? fmt::format("{}", fmt::join(available_devices(), " or ")) : device;
}

/// A batch of zeros, to have something of the right shape.
Tensor stand_in(const Output& placeholder, const TrainingFlags& flags) {
  Shape shape = placeholder.shape();
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (shape[axis] == any) shape.set(axis, flags.batch_size);
  return Tensor::zeros(placeholder.dtype(), shape);
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
    fmt::print("{}: {} rewrite{}\n", pass, rewrites.size(), rewrites.size() == 1 ? "" : "s");
    for (const std::string& rewrite : rewrites) fmt::print("  {}\n", rewrite);
  }
}

void report(const TrainingFlags& flags, Session& session, const TrainingStep& step,
            const TrainingData& data, SourceLocation where) {
  const Graph& graph = step.loss.graph();
  std::vector<Output> feeds, fetches = {step.loss};
  for (const auto& array : step.batch.arrays) feeds.push_back(array.second);
  if (step.training) feeds.push_back(step.training);
  for (const Metric& metric : step.metrics) fetches.push_back(metric.value);
  fetches.push_back(step.train);
  if (!flags.dot.empty())
    write_dot(graph, flags.dot.string(), {.fetches = fetches, .depth = flags.dot_depth}, where);
  if (!flags.quiet) {
    const int threads = thread_count(flags.threads);
    fmt::print("{}\ndata: {}, {} training and {} validation samples; device: {}, {} thread{}\n",
               summary(graph), data.source, data.training.size(), data.validation.size(),
               device_in_words(flags.device), threads, threads == 1 ? "" : "s");
  }
  if (flags.explain_placement || flags.explain_memory || flags.explain_passes) {
    Feeds values;
    for (const Output& feed : feeds) values.emplace_back(feed, stand_in(feed, flags));
    if (flags.explain_placement)
      fmt::print("{}", session.explain_placement(values, fetches, where));
    if (flags.explain_memory)
      fmt::print("memory: {}\n", session.explain_memory(values, fetches, where));
    if (flags.explain_passes) print_rewrites(session.explain_passes(values, fetches, where));
  }
  std::fflush(stdout);
}

void print_profile(const TrainingFlags& flags, const Profile& profile) {
  if (!flags.trace.empty()) profile.write_trace(flags.trace.string(), {});
  if (!flags.profile) return;
  std::vector<Ceilings> ceilings;
  for (const std::string& device : profile.devices())
    ceilings.push_back(measure_ceilings(device, flags.threads));
  fmt::print("{}", profile.table(ceilings));
}

/// What the flags say in place of `options`' own.
FitOptions with_flags(const TrainingFlags& flags, const TrainingStep& step,
                      const TrainingData& data, FitOptions options) {
  options.epochs = flags.epochs;
  options.batch_size = flags.batch_size;
  options.seed = flags.seed;
  options.validation = data.validation;
  options.threads = flags.threads;
  options.data_in_graph = step.batch.samples && is_on_gpu(flags) && !flags.times_nodes() &&
                          options.transforms.empty() && options.validation_transforms.empty();
  options.steps_per_call = flags.steps_per_launch;
  options.log_every = flags.log_every;
  options.progress_bar = !flags.quiet;
  options.metrics_file = flags.metrics;
  options.event_directory = flags.events;
  options.numerics_directory = flags.check_numerics;
  options.checkpoint_every = flags.checkpoint_every;
  options.resume = flags.resume;
  if (flags.checkpoints.empty()) {
    options.checkpoints.reset();
  } else {
    if (!options.checkpoints) options.checkpoints.emplace();
    options.checkpoints->directory = flags.checkpoints;
  }
  return options;
}

}  // namespace
}  // namespace command_line

SessionOptions session_options(const TrainingFlags& flags) {
  return {.device = flags.device,
          .seed = flags.seed,
          .threads = flags.threads,
          .memory_limit = flags.memory_limit,
          .exact_rewrites = flags.exact_rewrites,
          .precision = flags.precision,
          .check_numerics = !flags.check_numerics.empty(),
          .node_times = flags.times_nodes()};
}

int train(const TrainingFlags& flags, Session& session, const TrainingStep& step,
          const TrainingData& data, const FitOptions& options, SourceLocation where) {
  if (!flags.replay.empty()) {
    replay(step.loss.graph(), flags.replay, session.options(), where);
    fmt::print("{}: all numbers are finite this time\n", flags.replay.string());
    return 0;
  }
  command_line::report(flags, session, step, data, where);
  Profile profile;
  FitOptions all = command_line::with_flags(flags, step, data, options);
  if (flags.times_nodes()) all.profile = &profile;
  const FitResult result = fit(session, step, data.training, all, where);
  if (result.was_interrupted) {
    fmt::print(stderr, "interrupted in epoch {} of {}\n", result.epochs.size() + 1, flags.epochs);
    return command_line::kInterruptedStatus;
  }
  command_line::print_profile(flags, profile);
  return 0;
}

}  // namespace gradgraph
