#pragma once

#include <random>
#include <string>
#include <vector>

#include "agreement.h"
#include "gradgraph/gradgraph.h"
#include "simulated_device.h"

/// Graphs split at random between the CPU and two simulated devices.
namespace gradgraph::tests {

/// Devices that nodes are drawn from; the empty one is "wherever the session wants".
inline const std::vector<std::string> kDevices = {"cpu", "simulated:0", "simulated:1", ""};

inline Session open_session(Graph& graph, const std::string& device = "cpu") {
  add_simulated_devices("simulated", 2);
  // What these find in one place depends on the placement, and so does how sums round.
  std::vector<std::string> disabled = {"fuse_attention", "fuse_cross_entropy", "fuse_pooling",
                                       "fuse_reductions", "merge_products"};
  if (epilogues_round_otherwise()) disabled.push_back("fuse_epilogue");
  return Session(
      graph,
      {.device = device, .seed = 17, .threads = 1, .disabled_passes = std::move(disabled)});
}

/// Makes every node ask for a random device, and draws one for the session.
inline std::string scatter(Graph& graph, std::mt19937_64& random) {
  for (Node& node : graph.nodes()) node.set_device(kDevices[random() % kDevices.size()]);
  return kDevices[random() % (kDevices.size() - 1)];
}

/// CHECKs that the two are alike to the last bit.
void check_same(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected);

}  // namespace gradgraph::tests
