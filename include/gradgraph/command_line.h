#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "gradgraph/data.h"
#include "gradgraph/optimizers.h"
#include "gradgraph/precision.h"
#include "gradgraph/session.h"
#include "gradgraph/training.h"

/// A training program as a whole: flags for what training can be told, and a loop that does it.
///
///     int run(const gg::TrainingFlags& flags) {
///       ...  // data, a graph, and flags' own optimiser: gg::make_optimizer(flags, train.size())
///       gg::Session session(graph, gg::session_options(flags));
///       return gg::train(flags, session, step, {.training = train, .source = "people.csv"});
///     }
///     int main(int argc, char** argv) {
///       return gg::run_program(argc, argv, {.name = "people", .description = "..."}, run);
///     }
namespace gradgraph GRADGRAPH_API {

/// What the flags say; `--help` explains each. A program has its own defaults in
/// ProgramDescription.
struct TrainingFlags {
  int epochs = 1;
  std::int64_t batch_size = 128;
  std::string optimizer = "adam";
  double learning_rate = 0;  ///< 0 until flags are read: the optimiser's own
  std::uint64_t seed = 1;

  std::filesystem::path checkpoints;
  std::int64_t checkpoint_every = 0;
  bool resume = false;

  std::filesystem::path data;
  std::int64_t limit = 0;  ///< for Dataset::first, which takes 0 for all
  std::string device = "auto";
  Precision precision = Precision::fp32;
  std::int64_t steps_per_launch = 0;  ///< 0: a few dozen
  std::size_t memory_limit = 0;
  int threads = 0;

  std::int64_t log_every = 0;
  std::filesystem::path metrics;
  std::filesystem::path events;
  std::filesystem::path dot;
  int dot_depth = -1;
  std::filesystem::path trace;
  bool profile = false;
  bool explain_placement = false;
  bool explain_memory = false;
  bool explain_passes = false;
  bool exact_rewrites = false;
  /// Looks at all numbers (SessionOptions::check_numerics), and keeps a step that goes wrong in
  /// this folder; empty: does neither.
  std::filesystem::path check_numerics;
  std::filesystem::path replay;  ///< a bundle, whose step is run instead of training
  bool quiet = false;

  /// Whether nodes are to be timed.
  bool times_nodes() const { return profile || !trace.empty(); }
};

/// A flag of the program's own. What `value` points to is the default, and gets what is given:
/// whole numbers from 1 on, other numbers above 0.
struct ProgramFlag {
  using Value = std::variant<bool*, std::int64_t*, double*, std::string*, std::filesystem::path*,
                             std::vector<std::filesystem::path>*>;
  std::string name;         ///< "--length"
  Value value;              ///< of a bool: whether the flag is there
  std::string type;         ///< in --help: "N", "FILE"
  std::string description;  ///< in --help
  /// Of a path: a file that can be written, which is found out before anything is done.
  bool is_written = false;
};

struct ProgramDescription {
  std::string name;
  std::string description;
  TrainingFlags defaults;
  /// What --data names, in --help; where it is empty there is no such flag.
  std::string data;
  std::string about_data;           ///< a paragraph for --help
  std::string metric = "accuracy";  ///< that the log lines have, or none
  std::vector<ProgramFlag> flags;
};

/// Reads the flags and calls `body` with them. Whatever goes wrong becomes one line "error: ..."
/// on stderr. Returns the program's exit status: 0, 1 after an error, 2 for wrong flags, or what
/// `body` returns.
int run_program(int argc, char** argv, const ProgramDescription& description,
                const std::function<int(const TrainingFlags&)>& body);

/// Device, seed, threads, precision and limits, as the flags have them.
SessionOptions session_options(const TrainingFlags& flags);

/// The optimiser that the flags ask for. Its learning rate decays along half a cosine to zero
/// over all steps that `samples` give in the epochs asked for. Throws BuildError for an optimiser
/// that there is not, and for numbers of epochs, samples or a rate that give no schedule.
Optimizer make_optimizer(const TrainingFlags& flags, std::int64_t samples,
                         SourceLocation where = SourceLocation::current());

struct TrainingData {
  data::Dataset training, validation;
  std::string source;  ///< in words: "MNIST in data/mnist"
};

/// Prints the table of layers and a line on data and device, draws and explains what the flags
/// ask for, then trains as they say (`fit`), and prints the profile. Of `options` counts what has
/// no flag: transforms, log, early stopping, which checkpoints are kept. Data whose samples stand
/// in the graph (`step.batch.samples`) is there as data::graph_batch takes {training,
/// validation}. Returns the exit status: 0, or 130 after Ctrl-C. Throws as `fit`.
int train(const TrainingFlags& flags, Session& session, const TrainingStep& step,
          const TrainingData& data, const FitOptions& options = {},
          SourceLocation where = SourceLocation::current());

}  // namespace gradgraph
