#include <algorithm>
#include <cstring>

#include "device/cpu/elements.h"
#include "device/cpu/kernels.h"

namespace gradgraph {
namespace {

/// For ops that rename: a plan rarely runs them.
Kernel make_rename(const KernelSite& site) {
  const std::size_t bytes =
      static_cast<std::size_t>(site.output_shape().num_elements()) * size_of(site.output_dtype());
  return {[bytes](const KernelArgs& args) {
    if (bytes > 0) std::memcpy(args.outputs[0], args.inputs[0], bytes);
  }};
}

Kernel make_shape_of(const KernelSite& site) {
  return {[shape = site.input_shape(0)](const KernelArgs& args) {
    std::copy(shape.begin(), shape.end(), args.output<std::int64_t>());
  }};
}

}  // namespace

void register_shape_kernels(KernelRegistry& registry) {
  for (const char* op :
       {"reshape", "flatten", "expand_dims", "squeeze", "identity", "stop_gradient"})
    registry.add(op, kCpu, kAllDTypes, make_rename);
  registry.add("shape_of", kCpu, kAllDTypes, make_shape_of);
}

}  // namespace gradgraph
