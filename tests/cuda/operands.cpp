#include "operands.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cuda_emulation/emulation.h"
#include "device/kernel.h"

namespace gradgraph::tests {
namespace {

using cuda_emulation::Range;

std::size_t bytes_of(DType dtype, const Shape& shape) {
  return static_cast<std::size_t>(shape.num_elements()) * size_of(dtype);
}

bool overlap(const Range& a, const Range& b) {
  const auto low_a = reinterpret_cast<std::uintptr_t>(a.low);
  const auto low_b = reinterpret_cast<std::uintptr_t>(b.low);
  return low_a < low_b + b.bytes && low_b < low_a + a.bytes;
}

/// A node's kernel and the bytes of its operands.
struct Announced {
  Kernel kernel;
  std::vector<std::size_t> inputs, outputs;

  Announced(Kernel made, const Node& node) : kernel(std::move(made)) {
    for (int i = 0; i < node.num_inputs(); ++i)
      inputs.push_back(bytes_of(node.input(i).dtype(), node.input(i).shape()));
    for (int i = 0; i < node.num_outputs(); ++i)
      outputs.push_back(bytes_of(node.dtype(i), node.shape(i)));
  }

  void operator()(const KernelArgs& args) const {
    std::vector<Range> read, written;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (args.inputs[i]) read.push_back({args.inputs[i], inputs[i]});
    for (std::size_t i = 0; i < outputs.size(); ++i)
      written.push_back({args.outputs[i], outputs[i]});
    if (args.workspace) written.push_back({args.workspace, kernel.workspace_bytes});
    std::vector<Range> operands(read), fresh;
    for (const Range& range : written) {
      operands.push_back(range);
      // What is updated in place is read first.
      const bool in_place = std::any_of(
          read.begin(), read.end(), [&](const Range& other) { return overlap(range, other); });
      if (!in_place) fresh.push_back(range);
    }
    operands.push_back({args.run, sizeof(RunInfo)});
    const cuda_emulation::OperandScope scope(std::move(operands), std::move(fresh));
    kernel.run(args);
  }
};

}  // namespace

void announce_operands() {
  static const bool once = [] {
    constexpr const char* kInner = "cuda without announcements";
    KernelRegistry& registry = kernel_registry();
    registry.share(kInner, "cuda");
    const auto make = [&registry](const KernelSite& site) -> Kernel {
      Kernel kernel = registry.make(site, kInner);
      if (!kernel) return kernel;
      const std::size_t workspace = kernel.workspace_bytes;
      return {Announced(std::move(kernel), site.node()), workspace};
    };
    for (const OpDef* op : op_registry().all())
      for (const DType dtype :
           {float32, float64, int32, int64, uint8, boolean, float16, bfloat16})
        if (registry.has(op->name, "cuda", dtype))
          registry.add_faster(op->name, "cuda", {dtype}, make);
    return true;
  }();
  static_cast<void>(once);
}

}  // namespace gradgraph::tests
