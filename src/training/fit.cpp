#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <utility>

#include "core/text.h"
#include "gradgraph/ops.h"
#include "gradgraph/replay.h"
#include "gradgraph/tensorboard.h"
#include "gradgraph/training.h"
#include "training/best_weights.h"
#include "training/interrupt.h"
#include "training/means.h"
#include "training/metrics_file.h"
#include "training/progress.h"
#include "training/step_runner.h"

namespace gradgraph {
namespace training {
namespace {

using std::int64_t;
using Mode = StepRunner::Mode;

/// Of what is fed, a data set has an array.
void require_arrays(const TrainingStep& step, const data::Dataset& dataset,
                    SourceLocation where) {
  for (const auto& array : step.batch.arrays)
    require(dataset.contains(array.first),
            fmt::format("the step's batch has an array '{}', but a data set has {}", array.first,
                        fmt::join(dataset.names(), ", ")),
            where);
}

void require_options(const TrainingStep& step, const data::Dataset& dataset,
                     const FitOptions& options, SourceLocation where) {
  const auto at_least = [&](const char* name, int64_t value, int64_t least) {
    require(value >= least, fmt::format("{} must be {} or more, not {}", name, least, value),
            where);
  };
  at_least("epochs", options.epochs, 1);
  at_least("batch_size", options.batch_size, 1);
  at_least("batches_per_update", options.batches_per_update, 1);
  at_least("validation_batch_size", options.validation_batch_size, 1);
  at_least("steps_per_call", options.steps_per_call, 0);
  at_least("log_every", options.log_every, 0);
  at_least("checkpoint_every", options.checkpoint_every, 0);
  at_least("early_stopping.patience", options.early_stopping.patience, 0);
  require(dataset.size() > 0, "the data set is empty", where);
  require(!options.drop_last || dataset.size() >= options.batch_size,
          fmt::format("drop_last leaves nothing of {} samples in batches of {}", dataset.size(),
                      options.batch_size),
          where);
  require_arrays(step, dataset, where);
  if (options.validation.size() > 0) require_arrays(step, options.validation, where);
  require(!options.data_in_graph ||
              (options.transforms.empty() && options.validation_transforms.empty()),
          "data in the graph is not transformed", where);
  require(!options.resume || options.checkpoints, "resume needs checkpoints", where);
  require(options.checkpoint_every == 0 || options.checkpoints,
          "checkpoint_every needs checkpoints", where);
  const EarlyStopping& stopping = options.early_stopping;
  require(stopping.patience == 0 || options.validation.size() > 0,
          "early stopping needs validation data", where);
  require(has_metric(step, stopping.metric),
          fmt::format("early stopping looks at '{}', which is no metric", stopping.metric),
          where);
}

/// How many batches one call runs: as many as asked for, else a few dozen that divide the epoch,
/// so that no call is of another size.
int64_t batches_per_call(int64_t wanted, int64_t full_batches) {
  if (wanted > 0) return wanted;
  constexpr int64_t kLeast = 16, kMost = 64, kUsual = 32;
  for (int64_t steps = kMost; steps >= kLeast; --steps)
    if (full_batches % steps == 0) return steps;
  return kUsual;
}

/// Means of the results over `dataset`, whose samples are counted from `first` where they lie in
/// the graph. False when it was interrupted.
bool measure(StepRunner& runner, const data::Dataset& dataset, data::Batches* batches,
             int64_t first, int64_t batch_size, const Interrupt& interrupt, Means& means) {
  if (batches) {
    batches->restart(0);
    while (const data::Batch* batch = batches->next()) {
      runner.run(*batch, means);
      if (interrupt.requested()) return false;
    }
    return true;
  }
  const int64_t size = dataset.size(), full = size / batch_size;
  std::vector<int64_t> samples(static_cast<std::size_t>(size));
  std::iota(samples.begin(), samples.end(), first);
  if (full > 0) runner.run(samples, full, batch_size, means);
  const std::span<const int64_t> rest =
      std::span(samples).subspan(static_cast<std::size_t>(full * batch_size));
  if (!rest.empty()) runner.run(rest, 1, std::ssize(rest), means);
  return !interrupt.requested();
}

/// Measures without a trace: what is trained afterwards draws the same random numbers.
template <class... A>
bool measure_aside(Session& session, A&&... arguments) {
  const int64_t step = session.step();
  const bool is_complete = measure(std::forward<A>(arguments)...);
  session.set_step(step);
  return is_complete;
}

class Training {
 public:
  Training(Session& session, const TrainingStep& step, const data::Dataset& dataset,
           const FitOptions& options, SourceLocation where)
      : session_(session),
        step_(step),
        dataset_(dataset),
        options_(options),
        where_(where),
        train_(session, step, Mode::train, options.data_in_graph, where),
        means_(step),
        best_(session, step.loss.graph(), options.early_stopping),
        progress_(options.progress_bar, samples_each_epoch()),
        interrupt_(options.catch_interrupts) {
    if (options.batches_per_update > 1)
      accumulate_.emplace(session, step, Mode::accumulate, options.data_in_graph, where);
    if (has_validation())
      evaluate_.emplace(session, step, Mode::evaluate, options.data_in_graph, where);
    if (!options.event_directory.empty()) {
      if (!step.gradients.empty())
        train_with_gradients_.emplace(session, step, Mode::train_with_gradients,
                                      options.data_in_graph, where);
      events_.emplace(options.event_directory, where);
      if (!options.resume) events_->graph(step.loss.graph(), where);
    }
    if (options.checkpoints) open_checkpoints();
    if (options.resume) resume();
    metrics_file_.emplace(options.metrics_file, epoch_, done_, where);
    if (options.data_in_graph) return;
    batches_.emplace(dataset, options.batch_size,
                     data::BatchOptions{.shuffle = options.shuffle,
                                        .seed = options.seed,
                                        .epoch = epoch_,
                                        .drop_last = options.drop_last,
                                        .threads = options.threads,
                                        .transforms = options.transforms},
                     where);
    if (has_validation())
      validation_batches_.emplace(options.validation, options.validation_batch_size,
                                  data::BatchOptions{.shuffle = false,
                                                     .prefetch = 1,
                                                     .threads = options.threads,
                                                     .transforms = options.validation_transforms},
                                  where);
  }

