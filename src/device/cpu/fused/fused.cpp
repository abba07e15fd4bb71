#include <algorithm>
#include <utility>
#include <vector>

#include "device/cpu/fused/program_runner.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/elements.h"

namespace gradgraph {
namespace {

Kernel make_fused(const KernelSite& site) {
  const std::int64_t count = site.output_shape().num_elements();
  const std::int64_t grain = ProgramRunner::grain(program_of(site.node()));
  const std::int64_t parts = std::clamp<std::int64_t>(count / grain, 1, site.threads());
  std::vector<Shape> shapes;
  for (int i = 0; i < site.num_inputs(); ++i) shapes.push_back(site.input_shape(i));
  const bool updates = site.node().op().traits.updates_variable;
  ProgramRunner program(program_of(site.node()), shapes, updates ? site.node().num_outputs() : 0);
  const std::size_t scratch = program.scratch_bytes();
  return {[=, program = std::move(program)](const KernelArgs& args) {
            parallel_parts(count, parts,
                           [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
                             program.run(args.inputs, args.outputs,
                                         static_cast<char*>(args.workspace) +
                                             static_cast<std::size_t>(part) * scratch,
                                         begin, end);
                           });
          },
          static_cast<std::size_t>(parts) * scratch};
}

}  // namespace

void register_fused_kernels(KernelRegistry& registry) {
  registry.prefer(kCpu, {.can_fuse = ProgramRunner::knows, .nhwc = true});
  for (const std::string_view op : {"fused", "fused_update"})
    registry.add(op, kCpu, kAllDTypes, make_fused);
}

}  // namespace gradgraph
