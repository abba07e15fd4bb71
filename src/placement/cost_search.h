#pragma once

#include <cstdint>
#include <vector>

#include "placement/placement.h"

namespace gradgraph {

/// Devices by number: the host is the first, and what has no place has none.
inline constexpr std::int32_t kHost = 0, kNone = -1;

/// A graph's nodes as units: those of one unit have one place.
struct PlacementUnits {
  struct Unit {
    std::int32_t device = -1;   ///< where it must be; -1 where there is a choice
    std::uint64_t choices = 0;  ///< bit i: it may be on PlacementOptions::choices[i]
  };
  std::vector<Unit> units;
  std::vector<std::int32_t> of_node;  ///< by node id; -1 for what is nowhere: constants, orders
};

struct UnitPlacement {
  std::vector<std::int32_t> device;  ///< by unit
  CostEstimate estimate;
};

/// Looks for the devices of units with a choice that make a step short. A step is taken for a
/// serial schedule: it is the sum of what all nodes take where they are, and of a copy for every
/// value and device that reads it elsewhere. That two devices and their copies may work at once
/// is left out. A step that is all on one device is issued as a whole, which costs less per node.
///
/// It begins with everything on each device alone, and with every node where itself is fastest,
/// moves connected regions and then single units while that helps, always in the same order, and
/// takes the best of what it saw: the first of equals, devices alone before mixtures.
UnitPlacement search_by_cost(const Graph& graph, const PlacementUnits& units,
                             const PlacementOptions& options);

}  // namespace gradgraph
