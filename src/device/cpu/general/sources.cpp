#include <cstring>

#include "device/cpu/kernels.h"
#include "device/parallel.h"
#include "device/shared/elements.h"
#include "device/shared/scalar_functors.h"

/// Updates of variables. Input 0 and output 0 are the variable's own memory.
namespace gradgraph {
namespace {

Kernel make_assign(const KernelSite& site) {
  const std::size_t bytes = output_bytes(site);
  return {[bytes](const KernelArgs& args) {
    if (bytes > 0) std::memcpy(args.outputs[0], args.inputs[1], bytes);
  }};
}

template <class Functor>
Kernel make_update(const KernelSite& site) {
  return dispatch<float, double, std::int32_t, std::int64_t, std::uint8_t>(
      site.output_dtype(), [&]<class T>() -> Kernel {
        const std::int64_t count = site.output_shape().num_elements();
        return {[count, threads = site.threads()](const KernelArgs& args) {
          T* variable = args.output<T>();
          const T* delta = args.input<T>(1);
          parallel_for(count, kParallelGrain, threads, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
              variable[i] = Functor{}(variable[i], delta[i]);
          });
        }};
      });
}

}  // namespace

void register_source_kernels(KernelRegistry& registry) {
  registry.add("assign", kCpu, kAllDTypes, make_assign);
  registry.add("assign_add", kCpu, {float32, float64, int32, int64, uint8},
               make_update<functors::Add>);
  registry.add("assign_sub", kCpu, {float32, float64, int32, int64, uint8},
               make_update<functors::Sub>);
}

}  // namespace gradgraph
