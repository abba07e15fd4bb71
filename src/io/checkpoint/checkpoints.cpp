#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/text.h"
#include "gradgraph/checkpoint.h"
#include "gradgraph/ops.h"
#include "io/checkpoint/checkpoint_folder.h"
#include "io/files/at_line.h"
#include "io/files/output_file.h"

namespace gradgraph {
namespace {

namespace fs = std::filesystem;

CheckpointOptions with_defaults(CheckpointOptions options, SourceLocation where) {
  if (options.keep < 1)
    throw BuildError(fmt::format("{} checkpoints to keep; 1 is the least", options.keep), where);
  if (options.directory.empty()) throw BuildError("checkpoints need a directory", where);
  std::error_code error;
  const fs::path absolute = fs::absolute(options.directory, error);
  if (error) fail_system(options.directory, "cannot be found", error.value());
  options.directory = absolute;
  if (options.program.empty()) options.program = program_invocation_short_name;
  if (!options.warn)
    options.warn = [](const std::string& text) { fmt::print(stderr, "gradgraph: {}\n", text); };
  return options;
}

std::string seed_warning(const fs::path& folder, const Manifest& manifest,
                         const Session& session) {
  return fmt::format("{}: the session's seed was {} and is {}: random numbers go on otherwise",
                     folder.string(), manifest.seed, session.seed());
}

}  // namespace

/// What is written, and the thread that writes it. The folder is the thread's while it is busy.
struct Checkpoints::State {
  State(CheckpointOptions options_, SourceLocation where)
      : options(with_defaults(std::move(options_), where)), folder(options) {}
  ~State() {
    try {
      warn_of_last();
    } catch (...) {
      // There is nobody left to hear of it.
    }
    {
      const std::lock_guard guard(mutex);
      ends = true;
    }
    changed.notify_all();
    if (thread.joinable()) thread.join();
  }

  /// Waits for the thread. What went wrong there.
  std::string finish() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !is_busy; });
    return std::exchange(error, {});
  }
  void warn_of_last() {
    if (const std::string fault = finish(); !fault.empty()) options.warn(fault);
  }

  void take(Session& session, Graph& graph, const TrainingProgress& progress,
            SourceLocation where) {
    const std::vector<Output> all = variables(graph);
    Manifest& manifest = snapshot.manifest;
    manifest.program = options.program;
    manifest.written = now_in_words();
    manifest.step = session.step();
    manifest.seed = session.seed();
    manifest.variables = describe_variables(all);
    manifest.progress = progress;
    // What may be wrong with these is the caller's to hear.
    to_text({.program = options.program, .progress = progress}, where);
    std::size_t used = 0;
    for (const Output& variable : all) {
      // A variable that nothing ever set.
      if (!session.is_initialized(variable, where) && !graph.initial_value(variable.node()))
        continue;
      if (used == snapshot.values.size()) snapshot.values.emplace_back();
      NamedTensor& value = snapshot.values[used++];
      value.name = variable.name();
      session.value(variable, value.value, where);
    }
    snapshot.values.resize(used);
  }

  void start(SourceLocation where) {
    if (!thread.joinable()) start_thread(where);
    {
      const std::lock_guard guard(mutex);
      is_busy = true;
    }
    changed.notify_all();
  }

  void start_thread(SourceLocation where) {
    // Signals are for the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::string fault;
    try {
      thread = std::thread([this] { work(); });
    } catch (const std::system_error& caught) {
      fault = caught.what();
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!fault.empty()) throw RunError("there is no thread for checkpoints: " + fault, where);
  }

  void work() {
    // Of this thread alone: the cores are for the training as long as that runs.
    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 19);
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return is_busy || ends; });
      if (!is_busy) return;
      lock.unlock();
      std::string fault;
      try {
        folder.add(snapshot);
      } catch (const std::exception& caught) {
        fault = fmt::format("the checkpoint of step {} could not be written: {}",
                            snapshot.manifest.step, caught.what());
      }
      lock.lock();
      error = std::move(fault);
      is_busy = false;
      changed.notify_all();
    }
  }

  std::optional<TrainingProgress> restore_from(const FolderEntry& entry, Session& session,
                                               Graph& graph, SourceLocation where) {
    const fs::path place = entry.folder;
    Manifest manifest;
    try {
      manifest = read_manifest(place);
      verify_files(place, manifest);
    } catch (const LaterFormat&) {
      throw;
    } catch (const DataError& damage) {
      folder.mark_damaged(place, damage.what());
      return std::nullopt;
    }
    load_files(place, manifest, session, graph, where);
    is_ours = true;
    if (manifest.seed != session.seed()) options.warn(seed_warning(place, manifest, session));
    return manifest.progress;
  }

  /// By `choose`, until one is whole.
  template <class Choose>
  std::optional<TrainingProgress> restore(Session& session, Graph& graph, SourceLocation where,
                                          const Choose& choose) {
    warn_of_last();
    for (const FolderEntry& entry : folder.entries())
      if (entry.is_later) throw DataError(entry.fault, where);
    std::optional<TrainingProgress> progress;
    while (const FolderEntry* entry = choose()) {
      progress = restore_from(*entry, session, graph, where);
      if (progress) break;
    }
    std::vector<std::string> faults;
    for (const FolderEntry& entry : folder.entries())
      if (!entry.fault.empty()) faults.push_back(entry.fault);
    if (!progress && !faults.empty())
      throw DataError(fmt::format("{}: no checkpoint is whole:\n  {}\n ",
                                  options.directory.string(), fmt::join(faults, "\n  ")),
                      where);
    for (const std::string& fault : faults)
      options.warn(fmt::format("a damaged checkpoint was left out: {}", fault));
    if (!progress) is_ours = true;
    return progress;
  }

  const CheckpointOptions options;
  CheckpointFolder folder;
  Snapshot snapshot;
  bool is_ours = false;  ///< what is in the folder is this training's

  std::mutex mutex;
  std::condition_variable changed;
  bool is_busy = false, ends = false;
  std::string error;
  std::thread thread;
};

