#include "common/training.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <optional>
#include <span>
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

/// Whether nodes go to a GPU unless they ask for something else, or may go there.
bool is_on_gpu(const Flags& flags) {
  const auto is_gpu = [](const std::string& device) { return device.starts_with("cuda"); };
  if (flags.device != "auto") return is_gpu(flags.device);
  const std::vector<std::string> devices = gg::available_devices();
  return std::any_of(devices.begin(), devices.end(), is_gpu);
}

/// How many batches of an epoch one call runs: as many as the flags say, else a few dozen that
/// divide the epoch, so that no call is of another size.
std::int64_t steps_per_launch(const Flags& flags, std::int64_t full_batches) {
  if (flags.steps_per_launch > 0) return flags.steps_per_launch;
  constexpr std::int64_t kLeast = 16, kMost = 64, kUsual = 32;
  for (std::int64_t steps = kMost; steps >= kLeast; --steps)
    if (full_batches % steps == 0) return steps;
  return kUsual;
}

class Loop {
 public:
  Loop(const Flags& flags, const gg::data::Mnist& mnist, gg::Session& session, const Model& model)
      : flags_(flags),
        mnist_(mnist),
        session_(session),
        model_(model),
        is_resident_(is_on_gpu(flags) && !flags.times_nodes()),
        train_(session.prepare(feeds(), model.results())),
        measure_(session.prepare(feeds(), {model.loss, model.accuracy})),
        metrics_(flags.metrics),
        progress_(!flags.quiet, mnist.train.size()) {
    if (is_resident_) return;
    batches_.emplace(
        mnist.train, flags.batch_size,
        gg::data::BatchOptions{.seed = flags.seed, .epoch = 1, .threads = flags.threads});
    validation_batches_.emplace(
        mnist.test, kValidationBatch,
        gg::data::BatchOptions{.shuffle = false, .prefetch = 1, .threads = flags.threads});
  }

  int run() {
    for (int epoch = 1; epoch <= flags_.epochs; ++epoch)
      if (!(is_resident_ ? run_resident_epoch(epoch) : run_epoch(epoch)))
        return Interrupt::kExitStatus;
    if (!flags_.trace.empty()) profile_.write_trace(flags_.trace.string());
    if (flags_.profile) {
      std::vector<gg::Ceilings> ceilings;
      for (const std::string& device : profile_.devices())
        ceilings.push_back(gg::measure_ceilings(device, flags_.threads));
      std::printf("%s", profile_.table(ceilings).c_str());
    }
    return 0;
  }

 private:
  std::vector<gg::Output> feeds() const {
    std::vector<gg::Output> feeds;
    if (is_resident_)
      feeds = {model_.batch.samples};
    else
      feeds = {model_.batch.images, model_.batch.labels};
    if (model_.training) feeds.push_back(model_.training);
    return feeds;
  }

  const std::vector<gg::Tensor>& run_batch(gg::Callable& run, const gg::data::Batch& batch,
                                           const gg::Tensor& training) {
    if (model_.training) return run(batch.images, batch.labels, training);
    return run(batch.images, batch.labels);
  }

  /// False when Ctrl-C ended it.
  bool run_epoch(int epoch) {
    Mean training;
    std::int64_t done = 0;
    while (const gg::data::Batch* next = next_batch()) {
      const gg::data::Batch& batch = *next;
      training.add(batch.size(), run_batch(train_, batch, on_));
      if (flags_.times_nodes()) profile_.add_run(session_.last_run());
      progress_.show(epoch, flags_.epochs, done * flags_.batch_size + batch.size());
      if (Interrupt::requested()) return stop(epoch);
      const bool is_last = ++done == batches_->size();
      if (flags_.log_every > 0 && done % flags_.log_every == 0 && !is_last &&
          !log(epoch, done, training))
        return stop(epoch);
    }
    // The next epoch's first batches are made while the validation data is measured.
    if (epoch < flags_.epochs) batches_->restart(epoch + 1);
    return log(epoch, done, training) || stop(epoch);
  }

