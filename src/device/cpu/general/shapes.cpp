#include <algorithm>
#include <cstring>

#include "device/cpu/kernels.h"
#include "device/shared/elements.h"

namespace gradgraph {
namespace {

/// For ops that rename: output i is input i's bytes. A plan rarely runs them.
Kernel make_rename(const KernelSite& site) {
  std::vector<std::size_t> bytes;
  for (int i = 0; i < site.node().num_outputs(); ++i) bytes.push_back(output_bytes(site, i));
  return {[bytes](const KernelArgs& args) {
    for (std::size_t i = 0; i < bytes.size(); ++i)
      if (bytes[i] > 0) std::memcpy(args.outputs[i], args.inputs[i], bytes[i]);
  }};
}

Kernel make_shape_of(const KernelSite& site) {
  return {[shape = site.input_shape(0)](const KernelArgs& args) {
    std::copy(shape.begin(), shape.end(), args.output<std::int64_t>());
  }};
}

}  // namespace

void register_shape_kernels(KernelRegistry& registry) {
  for (const char* op : {"reshape", "flatten", "expand_dims", "squeeze", "identity",
                         "stop_gradient", "custom_gradient"})
    registry.add(op, kCpu, kAllDTypes, make_rename);
  registry.add("shape_of", kCpu, kAllDTypes, make_shape_of);
}

}  // namespace gradgraph