  FitResult run() {
    for (bool goes_on = true; goes_on && epoch_ <= options_.epochs;) {
      const bool whole = options_.data_in_graph ? run_epoch_in_graph() : run_epoch();
      if (!whole || !end_epoch(goes_on)) {
        result_.was_interrupted = true;
        break;
      }
    }
    if (result_.was_interrupted) save(nullptr);
    if (checkpoints_) checkpoints_->wait(where_);
    const EarlyStopping& stopping = options_.early_stopping;
    if (stopping.patience > 0 && stopping.restores_best && !result_.was_interrupted)
      restore_best();
    result_.best_epoch = best_.epoch();
    return std::move(result_);
  }

 private:
  bool has_validation() const { return options_.validation.size() > 0; }
  int64_t samples_each_epoch() const {
    return std::min(dataset_.size(), num_batches() * options_.batch_size);
  }
  int64_t num_batches() const {
    const int64_t begun = options_.drop_last ? 0 : options_.batch_size - 1;
    return (dataset_.size() + begun) / options_.batch_size;
  }

  /// Until the next one that ends in an update; the last one of an epoch does.
  int64_t batches_to_accumulate() const {
    const int64_t each = options_.batches_per_update;
    return std::min(each - 1 - done_ % each, num_batches() - 1 - done_);
  }

  StepRunner& next_runner() {
    if (batches_to_accumulate() > 0) return *accumulate_;
    return train_with_gradients_ && done_ + 1 == num_batches() ? *train_with_gradients_ : train_;
  }

  /// False when it was interrupted.
  bool run_epoch() {
    if (done_ > 0) batches_->restart(epoch_, done_, where_);
    while (const data::Batch* batch = next_batch()) {
      next_runner().run(*batch, means_);
      if (options_.profile) options_.profile->add_run(session_.last_run());
      if (!after_steps(1)) return false;
    }
    // The next epoch's first batches are made while the validation data is measured.
    if (epoch_ < options_.epochs) batches_->restart(epoch_ + 1);
    return true;
  }

