#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "core/index.h"
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

/// Pointers that a call has at hand without allocating.
constexpr std::size_t kMostOperands = 64;

Kernel make_fused_parts(const KernelSite& site) {
  const ElementwiseProgram& program = program_of(site.node());
  if (program.reads.size() > kMostOperands || program.writes.size() > kMostOperands) return {};
  const std::int64_t count = program.shape.num_elements();
  const std::int64_t grain = ProgramRunner::grain(program);
  const std::int64_t parts = std::clamp<std::int64_t>(count / grain, 1, site.threads());
  std::vector<Shape> shapes;
  for (const auto& place : program.reads)
    shapes.push_back(place.row > 0 ? program.shape : site.input_shape(place.value));
  ProgramRunner runner(program, shapes);
  const std::size_t scratch = runner.scratch_bytes();
  struct Operand {
    std::size_t value, offset;  ///< in bytes
  };
  std::vector<Operand> reads, writes;
  const auto operand = [](const ElementwiseProgram::Place& place, DType dtype) {
    return Operand{at(place.value), at(place.offset) * size_of(dtype)};
  };
  for (std::int32_t i = 0; i < program.num_inputs(); ++i)
    reads.push_back(operand(program.reads[at(i)], program.dtype(i)));
  for (std::size_t i = 0; i < program.writes.size(); ++i)
    writes.push_back(operand(program.writes[i], program.dtype(program.results[i])));
  return {[=, runner = std::move(runner)](const KernelArgs& args) {
            const void* inputs[kMostOperands];
            void* outputs[kMostOperands];
            for (std::size_t i = 0; i < reads.size(); ++i)
              inputs[i] = args.input<std::byte>(reads[i].value) + reads[i].offset;
            for (std::size_t i = 0; i < writes.size(); ++i)
              outputs[i] = args.output<std::byte>(writes[i].value) + writes[i].offset;
            parallel_parts(
                count, parts, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
                  runner.run({inputs, reads.size()}, {outputs, writes.size()},
                             static_cast<char*>(args.workspace) + at(part) * scratch, begin, end);
                });
          },
          at(parts) * scratch};
}

}  // namespace

void register_fused_kernels(KernelRegistry& registry) {
  registry.prefer(kCpu, {.can_fuse = ProgramRunner::knows, .nhwc = true});
  for (const std::string_view op : {"fused", "fused_update"})
    registry.add(op, kCpu, kAllDTypes, make_fused);
  registry.add_faster("fused_parts", kCpu, kAllDTypes, make_fused_parts);
}

}  // namespace gradgraph
