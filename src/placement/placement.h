#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "gradgraph/graph.h"
#include "placement/costs.h"

namespace gradgraph {

/// "cuda" of "cuda:0": which kernels a device runs.
inline std::string_view kind_of(std::string_view device) {
  return device.substr(0, device.find(':'));
}

/// Why a node is where it is.
enum class PlacementReason : std::uint8_t {
  requested,      ///< the node or its scope asked for this device
  session,        ///< the session's device
  cost,           ///< where a step is estimated to take the least time
  only_kernel,    ///< the only one of the session's devices that has a kernel for it
  home,           ///< a variable, where it was before
  variable,       ///< together with the variable that it updates
  beside_input,   ///< renames its input's bytes, so it stays where they are
  fallback,       ///< asked for another device, which has no kernel for it (soft placement)
  host_value,     ///< feeds, fetches and static values live on the host
  order_only,     ///< computes nothing, only runs after others
  beside_reader,  ///< a constant, one for each device that reads it
  copy,           ///< moves a value between devices
};

struct PlacementOptions {
  /// Names of the devices that may be used; the host, "cpu", is the first. A node that asks for
  /// "cuda" means "cuda:0" where no device has just that name.
  std::vector<std::string> devices = {"cpu"};
  /// Index into `devices` for nodes that ask for none.
  int default_device = 0;
  /// A request that cannot be met falls back (to the default, then to any device with a kernel);
  /// false makes it a PlacementError.
  bool soft = true;
  /// Whether a device of this kind ("cpu", "cuda") has a kernel that takes the node.
  std::function<bool(const Node&, std::string_view device_kind)> supports;

  /// Where nodes that ask for no device go by cost: the devices among which to choose, 2 to 64.
  /// Empty for none; then they go to `default_device`.
  std::vector<int> choices = {};
  /// By device, where there are `choices`.
  std::vector<DeviceCosts> costs = {};
  /// The device where a variable of the user's graph already is, or -1; may be empty.
  std::function<int(const Node&)> home = {};
};

/// The index in `devices` of the one called `name`, or "`name`:0"; -1 where there is none.
int find_device(const std::vector<std::string>& devices, std::string_view name);

/// What a step is estimated to take, in seconds: one node after the other, and every copy.
struct CostEstimate {
  double seconds = 0;
  /// The same with all on one device that may be and asks for no other.
  struct Alone {
    int device;
    double seconds;
  };
  std::vector<Alone> alone;
  /// Of a node with those that go where it goes, and all copies that their place decides about.
  struct OfNode {
    double here = 0, elsewhere = 0;
    int other = -1;  ///< the best other device; -1 where there was no choice
  };
  std::vector<OfNode> nodes;     ///< by node id, those that placement added left out
  std::int64_t moves_tried = 0;  ///< of single nodes, or in company
};

/// Where every node of a session's copy goes. Both lists are by node id.
struct Placement {
  std::vector<std::int32_t> device;  ///< index into PlacementOptions::devices
  std::vector<PlacementReason> reason;
  CostEstimate estimate = {};  ///< where nodes were placed by cost
};

/// Chooses a device for every node of `graph` (a session's own copy), then inserts "copy" nodes
/// so that every node reads from its own device. A value crosses at most once per pair of
/// devices, through the host where these are neither the host nor of one kind; only a variable
/// that is read under control inputs crosses for that reader alone, since its value depends on
/// when it is read.
/// Constants are duplicated instead. Static inputs stay as they are, and so do inputs of which
/// only the shape is used: nobody reads their bytes. Nodes added here come last, so ids are no
/// topological order afterwards. Throws PlacementError naming op, dtype, device and line.
/// With `choices`, nodes that ask for none go where the estimate is low, and never to a placement
/// that is estimated worse than one device alone. That takes time linear in the graph's size.
Placement place(Graph& graph, const PlacementOptions& options);

/// Checks that every node has a device and reads from that one alone, "copy" nodes apart; throws
/// PlacementError with the first fault.
void verify(const Graph& graph, const Placement& placement, const PlacementOptions& options);

/// A line per node, in the order of the data: name, op, device, and the reason in words. Where
/// nodes were placed by cost, one more with the estimates.
std::string explain(const Graph& graph, const Placement& placement,
                    const PlacementOptions& options);

}  // namespace gradgraph
