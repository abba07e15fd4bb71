#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gradgraph/graph.h"
#include "gradgraph/inside.h"
#include "gradgraph/precision.h"

namespace gradgraph GRADGRAPH_API {

/// How many bytes a session may hold for a run: in all, on single devices, or both; 0 means no
/// limit.
///
///     .memory_limit = 200'000'000
///     .memory_limit = {{"cuda:0", 8'000'000'000}, {"cpu", 2'000'000'000}}
class MemoryLimit {
 public:
  struct OnDevice {
    std::string device;  ///< as SessionOptions::device
    std::size_t bytes = 0;
  };

  MemoryLimit(std::size_t total = 0, std::vector<OnDevice> devices = {})  // NOLINT: implicit
      : total_(total), devices_(std::move(devices)) {}
  MemoryLimit(std::initializer_list<OnDevice> devices) : devices_(devices) {}

  std::size_t total() const { return total_; }
  const std::vector<OnDevice>& devices() const { return devices_; }

 private:
  std::size_t total_ = 0;
  std::vector<OnDevice> devices_;
};

struct SessionOptions {
  /// Where nodes go that do not ask for a device: "cpu", "cuda:0"; or "auto", where a step is
  /// estimated to take the least time, from what each kind of device costs (measure_devices). A
  /// variable stays where the first run that has it puts it.
  std::string device = "auto";
  std::uint64_t seed = 0;
  /// Threads that CPU kernels use: 1 to 4096, 0 means all cores. One pool for the whole process.
  /// Results do not depend on it, to the last bit.
  int threads = 0;
  /// A request that cannot be met falls back to another device; false makes it a PlacementError.
  bool soft_placement = true;
  /// A run that needs more is refused before it allocates anything, with a RunError that names
  /// the device, if the limit is one's, and lists the largest tensors. A limit for a device that
  /// is not there is a PlacementError.
  MemoryLimit memory_limit = {};
  /// Plans kept; the one that was not used for longest goes first.
  int plan_cache_size = 32;
  /// Names of graph rewrites that are left out, such as "fuse_elementwise".
  std::vector<std::string> disabled_passes = {};
  /// Leaves out the few rewrites that change more than rounding, for better numbers or less work:
  /// docs/architecture.md lists them. What is left gives the same infinities, NaN and signs of
  /// zero as the graph does as it is written.
  bool exact_rewrites = false;
  /// How products of matrices and convolutions are calculated. See Precision.
  Precision precision = Precision::fp32;
  /// Runs each new plan with the graph rewrites and without, from the same variables, before its
  /// first run, in fp32. A difference beyond rounding is a RunError that names the rewrite to
  /// blame. Slow. Where only a rewrite that `exact_rewrites` leaves out makes the difference, an
  /// element may be anything in place of an infinity or NaN.
  bool check_passes = false;
  /// Looks at all values as they are made, and stops at the first node that made NaN of inputs
  /// without any, or an infinity of finite ones, by a NumericsError. Fed values must be finite;
  /// constants may hold anything, variables infinities. Leaves out graph rewrites, so that each
  /// value is one of the graph as it is written, but for those in 16 bits that `precision` asks
  /// for. Slow; docs/training.md says more. Not together with node_times or check_passes.
  bool check_numerics = false;
  /// Computes every node by its plain kernel, where the device also has a faster one.
  bool reference_kernels = false;
  /// In runs that update variables, CPU kernels take denormal numbers for zero: those below
  /// 1.2e-38 in float32, 2.2e-308 in float64. Training makes many, where a gradient ends and its
  /// mean decays, and processors take 100 times as long for each.
  bool flush_denormals = true;
  /// From the second run of a plan on, issues a GPU's step as a whole, as it was recorded once,
  /// instead of kernel by kernel. The results are the same, to the last bit.
  bool record_steps = true;
  /// Records the time of every node of the runs that follow, which are issued kernel by kernel.
  bool node_times = false;
};

/// A placeholder (any Output, in fact) and the value that a run gives it.
using Feeds = std::vector<std::pair<Output, Tensor>>;

struct NodeTime {
  const Node* node = nullptr;  ///< the user's node
  std::string kernel;          ///< its name in the session's own copy
  /// That node itself, with the shapes of this run; lives as long as the run's plan is kept.
  const Node* planned = nullptr;
  std::string device;  ///< "cuda:0"
  /// What it ran beside: of a device beside the host "computing", or "copying to it", "copying to
  /// the host"; empty on the host.
  std::string stream;
  double start = 0;  ///< seconds after the start of the run
  double seconds = 0;
};

/// Bytes that a session whose variables have their values holds for a run, known before anything
/// of it is allocated. Feeds are the caller's, and not in it.
struct MemoryUse {
  std::size_t arena = 0;      ///< intermediate values and kernels' work memory, packed
  std::size_t variables = 0;  ///< of the session, and copies of them in case a run fails
  std::size_t constants = 0;
  std::size_t results = 0;  ///< the tensors that the run returns
  std::size_t staging = 0;  ///< of the host, for what other devices copy: feeds and results
  std::size_t total() const { return arena + variables + constants + results + staging; }
};

/// What the last run did. Times are wall-clock seconds.
struct RunStats {
  std::chrono::steady_clock::time_point start;
  double total_seconds = 0;
  /// Of these, the time before the first node: feeds are checked, results allocated.
  double feed_seconds = 0;
  std::int64_t step = 0;
  MemoryUse memory;
  std::size_t nodes_run = 0;
  bool plan_was_cached = false;
  std::vector<NodeTime> nodes;  ///< in order; empty unless SessionOptions::node_times
};

/// What stops a run of a session with SessionOptions::check_numerics. Names op, node, line and
/// step, what was made, and what it was made of. Variables are as they were before the run.
struct NumericsError : RunError {
  using RunError::RunError;