  const data::Batch* next_batch() {
    if (!options_.profile) return batches_->next();
    const auto start = std::chrono::steady_clock::now();
    const data::Batch* batch = batches_->next();
    options_.profile->add_wait(start);
    return batch;
  }

  /// The same where the data set is in the graph: many batches in one call.
  bool run_epoch_in_graph() {
    const int64_t size = dataset_.size(), full = size / options_.batch_size,
                  most = batches_per_call(options_.steps_per_call, full);
    const Tensor order = order_of_samples();
    const std::span<const int64_t> samples = order.span<int64_t>();
    while (done_ < num_batches()) {
      int64_t steps = std::min(most, std::max<int64_t>(full - done_, 1));
      for (const int64_t every : {options_.log_every, options_.checkpoint_every})
        if (every > 0) steps = std::min(steps, every - done_ % every);
      if (accumulate_) steps = std::min(steps, std::max<int64_t>(batches_to_accumulate(), 1));
      if (train_with_gradients_)  // gives them of the last batch alone
        steps = std::min(steps, std::max<int64_t>(num_batches() - 1 - done_, 1));
      const int64_t first = done_ * options_.batch_size,
                    each = std::min(options_.batch_size, size - first);
      next_runner().run(samples.subspan(static_cast<std::size_t>(first)), steps, each, means_);
      if (!after_steps(steps)) return false;
    }
    return true;
  }

  Tensor order_of_samples() const {
    if (options_.shuffle)
      return data::shuffled_samples(dataset_.size(), options_.seed, epoch_, where_);
    Tensor order(int64, {dataset_.size()});
    std::iota(order.span<int64_t>().begin(), order.span<int64_t>().end(), 0);
    return order;
  }

  bool after_steps(int64_t steps) {
    done_ += steps;
    progress_.show(epoch_, options_.epochs, means_.samples());
    if (interrupt_.requested()) return false;
    const bool is_last = done_ == num_batches();
    const auto is_due = [&](int64_t every) {
      return every > 0 && done_ % every == 0 && !is_last;
    };
    if (is_due(options_.log_every) && !log(false)) return false;
    if (is_due(options_.checkpoint_every)) save(nullptr);
    return true;
  }

  bool end_epoch(bool& goes_on) {
    if (!log(true)) return false;
    const TrainingLog& done = result_.epochs.back();
    if (has_validation()) goes_on = best_.take(done);
    result_.stopped_early = !goes_on && epoch_ < options_.epochs;
    ++epoch_;
    done_ = 0;
    means_.clear();
    save(&done);
    return true;
  }

  /// Measures the validation data, unless it is interrupted.
  bool log(bool epoch_is_done) {
    Means validation(step_);
    if (evaluate_ &&
        !measure_aside(session_, *evaluate_, options_.validation,
                       validation_batches_ ? &*validation_batches_ : nullptr, dataset_.size(),
                       options_.validation_batch_size, interrupt_, validation))
      return false;
    TrainingLog entry{.epoch = epoch_,
                      .batches = done_,
                      .epoch_is_done = epoch_is_done,
                      .seconds = seconds(),
                      .has_validation = has_validation()};
    for (std::size_t i = 0; i < means_.num_metrics(); ++i) {
      MetricMeans& metric = entry.metrics.emplace_back();
      metric.name = means_.name(i);
      metric.training = means_.value(i);
      if (has_validation()) metric.validation = validation.value(i);
    }
    progress_.clear();
    if (options_.log)
      options_.log(entry);
    else if (std::printf("%s\n", entry.line().c_str()) < 0 || std::fflush(stdout) != 0)
      throw DataError("cannot write the log", where_);
    if (!options_.log) warn_of_infinity(entry);
    metrics_file_->write(entry, where_);
    if (events_) write_events(entry);
    if (options_.profile) options_.profile->skip_time();
    if (epoch_is_done) result_.epochs.push_back(std::move(entry));
    return true;
  }

  /// Once.
  void warn_of_infinity(const TrainingLog& entry) {
    if (has_warned_ || std::isfinite(entry.metrics.front().training)) return;
    has_warned_ = true;
    std::fprintf(stderr,
                 "warning: the loss is not finite; SessionOptions::check_numerics, or "
                 "--check-numerics, names the node that is first to make such numbers\n");
  }

