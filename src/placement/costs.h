#pragma once

#include <limits>

#include "gradgraph/graph.h"

namespace gradgraph {

/// What placement takes for the time of a device's work. By default everything is free.
struct DeviceCosts {
  static constexpr double kFree = std::numeric_limits<double>::infinity();

  double flops_per_second = kFree;
  double bytes_per_second = kFree;
  /// What a node takes beside its work: issued by itself, and as part of a step that is issued as
  /// a whole.
  double node_seconds = 0, recorded_node_seconds = 0;
  /// Of a value from the host to the device, or back.
  struct Copies {
    double seconds = 0;  ///< each, beside its bytes
    double bytes_per_second = kFree;
  };
  Copies from_host, to_host;
};

/// How long the work of a node takes there: the longer of its arithmetic and its memory traffic.
double work_seconds(const Node& node, const DeviceCosts& costs);
double copy_seconds(double bytes, const DeviceCosts::Copies& copies);

}  // namespace gradgraph
