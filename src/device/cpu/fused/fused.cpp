#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "core/index.h"
#include "device/cpu/fused/program_runner.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/elements.h"

namespace gradgraph {
namespace {

/// A program whose elements the threads share out among themselves.
class SharedProgram {
 public:
  SharedProgram(const ElementwiseProgram& program, std::span<const Shape> shapes, int threads,
                std::int32_t updates = 0)
      : count_(program.shape.num_elements()),
        parts_(std::clamp<std::int64_t>(count_ / ProgramRunner::grain(program), 1, threads)),
        runner_(program, shapes, updates),
        scratch_bytes_(runner_.scratch_bytes()) {}

  std::size_t workspace_bytes() const { return at(parts_) * scratch_bytes_; }

  void run(std::span<const void* const> inputs, std::span<void* const> outputs,
           void* workspace) const {
    parallel_parts(count_, parts_, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
      void* scratch = static_cast<char*>(workspace) + at(part) * scratch_bytes_;
      runner_.run(inputs, outputs, scratch, begin, end);
    });
  }

 private:
  std::int64_t count_, parts_;
  ProgramRunner runner_;
  std::size_t scratch_bytes_;
};

Kernel make_fused(const KernelSite& site) {
  std::vector<Shape> shapes;
  for (int i = 0; i < site.num_inputs(); ++i) shapes.push_back(site.input_shape(i));
  const bool updates = site.node().op().traits.updates_variable;
  SharedProgram program(program_of(site.node()), shapes, site.threads(),
                        updates ? site.node().num_outputs() : 0);
  const std::size_t workspace_bytes = program.workspace_bytes();
  return {[program = std::move(program)](const KernelArgs& args) {
            program.run(args.inputs, args.outputs, args.workspace);
          },
          workspace_bytes};
}

/// Pointers that a call has at hand without allocating.
constexpr std::size_t kMostOperands = 64;

Kernel make_fused_parts(const KernelSite& site) {
  const ElementwiseProgram& program = program_of(site.node());
  if (program.reads.size() > kMostOperands || program.writes.size() > kMostOperands) return {};
  std::vector<Shape> shapes;
  for (const auto& place : program.reads)
    shapes.push_back(place.row > 0 ? program.shape : site.input_shape(place.value));
  SharedProgram shared(program, shapes, site.threads());
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
  const std::size_t workspace_bytes = shared.workspace_bytes();
  return {[reads, writes, shared = std::move(shared)](const KernelArgs& args) {
            const void* inputs[kMostOperands];
            void* outputs[kMostOperands];
            for (std::size_t i = 0; i < reads.size(); ++i)
              inputs[i] = args.input<std::byte>(reads[i].value) + reads[i].offset;
            for (std::size_t i = 0; i < writes.size(); ++i)
              outputs[i] = args.output<std::byte>(writes[i].value) + writes[i].offset;
            shared.run({inputs, reads.size()}, {outputs, writes.size()}, args.workspace);
          },
          workspace_bytes};
}

}  // namespace

void register_fused_kernels(KernelRegistry& registry) {
  // Fewer queries are not worth laying out keys and values for them, and elements of many large
  // variables at once more than the caches hold, or processors fetch ahead.
  registry.prefer(kCpu, {.can_fuse = ProgramRunner::knows,
                         .nhwc = true,
                         .fewest_queries = 64,
                         .most_merged = 4096});
  for (const std::string_view op : {"fused", "fused_update"})
    registry.add(op, kCpu, kAllDTypes, make_fused);
  registry.add_faster("fused_parts", kCpu, kAllDTypes, make_fused_parts);
}

}  // namespace gradgraph