  /// Curves over the training steps, and how weights are distributed at the end of an epoch.
  void write_events(const TrainingLog& entry) {
    const int64_t step = (entry.epoch - 1) * num_batches() + entry.batches;
    for (const MetricMeans& metric : entry.metrics) {
      events_->scalar(metric.name + "/training", metric.training, step, where_);
      if (has_validation())
        events_->scalar(metric.name + "/validation", metric.validation, step, where_);
    }
    if (!entry.epoch_is_done) return;
    for (const Output& variable : trainable_variables(step_.loss.graph()))
      events_->histogram(variable.name(), session_.value(variable, where_), step, where_);
    if (!train_with_gradients_) return;
    auto next = train_with_gradients_->gradients().begin();
    for (const auto& [variable, gradient] : step_.gradients)
      if (gradient) events_->histogram(variable.name() + "/gradient", *next++, step, where_);
  }

  double seconds() const {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
    return seconds_before_ + passed.count();
  }

  /// The log of an epoch that has just ended, else null: its numbers are those of the weights.
  void save(const TrainingLog* ended) {
    if (!checkpoints_) return;
    TrainingProgress progress{.epoch = epoch_, .position = done_, .data_seed = options_.seed};
    if (ended)
      for (const MetricMeans& metric : ended->metrics) {
        progress.metrics[metric.name] = metric.training;
        if (has_validation()) progress.metrics["validation " + metric.name] = metric.validation;
      }
    progress.counts["best epoch"] = best_.epoch();
    progress.numbers["best value"] = best_.value();
    progress.counts["samples a batch"] = options_.batch_size;
    progress.counts["samples"] = dataset_.size();
    progress.counts["samples an epoch"] = samples_each_epoch();
    progress.counts["samples seen"] = means_.samples();
    for (std::size_t i = 0; const std::string& name : means_.names_of_sums())
      progress.numbers[name] = means_.sums()[i++];
    progress.numbers["seconds"] = seconds();
    checkpoints_->save(session_, step_.loss.graph(), progress, where_);
  }

  /// The best weights of all are kept there, too: a training that is resumed has them no more.
  void open_checkpoints() {
    CheckpointOptions options = *options_.checkpoints;
    const EarlyStopping& stopping = options_.early_stopping;
    if (stopping.patience > 0 && stopping.restores_best) {
      const std::string metric = "validation " + stopping.metric;
      require(options.best.empty() || options.best == metric,
              fmt::format("early stopping needs the checkpoint that is best by '{}', not by '{}'",
                          metric, options.best),
              where_);
      options.best = metric;
      options.higher_is_better = stopping.higher_is_better;
    }
    require_known(options.best);
    checkpoints_.emplace(std::move(options), where_);
  }

  /// A metric by which a checkpoint can be the best: "loss", "validation loss".
  void require_known(const std::string& best) const {
    constexpr std::string_view kValidation = "validation ";
    const bool of_validation = best.starts_with(kValidation) && has_validation() &&
                               has_metric(step_, best.substr(kValidation.size()));
    require(best.empty() || has_metric(step_, best) || of_validation,
            fmt::format("a checkpoint cannot be the best by '{}', which is none of the metrics: "
                        "'loss', 'validation loss', ...",
                        best),
            where_);
  }

  /// The weights alone, as where they are at hand: step and optimiser stay at the end.
  void restore_best() {
    if (best_.restore()) return;
    load_weights(session_, step_.loss.graph(), checkpoints_->best() / "variables.safetensors",
                 {.strict = false}, where_);
  }

