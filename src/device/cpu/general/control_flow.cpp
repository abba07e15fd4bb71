#include <algorithm>

#include "device/cpu/kernels.h"

namespace gradgraph {
namespace {

Kernel make_cond(const KernelSite& site) {
  if (site.subgraphs().size() != 2) throw KernelError("its branches are not planned");
  const Kernel then_branch = site.subgraphs()[0], else_branch = site.subgraphs()[1];
  const auto run = [=](const KernelArgs& args) {
    KernelArgs inner = args;
    inner.inputs = args.inputs.subspan(1);
    (*args.input<bool>(0) ? then_branch : else_branch).run(inner);
  };
  return {run, std::max(then_branch.workspace_bytes, else_branch.workspace_bytes)};
}

}  // namespace

void register_control_flow_kernels(KernelRegistry& registry) {
  registry.add("cond", kCpu, {boolean}, make_cond);
}

}  // namespace gradgraph
