#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "gradgraph/graph.h"
#include "gradgraph/inside.h"
#include "gradgraph/session.h"

/// Training that goes on where it stopped, to the last bit, whatever stopped it.
namespace gradgraph GRADGRAPH_API {

/// Where a training loop is, beside what its session knows. What it means is the loop's own.
struct TrainingProgress {
  std::int64_t epoch = 0;
  std::int64_t position = 0;  ///< in the epoch's order, in batches or samples
  std::uint64_t data_seed = 0;
  /// By name, as they are for the weights of now. A checkpoint may be kept for one of them.
  std::map<std::string, double> metrics;
  std::map<std::string, std::int64_t> counts;  ///< whatever else the loop needs, all digits kept
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;  ///< UTF-8
};

struct CheckpointOptions {
  /// A folder of this training's own; it is made where there is none.
  std::filesystem::path directory;
  /// The newest ones that are kept: 1 or more.
  int keep = 3;
  /// A metric by whose best finite value one more is kept, or none.
  std::string best = {};
  bool higher_is_better = false;
  /// Told in the checkpoints' manifests; when empty, the name of the running program.
  std::string program = {};
  /// Gets what went wrong without stopping anything, a sentence each: a checkpoint that could not
  /// be written, or that is damaged. Called on the thread that calls a function of Checkpoints.
  /// When empty, they go to stderr.
  std::function<void(const std::string&)> warn = {};
};

/// A training's checkpoints: folders "step-00000120", each with the values of all variables
/// ("variables.safetensors": weights, optimisers' state, step counters) and a manifest
/// ("manifest.json") with the session's step and seed, the loop's progress, program, graph, and a
/// checksum of everything.
///
///     gg::Checkpoints checkpoints({.directory = "run1", .best = "validation loss"});
///     gg::TrainingProgress progress;
///     if (auto saved = checkpoints.restore(session, graph)) progress = *saved;
///     for (...) {  // from where `progress` says
///       step(...);
///       if (session.step() % 100 == 0) checkpoints.save(session, graph, progress);
///     }
///
/// A checkpoint appears when all of it is on the disk. Until then, and whatever goes wrong, the
/// older ones are what they were. One process at a time may have a folder's Checkpoints.
class Checkpoints {
 public:
  /// Takes the folder. Throws DataError where it cannot be made or written to, or another
  /// process has it; BuildError for a `keep` below 1.
  explicit Checkpoints(CheckpointOptions options,
                       SourceLocation where = SourceLocation::current());
  /// Waits for what is being written.
  ~Checkpoints();
  Checkpoints(Checkpoints&&) noexcept;
  Checkpoints& operator=(Checkpoints&&) noexcept;

  /// Copies the session's variables and writes the copy while training goes on, on a thread of
  /// its own that leaves the cores to others. The copy's memory is used again. Where the one
  /// before is not yet written, waits for it first. What cannot be written is a warning of
  /// the next call. Throws DataError in a folder that has checkpoints which this training was not
  /// restored from, BuildError for texts that are no UTF-8, and as Session::value.
  void save(Session& session, Graph& graph, const TrainingProgress& progress = {},
            SourceLocation where = SourceLocation::current());
  /// Waits until the last checkpoint is written. Throws DataError when it could not be.
  void wait(SourceLocation where = SourceLocation::current());

  /// Gives the session the variables and the step of the newest checkpoint; nothing where there
  /// is none. Damaged ones are warned of, by name and fault, and the one before is taken. Throws
  /// DataError when none is whole, when the newest that is whole is of another graph, saying all
  /// that differs, and for one of a later version; the session is then as it was. A session with
  /// another seed is warned of.
  std::optional<TrainingProgress> restore(Session& session, Graph& graph,
                                          SourceLocation where = SourceLocation::current());
  /// The same from the best checkpoint by CheckpointOptions::best; `save` goes on from there.
  std::optional<TrainingProgress> restore_best(Session& session, Graph& graph,
                                               SourceLocation where = SourceLocation::current());

  /// The folders of the newest and of the best one, of those that are written; empty where there
  /// is none.
  std::filesystem::path latest() const;
  std::filesystem::path best() const;

 private:
  struct State;
  Inside<State> state_;
};

/// Gives the session what one checkpoint's folder holds, which may be read-only. Throws as
/// Checkpoints::restore, and for a damaged one.
TrainingProgress restore_checkpoint(Session& session, Graph& graph,
                                    const std::filesystem::path& folder,
                                    SourceLocation where = SourceLocation::current());

}  // namespace gradgraph
