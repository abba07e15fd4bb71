#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gradgraph/checkpoint.h"
#include "gradgraph/data.h"
#include "gradgraph/graph.h"
#include "gradgraph/optimizers.h"
#include "gradgraph/profile.h"
#include "gradgraph/session.h"

/// The training loop: epochs over batches, validation, log, early stopping, checkpoints.
namespace gradgraph GRADGRAPH_API {

/// A scalar of the graph, under its name in logs, and what becomes of its values in all batches.
struct Metric {
  std::string name;
  Output value;  ///< the mean over a batch's samples, floating; with `per`, their sum
  /// How much there is of what the value is the sum of: in logs stands the sum of all values
  /// divided by that of these, so that what a batch has little of counts little. Each floating or
  /// of integers: `{"accuracy of words", right, words}`, or an F1 score, or an intersection
  /// over union. Empty: the value is a mean.
  Output per = {};
  /// What is shown instead of the mean: `[](double loss) { return std::exp(loss); }` for a
  /// perplexity. Empty: the mean.
  std::function<double(double)> shown = {};
};

/// What is trained: parts of a graph.
struct TrainingStep {
  /// What stands for a batch: graph_batch's, or placeholders under the names that the arrays of
  /// the data set have, `{.arrays = {{"x", x}, {"y", y}}}`.
  data::GraphBatch batch;
  /// A boolean scalar that is true in training, if the model acts differently then.
  Output training = {};
  Output loss = {};  ///< a floating scalar: the mean over a batch's samples
  std::vector<Metric> metrics = {};
  Output train = {};  ///< an optimiser's train op
  /// What is run in its place for all but one of FitOptions::batches_per_update; of
  /// `accumulate_gradients`, as `train` then is.
  Output accumulate = {};
  /// Whose distributions event files have, each of an epoch's last batch: what
  /// `compute_gradients` gave. Empty: none.
  std::vector<GradientPair> gradients = {};
};

/// A metric over the training samples that the running epoch has seen, while the variables moved,
/// and over all validation samples.
struct MetricMeans {
  std::string name;
  double training = std::numeric_limits<double>::quiet_NaN();
  double validation = std::numeric_limits<double>::quiet_NaN();
};

/// What is known after an epoch, or each `log_every` batches of it.
struct TrainingLog {
  std::int64_t epoch = 0;    ///< from 1
  std::int64_t batches = 0;  ///< of it that are done
  bool epoch_is_done = false;
  double seconds = 0;                ///< since training began
  std::vector<MetricMeans> metrics;  ///< the first is "loss"
  bool has_validation = false;

  const MetricMeans& operator[](std::string_view name) const;
  /// loss: 0.2268 / 0.1038<TAB>accuracy: 0.9307 / 0.9680<TAB>step 1  1.51 sec
  std::string line() const;
};

/// Ends training when a metric of the validation data has stopped getting better.
struct EarlyStopping {
  std::int64_t patience = 0;  ///< epochs without a better value; 0: never
  std::string metric = "loss";
  bool higher_is_better = false;
  double least_change = 0;    ///< what counts as better
  bool restores_best = true;  ///< weights at the end are those of the best epoch
};

struct FitOptions {
  std::int64_t epochs = 1;
  std::int64_t batch_size = 128;
  /// Batches whose gradients make one update, together; the last update of an epoch is of those
  /// that are left. More than 1 takes TrainingStep::accumulate.
  std::int64_t batches_per_update = 1;
  bool shuffle = true;
  /// Leaves out an epoch's last samples where they are fewer than a batch.
  bool drop_last = false;
  std::uint64_t seed = 0;  ///< of the order of samples
  data::Dataset validation = {};
  std::int64_t validation_batch_size = 500;
  /// Threads that fill batches, as data::BatchOptions has them.
  int threads = 0;
  /// Done to every batch, as data::BatchOptions has them: these of the training data alone, those
  /// of the validation data, which what normalises belongs into as well. Not where data is in the
  /// graph.
  std::vector<data::Transform> transforms = {};
  std::vector<data::Transform> validation_transforms = {};
  /// Runs are fed numbers of samples (`batch.samples`) of the data sets that `graph_batch` was
  /// given, {training, validation}, which lie where the graph runs; many steps are one call.
  bool data_in_graph = false;
  std::int64_t steps_per_call = 0;  ///< where data is in the graph; 0: a few dozen
  /// Batches; 0: at the end of each epoch only. Measuring the validation data counts runs, so
  /// dropout draws other numbers for another `log_every`.
  std::int64_t log_every = 0;
  /// Gets each log; when empty, stdout gets its line.
  std::function<void(const TrainingLog&)> log = {};
  bool progress_bar = true;  ///< on stderr, where that is a terminal
  /// A JSON object a log, a line each; empty: none.
  std::filesystem::path metrics_file = {};
  /// Where TensorBoard finds curves, the graph, and distributions of weights and
  /// TrainingStep::gradients; empty: none.
  std::filesystem::path event_directory = {};
  /// Where a run that SessionOptions::check_numerics stops is kept, in a folder of its own, for
  /// gg::replay; its NumericsError then names that folder. Empty: nowhere.
  std::filesystem::path numerics_directory = {};
  EarlyStopping early_stopping = {};
  std::optional<CheckpointOptions> checkpoints = {};
  std::int64_t checkpoint_every = 0;  ///< steps; 0: at the end of each epoch only
  /// Goes on from the folder's newest checkpoint, if there is one, to the same bits as if nothing
  /// had stopped it.
  bool resume = false;
  /// Ctrl-C (SIGINT) and SIGTERM end training after the running step, with a checkpoint if there
  /// are any; a second one ends the program at once. Not where the program has handlers itself.
  bool catch_interrupts = true;
  /// Is told of each step, of a session with SessionOptions::node_times.
  Profile* profile = nullptr;
};

struct FitResult {
  std::vector<TrainingLog> epochs;  ///< one each that this call ended
  bool was_interrupted = false;
  bool stopped_early = false;
  std::int64_t best_epoch = 0;  ///< as EarlyStopping has it; 0 without validation data
};

/// Trains on `dataset`, epoch by epoch, in batches shuffled by seed and epoch. Validation leaves
/// Session::step as it is: how often it is done changes nothing in training. Throws BuildError
/// for a step or options that do not fit each other or the data, DataError where a file cannot be
/// written, and whatever a run throws; variables then are as the last whole step left them.
/// Source: keras.Model.fit.
FitResult fit(Session& session, const TrainingStep& step, const data::Dataset& dataset,
              const FitOptions& options = {}, SourceLocation where = SourceLocation::current());

struct EvaluateOptions {
  std::int64_t batch_size = 500;
  int threads = 0;  ///< that fill batches
  /// Done to every batch: what FitOptions::validation_transforms are in training.
  std::vector<data::Transform> transforms = {};
};

/// Loss and metrics over a data set, in `validation`, without training;
/// Session::step stays as it is. Throws as `fit`.
std::vector<MetricMeans> evaluate(Session& session, const TrainingStep& step,
                                  const data::Dataset& dataset,
                                  const EvaluateOptions& options = {},
                                  SourceLocation where = SourceLocation::current());

}  // namespace gradgraph