Checkpoints::Checkpoints(CheckpointOptions options, SourceLocation where)
    : state_(at_line(where, [&] { return std::make_unique<State>(std::move(options), where); })) {
}
Checkpoints::~Checkpoints() = default;
Checkpoints::Checkpoints(Checkpoints&&) noexcept = default;
Checkpoints& Checkpoints::operator=(Checkpoints&&) noexcept = default;

void Checkpoints::save(Session& session, Graph& graph, const TrainingProgress& progress,
                       SourceLocation where) {
  state_->warn_of_last();
  if (!state_->is_ours && !state_->folder.entries().empty())
    throw DataError(
        fmt::format("{}: there are checkpoints of another training, up to '{}': restore them, or "
                    "take another folder",
                    state_->options.directory.string(),
                    state_->folder.entries().front().folder.filename().string()),
        where);
  state_->is_ours = true;
  state_->take(session, graph, progress, where);
  state_->start(where);
}

void Checkpoints::wait(SourceLocation where) {
  if (const std::string fault = state_->finish(); !fault.empty()) throw DataError(fault, where);
}

std::optional<TrainingProgress> Checkpoints::restore(Session& session, Graph& graph,
                                                     SourceLocation where) {
  const auto latest = [&] { return state_->folder.latest(); };
  return at_line(where, [&] { return state_->restore(session, graph, where, latest); });
}

std::optional<TrainingProgress> Checkpoints::restore_best(Session& session, Graph& graph,
                                                          SourceLocation where) {
  const auto best = [&] { return state_->folder.best(); };
  return at_line(where, [&] { return state_->restore(session, graph, where, best); });
}

fs::path Checkpoints::latest() const {
  state_->warn_of_last();
  const FolderEntry* entry = state_->folder.latest();
  return entry ? entry->folder : fs::path();
}

fs::path Checkpoints::best() const {
  state_->warn_of_last();
  const FolderEntry* entry = state_->folder.best();
  return entry ? entry->folder : fs::path();
}

namespace {

/// Most often it is the folder above: that of a training's checkpoints.
void require_checkpoint(const fs::path& folder, SourceLocation where) {
  std::error_code error;
  if (!fs::is_directory(folder, error) || is_checkpoint(folder)) return;
  std::string inside;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error))
    if (is_checkpoint(entry.path())) inside = std::max(inside, entry.path().filename().string());
  throw DataError(
      fmt::format("'{}' is no checkpoint{}", folder.string(),
                  inside.empty() ? std::string(": it has no manifest")
                                 : fmt::format(", but has some: name one, such as '{}', or let "
                                               "gg::Checkpoints restore the newest",
                                               (folder / inside).string())),
      where);
}

}  // namespace

TrainingProgress restore_checkpoint(Session& session, Graph& graph, const fs::path& folder,
                                    SourceLocation where) {
  require_checkpoint(folder, where);
  const Manifest manifest = at_line(where, [&] {
    Manifest read = read_manifest(folder);
    verify_files(folder, read);
    load_files(folder, read, session, graph, where);
    return read;
  });
  if (manifest.seed != session.seed())
    fmt::print(stderr, "gradgraph: {}\n", seed_warning(folder, manifest, session));
  return manifest.progress;
}

}  // namespace gradgraph