  /// All that is needed, beside variables and seed, to run it again: gg::save_bundle keeps it.
  struct StoppedRun {
    std::int64_t step = 0;                              ///< Session::step
    std::vector<std::pair<std::string, Tensor>> feeds;  ///< copies, by name
    std::vector<std::string> fetches;
  };
  /// Null where variables got their initial values outside of a run.
  std::shared_ptr<const StoppedRun> run;
};

class SessionState;
struct PreparedRun;

/// The first value of a Callable's call, which knows the line of the call.
struct FirstFeed {
  FirstFeed(const Tensor& tensor,  // NOLINT: implicit
            SourceLocation line = SourceLocation::current())
      : value(tensor), where(line) {}
  const Tensor& value;
  SourceLocation where;
};

/// A prepared (feeds, fetches) pair for the steady state: after the first call with some shapes,
/// calls with these shapes allocate nothing. Must not outlive its Session. A default one, and one
/// that was moved from, is empty: a call to it throws RunError.
class Callable {
 public:
  Callable();
  /// The feeds' values in the order of `prepare`. The result holds one Tensor per fetch (an empty
  /// one for an op without outputs) and is overwritten by the next call, except for tensors that
  /// the caller still shares: these stay as they are.
  const std::vector<Tensor>& operator()(std::initializer_list<Tensor> feeds,
                                        SourceLocation where = SourceLocation::current()) {
    return run(feeds.begin(), feeds.size(), where);
  }
  const std::vector<Tensor>& run(const Tensor* feeds, std::size_t count,
                                 SourceLocation where = SourceLocation::current());
  template <class... T>
  const std::vector<Tensor>& operator()(FirstFeed first, const T&... rest) {
    const Tensor feeds[] = {first.value, rest...};
    return run(feeds, 1 + sizeof...(rest), first.where);
  }
  const std::vector<Tensor>& operator()(SourceLocation where = SourceLocation::current()) {
    return run(nullptr, 0, where);
  }

  /// Runs `steps` steps. A feed has the shape that a step takes, for all of them, or this shape
  /// behind a first axis of `steps`: a value for each. Results have such an axis too. On a GPU
  /// the host issues all steps at once and waits once, so that between two of them no time is
  /// lost; elsewhere, and where a memory limit has no room for feeds and results of all steps,
  /// which MemoryUse does not count, they run one after the other.
  /// When one throws, those before it are made, and `Session::step` has counted them.
  const std::vector<Tensor>& run_steps(std::int64_t steps, const Tensor* feeds, std::size_t count,
                                       SourceLocation where = SourceLocation::current());
  const std::vector<Tensor>& run_steps(std::int64_t steps, std::initializer_list<Tensor> feeds,
                                       SourceLocation where = SourceLocation::current()) {
    return run_steps(steps, feeds.begin(), feeds.size(), where);
  }

