#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "device/cpu/elements.h"
#include "device/cpu/fused/program_runner.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/scalar_functors.h"

/// Elementwise ops on their own: programs of one instruction.
namespace gradgraph {
namespace {

using std::int64_t;

/// `refusal` is what to say when the op refuses an operand.
Kernel elementwise_kernel(const KernelSite& site, const char* refusal) {
  std::vector<Shape> shapes;
  for (int i = 0; i < site.num_inputs(); ++i) shapes.push_back(site.input_shape(i));
  ProgramRunner program(make_program(site.node()), shapes);
  const int64_t count = site.output_shape().num_elements();
  const int64_t parts = std::clamp<int64_t>(count / kParallelGrain, 1, site.threads());
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

template <class F, class... T>
void add_op(KernelRegistry& registry, functors::List<T...>) {
  const char* refusal = "";
  if constexpr (requires { F::refusal; }) refusal = F::refusal;
  const auto make = [refusal](const KernelSite& site) {
    return elementwise_kernel(site, refusal);
  };
  registry.add(F::op, kCpu, {dtype_of<T>...}, make);
  constexpr bool kOfFloats = (std::is_same_v<T, float> || ...);
  if constexpr (kOfFloats && !(std::is_same_v<T, Half> || ...))
    registry.add(F::op, kCpu, {float16, bfloat16}, make);
}

template <class... F>
void add_ops(KernelRegistry& registry, functors::List<F...>) {
  (add_op<F>(registry, typename F::Types{}), ...);
}

}  // namespace

void register_elementwise_kernels(KernelRegistry& registry) {
  add_ops(registry, functors::Elementwise{});
  registry.add("cast", kCpu, kAllDTypes,
               [](const KernelSite& site) { return elementwise_kernel(site, ""); });
}

}  // namespace gradgraph
