#pragma once

#include "device/kernel.h"

/// The CPU's kernels, a function per family, each in a file of the family's name.
namespace gradgraph {

inline constexpr std::string_view kCpu = "cpu";

void register_cpu_kernels(KernelRegistry& registry);  ///< all of them

void register_elementwise_kernels(KernelRegistry& registry);
void register_source_kernels(KernelRegistry& registry);

}  // namespace gradgraph
