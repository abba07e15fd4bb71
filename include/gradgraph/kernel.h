#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "gradgraph/op.h"

/// Kernels for a program's own ops, on the CPU. docs/adding_an_op.md walks through one.
namespace gradgraph GRADGRAPH_API {

/// The node that a kernel is made for: all shapes are known.
struct KernelNode {
  std::vector<OutputType> inputs, outputs;
  /// The values of inputs that the op names in Traits::static_inputs, int64 vectors; the others
  /// are empty.
  std::vector<std::vector<std::int64_t>> static_values;
  Attributes attributes;
  int threads = 1;  ///< that the kernel may use
};

/// What one call of a kernel reads and writes. Inputs and outputs are contiguous and row-major;
/// their memory may differ from call to call. An input and an output are the same memory only
/// where Traits::in_place allows it.
class KernelCall {
 public:
  KernelCall(const KernelNode& node, const void* const* inputs, void* const* outputs,
             void* workspace)
      : node_(node), inputs_(inputs), outputs_(outputs), workspace_(workspace) {}

  /// The elements of input i. Throws RunError when T is not its dtype.
  template <Element T>
  std::span<const T> input(int i) const {
    const OutputType& type = node_.inputs[static_cast<std::size_t>(i)];
    check_dtype("input", i, type.dtype, dtype_of<T>);
    return {static_cast<const T*>(inputs_[i]), elements(type)};
  }
  template <Element T>
  std::span<T> output(int i = 0) const {
    const OutputType& type = node_.outputs[static_cast<std::size_t>(i)];
    check_dtype("output", i, type.dtype, dtype_of<T>);
    return {static_cast<T*>(outputs_[i]), elements(type)};
  }
  /// CpuKernel::workspace_bytes of memory, aligned to 64 bytes, whose content is anything.
  void* workspace() const { return workspace_; }

 private:
  static void check_dtype(const char* role, int i, DType dtype, DType wanted) {
    if (dtype != wanted) fail_dtype(role, i, dtype, wanted);
  }
  [[noreturn]] static void fail_dtype(const char* role, int i, DType dtype, DType wanted);
  static std::size_t elements(const OutputType& type) {
    return static_cast<std::size_t>(type.shape.num_elements());
  }

  const KernelNode& node_;
  const void* const* inputs_;
  void* const* outputs_;
  void* workspace_;
};

/// A kernel for one node. `run` is called in every step, by one thread at a time, and should not
/// allocate. What it throws as a gradgraph::Error ends the run with a RunError that has op, node,
/// shapes and the user's line before and behind the message; then the op must have
/// Traits::may_fail, so that variables keep their values.
struct CpuKernel {
  std::function<void(const KernelCall&)> run;
  std::size_t workspace_bytes = 0;
};

/// Makes a kernel for a node, once per node and set of shapes: what can be worked out ahead is
/// worked out there.
using MakeCpuKernel = std::function<CpuKernel(const KernelNode&)>;

/// Gives `op` a kernel on the CPU for each of `dtypes`: those of the node's first input that is
/// not static, or of its output where there is none (Traits::kernel_input). To be called before
/// sessions run, once per op and dtype: throws BuildError where there is a kernel already.
void register_cpu_kernel(std::string_view op, std::initializer_list<DType> dtypes,
                         MakeCpuKernel make);

namespace kernel_detail {
using RangeCall = void (*)(void* body, std::int64_t begin, std::int64_t end);
void run_parallel(std::int64_t count, std::int64_t grain, int threads, void* body,
                  RangeCall call);
}  // namespace kernel_detail

template <class F>
concept RangeFunction = std::invocable<F&, std::int64_t, std::int64_t>;

/// Calls `body(begin, end)` for parts of [0, count), each `grain` long or more, on up to
/// `threads` threads of the library's pool. Where parts end depends on the number of threads;
/// results must not, so what `body` makes of an element must not depend on the part that it is
/// in. `body` must not throw.
template <RangeFunction Body>
void run_parallel(std::int64_t count, std::int64_t grain, int threads, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  kernel_detail::run_parallel(count, grain, threads,
                              const_cast<std::remove_const_t<Plain>*>(&body),
                              [](void* called, std::int64_t begin, std::int64_t end) {
                                (*static_cast<Plain*>(called))(begin, end);
                              });
}

}  // namespace gradgraph
