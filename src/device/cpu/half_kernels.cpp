#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "device/cpu/elementwise/loops.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "graph/static_inputs.h"

/// Kernels of float16 and bfloat16 that call those of float32: inputs are converted, results
/// rounded. So all sums are float32's.
namespace gradgraph {
namespace {

constexpr std::size_t kAlignment = Tensor::kAlignment;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// A value that is converted, in the workspace.
struct Copy {
  std::size_t value;  ///< which input, or output
  std::size_t offset;
  std::int64_t count;
  ElementLoop convert;
};

void convert(const Copy& copy, const void* from, void* to, DType from_dtype, DType to_dtype,
             int threads) {
  parallel_for(copy.count, kParallelGrain, threads, [&](std::int64_t begin, std::int64_t end) {
    const void* operand =
        static_cast<const char*>(from) + static_cast<std::size_t>(begin) * size_of(from_dtype);
    copy.convert(&operand, 1,
                 static_cast<char*>(to) + static_cast<std::size_t>(begin) * size_of(to_dtype),
                 end - begin);
  });
}

class HalfKernel {
 public:
  HalfKernel(const KernelSite& site, Kernel kernel)
      : kernel_(std::move(kernel)),
        threads_(site.threads()),
        num_inputs_(static_cast<std::size_t>(site.num_inputs())),
        num_outputs_(static_cast<std::size_t>(site.node().num_outputs())) {
    for (int i = 0; i < site.num_inputs(); ++i)
      if (!is_static_input(site.node().op().traits, i))
        add(inputs_, static_cast<std::size_t>(i), site.input_dtype(i), site.input_shape(i), true);
    for (int i = 0; i < site.node().num_outputs(); ++i)
      add(outputs_, static_cast<std::size_t>(i), site.output_dtype(i), site.output_shape(i),
          false);
    pointers_ = end_;
    end_ += aligned((num_inputs_ + num_outputs_) * sizeof(void*));
  }

  std::size_t workspace_bytes() const { return end_ + kernel_.workspace_bytes; }

  void run(const KernelArgs& args) const {
    auto* const memory = static_cast<char*>(args.workspace);
    auto** const inputs = reinterpret_cast<const void**>(memory + pointers_);
    auto** const outputs = reinterpret_cast<void**>(memory + pointers_) + num_inputs_;
    std::ranges::copy(args.inputs, inputs);
    std::ranges::copy(args.outputs, outputs);
    for (const auto& [copy, dtype] : inputs_) {
      convert(copy, args.inputs[copy.value], memory + copy.offset, dtype, float32, threads_);
      inputs[copy.value] = memory + copy.offset;
    }
    for (const auto& [copy, dtype] : outputs_) outputs[copy.value] = memory + copy.offset;
    KernelArgs wide = args;
    wide.inputs = {inputs, num_inputs_};
    wide.outputs = {outputs, num_outputs_};
    wide.workspace = memory + end_;
    kernel_.run(wide);
    for (const auto& [copy, dtype] : outputs_)
      convert(copy, memory + copy.offset, args.outputs[copy.value], float32, dtype, threads_);
  }

 private:
  using Copies = std::vector<std::pair<Copy, DType>>;

  void add(Copies& copies, std::size_t value, DType dtype, const Shape& shape, bool is_input) {
    if (!is_half(dtype)) return;
    const ElementLoop loop =
        is_input ? find_loop("cast", dtype, float32) : find_loop("cast", float32, dtype);
    copies.push_back({{value, end_, shape.num_elements(), loop}, dtype});
    end_ += aligned(static_cast<std::size_t>(shape.num_elements()) * sizeof(float));
  }

  Kernel kernel_;
  int threads_;
  std::size_t num_inputs_, num_outputs_, pointers_ = 0, end_ = 0;
  Copies inputs_, outputs_;
};

Kernel make_half(const KernelSite& site) {
  Kernel kernel = kernel_registry().make(site.in_float32(), kCpu);
  if (!kernel) return {};
  HalfKernel half(site, std::move(kernel));
  const std::size_t bytes = half.workspace_bytes();
  return {[half = std::move(half)](const KernelArgs& args) { half.run(args); }, bytes};
}

}  // namespace

void register_half_kernels(KernelRegistry& registry) {
  for (const OpDef* op : op_registry().all())
    for (const DType dtype : {float16, bfloat16})
      if (!op->traits.fused && registry.has(op->name, kCpu, float32) &&
          !registry.has(op->name, kCpu, dtype))
        registry.add(op->name, kCpu, {dtype}, make_half);
}

}  // namespace gradgraph
