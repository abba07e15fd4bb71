#include "session/evaluate.h"

#include <new>

#include "core/text.h"
#include "device/device.h"
#include "graph/may_fail.h"
#include "graph/refusal.h"

namespace gradgraph {

namespace {

/// Nothing to compute, and nothing that could be refused meanwhile.
bool has_nothing_to_do(const Node& node) {
  if (may_fail(node) || node.op().traits.updates_variable) return false;
  for (int i = 0; i < node.num_outputs(); ++i)
    if (node.shape(i).num_elements() > 0) return false;
  return true;
}

}  // namespace

Kernel make_kernel(const KernelSite& site, std::string_view device_kind, bool reference) {
  const Node& node = site.node();
  const auto fail = [&](const char* message) {
    throw RunError(refusal(node, message), blamed(node).where());
  };
  try {
    if (Kernel kernel = kernel_registry().make(site, device_kind, reference)) {
      // Of [2^40,0] there may be rows without number to go through.
      if (has_nothing_to_do(node)) kernel.run = [](const KernelArgs&) {};
      return kernel;
    }
  } catch (const KernelError& error) {
    fail(error.what());
  } catch (const BuildError& error) {  // a size that does not fit
    fail(without_line(error).c_str());
  } catch (const std::bad_alloc&) {
    fail("there is no memory to make its kernel");
  }
  throw PlacementError(
      refusal(node, fmt::format("{} has no kernel for {}", device_kind, kernel_dtype(node))),
      node.where());
}

Evaluator host_evaluator() {
  return [](const Node& node) -> std::optional<std::vector<Tensor>> {
    if (!kernel_registry().has(node.op().name, "cpu", kernel_dtype(node))) return std::nullopt;
    const Kernel kernel = make_kernel(KernelSite(node), "cpu");
    std::vector<const void*> inputs;
    for (const Output& input : node.inputs())
      inputs.push_back(input.node().attributes().get<Tensor>("value").raw());
    std::vector<Tensor> results;
    std::vector<void*> outputs;
    for (int i = 0; i < node.num_outputs(); ++i)
      outputs.push_back(results.emplace_back(node.dtype(i), node.shape(i)).raw());
    const auto workspace_bytes = static_cast<std::int64_t>(kernel.workspace_bytes);
    Tensor workspace(uint8, Shape{workspace_bytes});
    const RunInfo run;
    const Launch launch{&kernel, {inputs, outputs, workspace.raw(), &run, nullptr}, &node};
    execute(launch, launch.args);
    return results;
  };
}

}  // namespace gradgraph
