#pragma once

#include <functional>

#include "device/kernel.h"

namespace gradgraph {

/// Converts elements, in the kernel that `args` are for.
using Conversion = std::function<void(const KernelArgs& args, const void* from, void* to)>;
using MakeConversion = Conversion (*)(DType from, DType to, std::int64_t count, int threads);

/// Kernels of float16 and bfloat16 for every op that has one of float32 on devices of `kind` (a
/// literal) and none of theirs: inputs are converted, results rounded. So all sums are float32's.
void add_half_kernels(KernelRegistry& registry, std::string_view kind,
                      MakeConversion make_conversion);

}  // namespace gradgraph
