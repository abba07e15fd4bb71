#include "placement/costs.h"

#include <algorithm>

#include "gradgraph/profile.h"

namespace gradgraph {

double work_seconds(const Node& node, const DeviceCosts& costs) {
  return std::max(flops(node) / costs.flops_per_second,
                  bytes_moved(node) / costs.bytes_per_second);
}

double copy_seconds(double bytes, const DeviceCosts::Copies& copies) {
  return copies.seconds + bytes / copies.bytes_per_second;
}

}  // namespace gradgraph