  explicit operator bool() const { return static_cast<bool>(prepared_); }

  ~Callable();
  Callable(Callable&&) noexcept;
  Callable& operator=(Callable&&) noexcept;

 private:
  friend class Session;
  explicit Callable(std::unique_ptr<PreparedRun> prepared);
  Inside<PreparedRun> prepared_;
};

/// Runs parts of a graph and keeps the variables' values. Sessions on one graph are independent.
/// A session serves one thread at a time; different sessions may run at once.
class Session {
 public:
  /// Throws PlacementError for a device that is not there, RunError for other options that
  /// cannot be.
  explicit Session(Graph& graph, SessionOptions options = {},
                   SourceLocation where = SourceLocation::current());
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// Computes `fetches`, one Tensor each, from `feeds`. Variables that are still uninitialised
  /// get their initial values first. Throws RunError for a missing or unfit feed, a fetch of
  /// another graph, a variable without a value; every variable then keeps its value.
  std::vector<Tensor> run(const Feeds& feeds, const std::vector<Output>& fetches,
                          SourceLocation where = SourceLocation::current());
  /// `{loss}` is a list of one fetch, and gives a list.
  std::vector<Tensor> run(const Feeds& feeds, std::initializer_list<Output> fetches,
                          SourceLocation where = SourceLocation::current()) {
    return run(feeds, std::vector<Output>(fetches), where);
  }
  Tensor run(const Feeds& feeds, Output fetch, SourceLocation where = SourceLocation::current());
  Tensor run(Output fetch, SourceLocation where = SourceLocation::current());

  Callable prepare(const std::vector<Output>& feeds, const std::vector<Output>& fetches,
                   SourceLocation where = SourceLocation::current());

  /// Gives every variable that has none its initial value.
  void initialize(SourceLocation where = SourceLocation::current());
  bool is_initialized(Output variable, SourceLocation where = SourceLocation::current()) const;
  /// A copy of the variable's value; initialises it when it has none yet.
  Tensor value(Output variable, SourceLocation where = SourceLocation::current());
  /// The same into `copy`, whose memory is used again where dtype and shape are the variable's
  /// and no other Tensor shares it.
  void value(Output variable, Tensor& copy, SourceLocation where = SourceLocation::current());
  void set_value(Output variable, const Tensor& value,
                 SourceLocation where = SourceLocation::current());

  /// The number of runs so far; random ops draw by it. Settable, to resume.
  std::int64_t step() const;
  void set_step(std::int64_t step);
  /// SessionOptions::seed.
  std::uint64_t seed() const;
  /// As they were given, but `device` is one that is there.
  const SessionOptions& options() const;

  const RunStats& last_run() const;
  /// A line per node that `fetches` need: name, op, device, and why it is there. Where the
  /// session's device is "auto" and there are several, also what that is estimated to cost.
  std::string explain_placement(const Feeds& feeds, const std::vector<Output>& fetches,
                                SourceLocation where = SourceLocation::current());
  /// What the session will hold once it has run this, without running it.
  MemoryUse predict_memory(const Feeds& feeds, const std::vector<Output>& fetches,
                           SourceLocation where = SourceLocation::current());
  /// The same in words, with the ten largest tensors that live at the peak.
  std::string explain_memory(const Feeds& feeds, const std::vector<Output>& fetches,
                             SourceLocation where = SourceLocation::current());
  /// A line per rewrite that the passes made: "pass: what became of what".
  std::string explain_passes(const Feeds& feeds, const std::vector<Output>& fetches,
                             SourceLocation where = SourceLocation::current());

 private:
  Inside<SessionState> state_;
};

/// The devices that this process can use: "cpu", and what else was found.
std::vector<std::string> available_devices();

struct DeviceDescription {
  std::string name;   ///< "cuda:0"
  std::string words;  ///< "NVIDIA H200, compute capability 9.0, 132 multiprocessors"
  std::size_t memory_bytes = 0, free_bytes = 0;  ///< 0 where nobody knows
};
/// Opens all devices. Throws RunError for one that cannot be opened.
std::vector<DeviceDescription> describe_devices();

}  // namespace gradgraph
