#include <memory>
#include <string>
#include <utility>

#include "core/text.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "gradgraph/kernel.h"
#include "graph/static_inputs.h"

/// Kernels that programs register for their own ops, behind the library's own interface.
namespace gradgraph {
namespace {

std::shared_ptr<const KernelNode> describe(const KernelSite& site) {
  const Node& node = site.node();
  auto described = std::make_shared<KernelNode>();
  for (int i = 0; i < node.num_inputs(); ++i) {
    described->inputs.push_back({site.input_dtype(i), site.input_shape(i)});
    described->static_values.push_back(is_static_input(node.op().traits, i)
                                           ? site.static_vector(i)
                                           : std::vector<std::int64_t>());
  }
  for (int i = 0; i < node.num_outputs(); ++i)
    described->outputs.push_back({site.output_dtype(i), site.output_shape(i)});
  described->attributes = node.attributes();
  described->threads = site.threads();
  return described;
}

/// What the program's function throws is of the node that it was called for.
template <class Function>
auto as_refusal(const Function& function) {
  try {
    return function();
  } catch (const Error& error) {
    throw KernelError(error.what());
  }
}

Kernel make_kernel(const KernelSite& site, const MakeCpuKernel& make) {
  const std::shared_ptr<const KernelNode> node = describe(site);
  CpuKernel made = as_refusal([&] { return make(*node); });
  if (!made.run) throw KernelError("its kernel has no function");
  return {[node, run = std::move(made.run)](const KernelArgs& args) {
            as_refusal([&] {
              run(KernelCall(*node, args.inputs.data(), args.outputs.data(), args.workspace));
            });
          },
          made.workspace_bytes};
}

}  // namespace

void KernelCall::fail_dtype(const char* role, int i, DType dtype, DType wanted) {
  throw RunError(fmt::format("{} {} is {}, not {}", role, i, dtype, wanted));
}

void register_cpu_kernel(std::string_view op, std::initializer_list<DType> dtypes,
                         MakeCpuKernel make) {
  if (!make)
    throw BuildError(fmt::format("op '{}': the function that makes its kernel is empty", op));
  KernelRegistry& registry = kernel_registry();
  for (const DType dtype : dtypes)
    if (registry.has(op, kCpu, dtype))
      throw BuildError(fmt::format("op '{}' has a kernel for {} already", op, dtype));
  registry.add(op, kCpu, dtypes, [make = std::move(make)](const KernelSite& site) {
    return make_kernel(site, make);
  });
}

namespace kernel_detail {
void run_parallel(std::int64_t count, std::int64_t grain, int threads, void* body,
                  RangeCall call) {
  parallel_for(count, grain, threads,
               [=](std::int64_t begin, std::int64_t end) { call(body, begin, end); });
}
}  // namespace kernel_detail

}  // namespace gradgraph
