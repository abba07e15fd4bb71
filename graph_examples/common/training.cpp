#include "common/training.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/interrupt.h"
#include "common/mean.h"
#include "common/metrics.h"
#include "common/progress.h"

namespace examples {
namespace {

namespace gg = gradgraph;

/// Large enough to be fast, small enough to need little memory.
constexpr std::int64_t kValidationBatch = 500;

class Loop {
 public:
  Loop(const Flags& flags, const gg::data::Mnist& mnist, const gg::Session& session,
       const RunBatch& train, const RunBatch& validate)
      : flags_(flags),
        session_(session),
        train_(train),
        validate_(validate),
        batches_(mnist.train, flags.batch_size,
                 {.seed = flags.seed, .epoch = 1, .threads = flags.threads}),
        validation_batches_(mnist.test, kValidationBatch,
                            {.shuffle = false, .prefetch = 1, .threads = flags.threads}),
        metrics_(flags.metrics),
        progress_(!flags.quiet, mnist.train.size()) {}

  int run() {
    for (int epoch = 1; epoch <= flags_.epochs; ++epoch)
      if (!run_epoch(epoch)) return Interrupt::kExitStatus;
    if (!flags_.trace.empty()) profile_.write_trace(flags_.trace.string());
    if (flags_.profile)
      std::printf("%s", profile_.table(gg::measure_ceilings(flags_.threads)).c_str());
    return 0;
  }

 private:
  /// False when Ctrl-C ended it.
  bool run_epoch(int epoch) {
    Mean training;
    std::int64_t done = 0;
    while (const gg::data::Batch* next = next_batch()) {
      const gg::data::Batch& batch = *next;
      training.add(batch, train_(batch));
      if (flags_.times_nodes()) profile_.add_run(session_.last_run());
      progress_.show(epoch, flags_.epochs, done * flags_.batch_size + batch.size());
      if (Interrupt::requested()) return stop(epoch);
      const bool is_last = ++done == batches_.size();
      if (flags_.log_every > 0 && done % flags_.log_every == 0 && !is_last &&
          !log(epoch, done, training))
        return stop(epoch);
    }
    // The next epoch's first batches are made while the validation data is measured.
    if (epoch < flags_.epochs) batches_.restart(epoch + 1);
    return log(epoch, done, training) || stop(epoch);
  }

  const gg::data::Batch* next_batch() {
    if (!flags_.times_nodes()) return batches_.next();
    const auto start = std::chrono::steady_clock::now();
    const gg::data::Batch* batch = batches_.next();
    profile_.add_wait(start);
    return batch;
  }

  /// Measures the validation data and prints the line.
  bool log(int epoch, std::int64_t batches_done, const Mean& training) {
    Mean validation;
    validation_batches_.restart(0);
    for (const gg::data::Batch& batch : validation_batches_) {
      validation.add(batch, validate_(batch));
      if (Interrupt::requested()) return false;
    }
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
    progress_.clear();
    std::printf("loss: %.4f / %.4f\taccuracy: %.4f / %.4f\tstep %d  %.2f sec\n", training.loss(),
                validation.loss(), training.accuracy(), validation.accuracy(), epoch,
                passed.count());
    if (std::fflush(stdout) != 0) throw gg::DataError("cannot write the log");
    metrics_.write({{"epoch", epoch},
                    {"batch", static_cast<double>(batches_done)},
                    {"loss", training.loss()},
                    {"validation_loss", validation.loss()},
                    {"accuracy", training.accuracy()},
                    {"validation_accuracy", validation.accuracy()},
                    {"seconds", passed.count()}});
    profile_.skip_time();
    return true;
  }

  bool stop(int epoch) {
    progress_.clear();
    std::fprintf(stderr, "interrupted in epoch %d of %d\n", epoch, flags_.epochs);
    return false;
  }

  const Flags& flags_;
  const gg::Session& session_;
  const RunBatch& train_;
  const RunBatch& validate_;
  gg::data::Batches batches_, validation_batches_;
  MetricsFile metrics_;
  Progress progress_;
  gg::Profile profile_;
  Interrupt interrupt_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

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

}  // namespace

gg::data::Mnist load_mnist(const Flags& flags) {
  gg::data::Mnist mnist = gg::data::find_mnist(flags.data);
  mnist.train = mnist.train.first(flags.limit);
  mnist.test = mnist.test.first(flags.limit);
  return mnist;
}

void report(const Flags& flags, const gg::data::Mnist& mnist, const gg::Graph& graph,
            gg::Session& session, const std::vector<gg::Output>& feeds,
            const std::vector<gg::Output>& fetches) {
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

int run_epochs(const Flags& flags, const gg::data::Mnist& mnist, const gg::Session& session,
               const RunBatch& train, const RunBatch& validate) {
  return Loop(flags, mnist, session, train, validate).run();
}

}  // namespace examples
