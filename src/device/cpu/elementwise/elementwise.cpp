#include <algorithm>
#include <array>
#include <atomic>

#include "device/cpu/broadcast.h"
#include "device/cpu/elementwise/rows.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/scalar_functors.h"

namespace gradgraph {
namespace {

using std::int64_t;

constexpr std::size_t kMaxOperands = 3;

/// `refusal` is what to say when the op refuses an operand.
Kernel elementwise_kernel(const KernelSite& site, const char* refusal) {
  // No functor takes more, which a compiler cannot know.
  const auto operands = std::min(static_cast<std::size_t>(site.num_inputs()), kMaxOperands);
  std::array<Shape, kMaxOperands> shapes;
  std::array<int64_t, kMaxOperands> sizes{};
  for (std::size_t i = 0; i < operands; ++i) {
    shapes[i] = site.input_shape(static_cast<int>(i));
    sizes[i] = static_cast<int64_t>(size_of(site.input_dtype(static_cast<int>(i))));
  }
  const Broadcast<kMaxOperands> walk(site.output_shape(), shapes);
  unsigned moves = 0;
  for (std::size_t i = 0; i < operands; ++i)
    if (walk.inner_steps()[i] == 1) moves |= 1u << i;

  const Row row = find_row(site.node().op().name, site.input_dtype(site.num_inputs() - 1),
                           site.output_dtype());
  const int64_t count = site.output_shape().num_elements();
  const auto result_size = static_cast<int64_t>(size_of(site.output_dtype()));
  const int threads = site.threads();
  if (walk.is_one_row() && count < 2 * kParallelGrain)
    return {[=](const KernelArgs& args) {
      if (!row(args.inputs.data(), moves, args.outputs[0], count)) throw KernelError(refusal);
    }};
  return {[=](const KernelArgs& args) {
    std::atomic<bool> refused{false};
    parallel_for(count, kParallelGrain, threads, [&](int64_t begin, int64_t end) {
      walk.for_rows(begin, end, [&](int64_t position, const auto& from, int64_t length) {
        std::array<const void*, kMaxOperands> at{};
        for (std::size_t i = 0; i < operands; ++i)
          at[i] = args.input<char>(i) + from[i] * sizes[i];
        if (!row(at.data(), moves, args.output<char>() + position * result_size, length))
          refused.store(true, std::memory_order_relaxed);
      });
    });
    if (refused.load(std::memory_order_relaxed)) throw KernelError(refusal);
  }};
}

template <class F, class... T>
void add_op(KernelRegistry& registry, functors::List<T...>) {
  const char* refusal = "";
  if constexpr (requires { F::refusal; }) refusal = F::refusal;
  registry.add(F::op, kCpu, {dtype_of<T>...},
               [refusal](const KernelSite& site) { return elementwise_kernel(site, refusal); });
}

template <class... F>
void add_ops(KernelRegistry& registry, functors::List<F...>) {
  (add_op<F>(registry, typename F::Types{}), ...);
}

}  // namespace

void register_elementwise_kernels(KernelRegistry& registry) {
  add_ops(registry, functors::Unary{});
  add_ops(registry, functors::Arithmetic{});
  add_ops(registry, functors::Comparison{});
  const auto total = [](const KernelSite& site) { return elementwise_kernel(site, ""); };
  registry.add("cast", kCpu, {float32, float64, int32, int64, uint8, boolean}, total);
  registry.add("where", kCpu, {float32, float64, int32, int64, uint8, boolean}, total);
}

}  // namespace gradgraph
