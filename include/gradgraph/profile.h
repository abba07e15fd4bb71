#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gradgraph/inside.h"
#include "gradgraph/session.h"

namespace gradgraph GRADGRAPH_API {

/// What a device can do at most, measured: nodes are compared with it.
struct Ceilings {
  /// float32: of the CPU products and sums in registers, else a product of two large matrices.
  double flops_per_second = 0;
  double bytes_per_second = 0;  ///< a = b + s * c over arrays far larger than the caches
  std::string device = "cpu";
};
/// Takes about a second. `threads` as in SessionOptions.
Ceilings measure_ceilings(int threads = 0);
Ceilings measure_ceilings(const std::string& device, int threads = 0);

/// Measures what nodes and copies cost on every kind of device, and keeps that in the user's
/// cache folder, where sessions look whose device is "auto". Takes seconds. Gives the costs in
/// words, a line for each device, and where they are kept. Throws DataError where that cannot be
/// written.
std::string measure_devices(int threads = 0);

/// Floating-point operations of a node of known shapes (NodeTime::planned): what its op's
/// OpDef::flops says; of an elementwise op one per element, and for each op fused into a node. 0
/// where they are not counted.
double flops(const Node& node);
/// Bytes of all that the node reads and writes, each value once.
double bytes_moved(const Node& node);

struct ProfileOptions {
  int skipped_runs = 3;  ///< the first ones, which make plans and touch memory for the first time
  int traced_runs = 10;  ///< of those that follow, as many are kept one by one, for the trace
};

/// Gathers what the runs of a session did whose SessionOptions::node_times is on: where the time
/// went, node by node, and a trace to look at in Perfetto or chrome://tracing.
/// Times on devices other than the host's are by their own clocks; copies are among the nodes.
class Profile {
 public:
  explicit Profile(ProfileOptions options = {});
  ~Profile();
  Profile(Profile&&) noexcept;
  Profile& operator=(Profile&&) noexcept;

  /// What the program waits for before a run, such as the next batch.
  void add_wait(std::chrono::steady_clock::time_point start);
  /// After a run: `session.last_run()`.
  void add_run(const RunStats& run);

  /// What happened since the last run is no part of the profile.
  void skip_time();

  int num_runs() const;          ///< without those that were skipped
  double total_seconds() const;  ///< of these runs and all between them that was not skipped
  double node_seconds() const;
  double feed_seconds() const;
  double wait_seconds() const;

  /// A row per node, those that take longest first: calls, seconds, share of the time, and how
  /// near its arithmetic and its memory traffic come to the ceilings.
  std::string table(const Ceilings& ceilings) const;
  /// The same for nodes of several devices, each beside its own.
  std::string table(const std::vector<Ceilings>& ceilings) const;
  std::vector<std::string> devices() const;  ///< that nodes ran on, in the order of their names
  /// Chrome's trace format: a span per run, wait, feed and node, with name, op, shapes, bytes and
  /// rates; arrows from nodes to those that differentiate them. Throws DataError when the file
  /// cannot be written.
  void write_trace(const std::string& path,
                   SourceLocation where = SourceLocation::current()) const;

 private:
  struct State;
  Inside<State> state_;
};

}  // namespace gradgraph
