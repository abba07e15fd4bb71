#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "gradgraph/optimizers.h"
#include "gradgraph/precision.h"

/// What all example programs share: flags, the epoch loop and its log.
namespace examples {

/// The flags, with their defaults. `--help` explains them.
struct Flags {
  int epochs = 1;
  std::int64_t batch_size = 128;
  double learning_rate = 0;  ///< 0 until parsed: the optimiser's own default
  std::string optimizer = "adam";
  std::uint64_t seed = 1;
  std::filesystem::path data;
  std::string device = "auto";
  gradgraph::Precision precision = gradgraph::Precision::fp32;
  std::int64_t steps_per_launch = 0;  ///< 0: a few dozen
  int threads = 0;
  std::int64_t log_every = 0;
  std::filesystem::path metrics;
  std::filesystem::path events;
  std::filesystem::path checkpoints;
  std::int64_t checkpoint_every = 0;
  bool resume = false;
  std::filesystem::path dot;
  int dot_depth = -1;
  std::int64_t limit = 0;
  bool quiet = false;
  bool explain_placement = false;
  std::filesystem::path trace;
  bool profile = false;
  /// Whether nodes are to be timed.
  bool times_nodes() const { return profile || !trace.empty(); }
  bool explain_memory = false;
  bool explain_passes = false;
  bool exact_rewrites = false;
  std::size_t memory_limit = 0;
};

struct ProgramInfo {
  std::string name;
  std::string description;
  int epochs = 1;  ///< default of --epochs
};

/// Parses the flags and calls `body` with them. Whatever goes wrong becomes one line
/// "error: ..." on stderr. Returns the program's exit status: 0, 1 after an error, 2 for wrong
/// flags, or what `body` returns.
int start(int argc, char** argv, const ProgramInfo& info,
          const std::function<int(const Flags&)>& body);

/// The optimiser that the flags ask for. Its learning rate decays along half a cosine to zero
/// over all steps that `samples` give in the epochs asked for.
gradgraph::Optimizer make_optimizer(const Flags& flags, std::int64_t samples);

}  // namespace examples
