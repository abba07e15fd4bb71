#include "device/shared/half_kernels.h"

#include "device/cpu/elementwise/loops.h"
#include "device/cpu/kernels.h"
#include "device/parallel.h"

namespace gradgraph {
namespace {

Conversion make_conversion(DType from_dtype, DType to_dtype, std::int64_t count, int threads) {
  return [=, loop = find_loop("cast", from_dtype, to_dtype)](const KernelArgs&, const void* from,
                                                             void* to) {
    parallel_for(count, kParallelGrain, threads, [&](std::int64_t begin, std::int64_t end) {
      const auto first = static_cast<std::size_t>(begin);
      const void* operand = static_cast<const char*>(from) + first * size_of(from_dtype);
      loop(&operand, 1, static_cast<char*>(to) + first * size_of(to_dtype), end - begin);
    });
  };
}

}  // namespace

void register_half_kernels(KernelRegistry& registry) {
  add_half_kernels(registry, kCpu, make_conversion);
}

}  // namespace gradgraph
