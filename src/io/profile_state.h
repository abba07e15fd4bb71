#pragma once

#include <chrono>
#include <string>
#include <unordered_map>
#include <vector>

#include "gradgraph/profile.h"

namespace gradgraph {

using ProfileClock = std::chrono::steady_clock;

struct Profile::State {
  /// A node of the session's copy, as far as it outlives the plan.
  struct NodeRecord {
    const Node* user_node;
    std::string name, op, shapes, line, device, stream;
    double flops = 0, bytes = 0;
    int calls = 0;
    double seconds = 0;
  };
  struct Span {
    std::size_t node;  ///< into `nodes`
    double start, seconds;
  };
  /// One run; times are seconds since `origin`.
  struct TracedRun {
    std::int64_t step;
    double wait_start, wait_seconds;
    double start, seconds, feed_seconds;
    std::vector<Span> nodes;
  };

  std::size_t node_index(const NodeTime& time);
  double since_origin(ProfileClock::time_point time) const {
    return std::chrono::duration<double>(time - origin).count();
  }

  ProfileOptions options;
  std::vector<NodeRecord> nodes;
  std::unordered_map<const Node*, std::size_t> index_of;  ///< by NodeTime::planned
  std::vector<TracedRun> traced;
  ProfileClock::time_point origin;    ///< the start of the first run, or of the wait for it
  ProfileClock::time_point last_end;  ///< of the last run; where the next one's time begins
  ProfileClock::time_point wait_start;
  double pending_wait = 0;
  bool is_waiting = false;
  bool is_continuous = false;  ///< time has not been skipped since `last_end`
  int runs_seen = 0;
  double total_seconds = 0, node_seconds = 0, feed_seconds = 0, wait_seconds = 0;
};

}  // namespace gradgraph
