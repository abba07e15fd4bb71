#include <algorithm>
#include <array>
#include <atomic>
#include <utility>
#include <vector>

#include "device/cpu/elementwise/loops.h"
#include "device/cpu/fused/program_runner.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/elements.h"
#include "device/shared/elementwise_ops.h"

/// Elementwise ops on their own: programs of one instruction.
namespace gradgraph {
namespace {

using std::int64_t;

/// One call of the op's loop: all that a node of few elements needs whose operands are as large
/// as the result, or numbers.
struct OneLoop {
  ElementLoop loop = nullptr;
  unsigned moves = 0;
  std::size_t num_parameters = 0;
  std::array<std::uint64_t, kMaxOperands> parameters{};  ///< their bits

  /// Empty where the node needs more.
  OneLoop(const KernelSite& site, int64_t grain) {
    const int64_t count = site.output_shape().num_elements();
    if (count == 0 || count >= 2 * (site.threads() > 1 ? grain : kParallelGrain) ||
        is_half(site.output_dtype()))
      return;
    for (int i = 0; i < site.num_inputs(); ++i) {
      const int64_t own = site.input_shape(i).num_elements();
      if ((own != 1 && own != count) || is_half(site.input_dtype(i))) return;
      if (own == count) moves |= 1u << i;
    }
    const std::string& op = site.node().op().name;
    for (const std::string_view name : parameters_of(op))
      parameters[num_parameters++] =
          element_bits(site.output_dtype(), site.attribute<double>(name));
    loop = find_loop(op, site.input_dtype(site.num_inputs() - 1), site.output_dtype());
  }

  bool run(const KernelArgs& args, int64_t count) const {
    std::array<const void*, kMaxOperands> operands{};
    std::ranges::copy(args.inputs, operands.begin());
    for (std::size_t i = 0; i < num_parameters; ++i)
      operands[args.inputs.size() + i] = &parameters[i];
    return loop(operands.data(), moves, args.outputs[0], count);
  }
};

/// `refusal` is what to say when the op refuses an operand.
Kernel elementwise_kernel(const KernelSite& site, const char* refusal) {
  const int64_t count = site.output_shape().num_elements();
  const int64_t grain = ProgramRunner::grain_of_cost(element_cost(site.node().op().name));
  const OneLoop one(site, grain);
  if (one.loop && one.num_parameters == 0)
    return {[loop = one.loop, moves = one.moves, count, refusal](const KernelArgs& args) {
      if (!loop(args.inputs.data(), moves, args.outputs[0], count)) throw KernelError(refusal);
    }};
  if (one.loop)
    return {[=](const KernelArgs& args) {
      if (!one.run(args, count)) throw KernelError(refusal);
    }};
  std::vector<Shape> shapes;
  for (int i = 0; i < site.num_inputs(); ++i) shapes.push_back(site.input_shape(i));
  ProgramRunner program(make_program(site.node()), shapes);
  const int64_t parts = std::clamp<int64_t>(count / grain, 1, site.threads());
  const std::size_t scratch = program.scratch_bytes();
  return {[=, program = std::move(program)](const KernelArgs& args) {
            std::atomic<bool> refused{false};
            parallel_parts(count, parts, [&](int64_t part, int64_t begin, int64_t end) {
              char* own =
                  static_cast<char*>(args.workspace) + static_cast<std::size_t>(part) * scratch;
              if (!program.run(args.inputs, args.outputs, own, begin, end))
                refused.store(true, std::memory_order_relaxed);
            });
            if (refused.load(std::memory_order_relaxed)) throw KernelError(refusal);
          },
          static_cast<std::size_t>(parts) * scratch};
}

}  // namespace

void register_elementwise_kernels(KernelRegistry& registry) {
  add_elementwise_kernels(registry, kCpu, elementwise_kernel);
  registry.add("cast", kCpu, kAllDTypes,
               [](const KernelSite& site) { return elementwise_kernel(site, ""); });
}

}  // namespace gradgraph