  void resume() {
    const auto saved = checkpoints_->restore(session_, step_.loss.graph(), where_);
    if (!saved) return;
    const auto require_same = [&](const char* name, int64_t now) {
      const auto known = saved->counts.find(name);
      require(known != saved->counts.end(),
              fmt::format("the checkpoint is not fit's: it has no '{}'", name), where_);
      require(
          known->second == now,
          fmt::format("the checkpoint was made with {} {}, not {}: the order of samples would "
                      "be another",
                      known->second, name, now),
          where_);
    };
    require_same("samples a batch", options_.batch_size);
    require_same("samples", dataset_.size());
    if (saved->counts.contains("samples an epoch"))  // older ones had all
      require_same("samples an epoch", samples_each_epoch());
    require(
        saved->data_seed == options_.seed,
        fmt::format("the checkpoint is of the seed {}, not {}", saved->data_seed, options_.seed),
        where_);
    epoch_ = saved->epoch;
    done_ = saved->position;
    std::vector<double> sums;
    const bool has_names = saved->numbers.contains("sum of loss");  // older ones had numbers
    const bool has_sums = saved->counts.at("samples seen") > 0;
    for (const std::string& name : means_.names_of_sums()) {
      if (!has_sums) {  // between two epochs metrics may change
        sums.push_back(0);
        continue;
      }
      const auto sum = saved->numbers.find(has_names ? name : fmt::format("sum {}", sums.size()));
      require(sum != saved->numbers.end(),
              fmt::format("the checkpoint has other metrics: it lacks the {}", name), where_);
      sums.push_back(sum->second);
    }
    means_.restore(std::move(sums), saved->counts.at("samples seen"));
    best_.resume(saved->counts.at("best epoch"), saved->numbers.at("best value"));
    if (const auto known = saved->numbers.find("seconds"); known != saved->numbers.end())
      seconds_before_ = known->second;
  }

  Session& session_;
  const TrainingStep& step_;
  const data::Dataset& dataset_;
  const FitOptions& options_;
  SourceLocation where_;
  StepRunner train_;
  std::optional<StepRunner> accumulate_;            ///< in its place, before it
  std::optional<StepRunner> train_with_gradients_;  ///< in its place, for an epoch's last batch
  std::optional<StepRunner> evaluate_;
  Means means_;
  BestWeights best_;
  bool has_warned_ = false;
  std::optional<Checkpoints> checkpoints_;
  std::optional<data::Batches> batches_, validation_batches_;  ///< where they are fed
  std::optional<MetricsFile> metrics_file_;
  std::optional<EventWriter> events_;
  Progress progress_;
  Interrupt interrupt_;
  FitResult result_;
  int64_t epoch_ = 1;  ///< the running one
  int64_t done_ = 0;   ///< batches of it
  double seconds_before_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Keeps the run that `error` stopped, and throws an error that also says where.
[[noreturn]] void keep(Session& session, Graph& graph, const NumericsError& error,
                       const std::filesystem::path& directory, SourceLocation where) {
  std::string place;
  try {
    place = fmt::format("gg::replay runs it again from '{}'",
                        save_bundle(session, graph, error, directory, where).string());
  } catch (const Error& fault) {
    place = fmt::format("the run could not be kept: {}", fault.what());
  }
  NumericsError told(fmt::format("{}; {}", without_line(error), place), error.where());
  told.run = error.run;
  throw told;
}

}  // namespace
}  // namespace training

FitResult fit(Session& session, const TrainingStep& step, const data::Dataset& dataset,
              const FitOptions& options, SourceLocation where) {
  training::require_options(step, dataset, options, where);
  try {
    return training::Training(session, step, dataset, options, where).run();
  } catch (const NumericsError& error) {
    if (options.numerics_directory.empty()) throw;
    training::keep(session, step.loss.graph(), error, options.numerics_directory, where);
  }
}

std::vector<MetricMeans> evaluate(Session& session, const TrainingStep& step,
                                  const data::Dataset& dataset, const EvaluateOptions& options,
                                  SourceLocation where) {
  training::require(dataset.size() > 0, "the data set is empty", where);
  training::require_arrays(step, dataset, where);
  training::StepRunner runner(session, step, training::Mode::evaluate, false, where);
  data::Batches batches(
      dataset, options.batch_size,
      {.shuffle = false, .threads = options.threads, .transforms = options.transforms}, where);
  training::Means means(step);
  training::measure_aside(session, runner, dataset, &batches, 0, options.batch_size,
                          training::Interrupt(false), means);
  std::vector<MetricMeans> result;
  for (std::size_t i = 0; i < means.num_metrics(); ++i)
    result.push_back({.name = means.name(i), .validation = means.value(i)});
  return result;
}

}  // namespace gradgraph
