#include "device/shared/half_kernels.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "graph/static_inputs.h"

namespace gradgraph {
namespace {

constexpr std::size_t kAlignment = Tensor::kAlignment;
/// More than any op has that has no kernel of its own for 16 bits.
constexpr std::size_t kMaxValues = 16;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// A value that is converted, in the workspace.
struct Copy {
  std::size_t value;  ///< which input, or output
  std::size_t offset;
  Conversion convert;
};

class HalfKernel {
 public:
  HalfKernel(const KernelSite& site, Kernel kernel, MakeConversion make_conversion)
      : kernel_(std::move(kernel)) {
    for (int i = 0; i < site.num_inputs(); ++i)
      if (is_half(site.input_dtype(i)) && !is_static_input(site.node().op().traits, i))
        add(inputs_, i, site.input_shape(i),
            make_conversion(site.input_dtype(i), float32, site.input_shape(i).num_elements(),
                            site.threads()));
    for (int i = 0; i < site.node().num_outputs(); ++i)
      if (is_half(site.output_dtype(i)))
        add(outputs_, i, site.output_shape(i),
            make_conversion(float32, site.output_dtype(i), site.output_shape(i).num_elements(),
                            site.threads()));
  }

  std::size_t workspace_bytes() const { return end_ + kernel_.workspace_bytes; }

  void run(const KernelArgs& args) const {
    auto* const memory = static_cast<char*>(args.workspace);
    std::array<const void*, kMaxValues> inputs;
    std::array<void*, kMaxValues> outputs;
    std::ranges::copy(args.inputs, inputs.begin());
    std::ranges::copy(args.outputs, outputs.begin());
    for (const Copy& copy : inputs_) {
      copy.convert(args, args.inputs[copy.value], memory + copy.offset);
      inputs[copy.value] = memory + copy.offset;
    }
    for (const Copy& copy : outputs_) outputs[copy.value] = memory + copy.offset;
    KernelArgs wide = args;
    wide.inputs = {inputs.data(), args.inputs.size()};
    wide.outputs = {outputs.data(), args.outputs.size()};
    wide.workspace = memory + end_;
    kernel_.run(wide);
    for (const Copy& copy : outputs_)
      copy.convert(args, memory + copy.offset, args.outputs[copy.value]);
  }

 private:
  void add(std::vector<Copy>& copies, int value, const Shape& shape, Conversion convert) {
    copies.push_back({static_cast<std::size_t>(value), end_, std::move(convert)});
    end_ += aligned(static_cast<std::size_t>(shape.num_elements()) * sizeof(float));
  }

  Kernel kernel_;
  std::size_t end_ = 0;
  std::vector<Copy> inputs_, outputs_;
};

}  // namespace

void add_half_kernels(KernelRegistry& registry, std::string_view kind,
                      MakeConversion make_conversion) {
  const auto make = [=](const KernelSite& site) -> Kernel {
    const auto most = static_cast<int>(kMaxValues);
    if (site.num_inputs() > most || site.node().num_outputs() > most) return {};
    Kernel kernel = kernel_registry().make(site.in_float32(), kind);
    if (!kernel) return {};
    HalfKernel half(site, std::move(kernel), make_conversion);
    const std::size_t bytes = half.workspace_bytes();
    return {[half = std::move(half)](const KernelArgs& args) { half.run(args); }, bytes};
  };
  for (const OpDef* op : op_registry().all())
    for (const DType dtype : {float16, bfloat16})
      if (!op->traits.fused && registry.has(op->name, kind, float32) &&
          !registry.has(op->name, kind, dtype))
        registry.add_faster(op->name, kind, {dtype}, make);
}

}  // namespace gradgraph