  /// The same where the data set is in the graph: many batches in one call.
  bool run_resident_epoch(int epoch) {
    const gg::Tensor order = gg::data::shuffled_samples(mnist_.train.size(), flags_.seed, epoch);
    const std::span<const std::int64_t> samples = order.span<std::int64_t>();
    const std::int64_t size = mnist_.train.size(), full = size / flags_.batch_size,
                       batches = (size + flags_.batch_size - 1) / flags_.batch_size,
                       most = steps_per_launch(flags_, full);
    Mean training;
    for (std::int64_t done = 0; done < batches;) {
      std::int64_t steps = std::min(most, std::max<std::int64_t>(full - done, 1));
      if (flags_.log_every > 0)
        steps = std::min(steps, flags_.log_every - done % flags_.log_every);
      const std::int64_t first = done * flags_.batch_size,
                         each = std::min(flags_.batch_size, size - first);
      run_samples(train_, samples.subspan(static_cast<std::size_t>(first)), steps, each, on_,
                  training);
      done += steps;
      progress_.show(epoch, flags_.epochs, std::min(done * flags_.batch_size, size));
      if (Interrupt::requested()) return stop(epoch);
      if (flags_.log_every > 0 && done % flags_.log_every == 0 && done < batches &&
          !log(epoch, done, training))
        return stop(epoch);
    }
    return log(epoch, batches, training) || stop(epoch);
  }

  /// Runs the first `steps` batches of `samples`, of `each` samples.
  void run_samples(gg::Callable& run, std::span<const std::int64_t> samples, std::int64_t steps,
                   std::int64_t each, const gg::Tensor& training, Mean& mean) {
    gg::Tensor numbers(gg::int64, {steps, each});
    std::copy_n(samples.begin(), steps * each, numbers.span<std::int64_t>().begin());
    const auto& results = model_.training ? run.run_steps(steps, {numbers, training})
                                          : run.run_steps(steps, {numbers});
    mean.add_steps(each, results);
  }

  const gg::data::Batch* next_batch() {
    if (!flags_.times_nodes()) return batches_->next();
    const auto start = std::chrono::steady_clock::now();
    const gg::data::Batch* batch = batches_->next();
    profile_.add_wait(start);
    return batch;
  }

  /// False when Ctrl-C ended it.
  bool validate(Mean& mean) {
    if (is_resident_) {
      const std::int64_t size = mnist_.test.size(), full = size / kValidationBatch;
      std::vector<std::int64_t> samples(static_cast<std::size_t>(size));
      std::iota(samples.begin(), samples.end(), mnist_.train.size());
      if (full > 0) run_samples(measure_, samples, full, kValidationBatch, off_, mean);
      const std::span<const std::int64_t> rest =
          std::span(samples).subspan(static_cast<std::size_t>(full * kValidationBatch));
      if (!rest.empty())
        run_samples(measure_, rest, 1, static_cast<std::int64_t>(rest.size()), off_, mean);
      return !Interrupt::requested();
    }
    validation_batches_->restart(0);
    for (const gg::data::Batch& batch : *validation_batches_) {
      mean.add(batch.size(), run_batch(measure_, batch, off_));
      if (Interrupt::requested()) return false;
    }
    return true;
  }

  /// Measures the validation data and prints the line.
  bool log(int epoch, std::int64_t batches_done, const Mean& training) {
    Mean validation;
    if (!validate(validation)) return false;
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
  const gg::data::Mnist& mnist_;
  gg::Session& session_;
  const Model& model_;
  /// The data set is where the graph runs, which is fed numbers of samples.
  const bool is_resident_;
  gg::Callable train_, measure_;
  const gg::Tensor on_ = gg::Tensor(true), off_ = gg::Tensor(false);
  std::optional<gg::data::Batches> batches_, validation_batches_;  ///< elsewhere
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

int run_epochs(const Flags& flags, const gg::data::Mnist& mnist, gg::Session& session,
               const Model& model) {
  return Loop(flags, mnist, session, model).run();
}

}  // namespace examples
