#pragma once

#include "device/kernel.h"

namespace gradgraph {

/// Registers the reference kernels, a function per file of this room. They come before all other
/// kernels of their ops. (Movement registers both kinds itself: they differ in how they copy.)
void register_reference_kernels(KernelRegistry& registry);

void register_reference_indexing(KernelRegistry& registry);
void register_reference_reductions(KernelRegistry& registry);
void register_reference_softmax(KernelRegistry& registry);
void register_reference_sorting(KernelRegistry& registry);
void register_reference_standardize(KernelRegistry& registry);
void register_reference_windows(KernelRegistry& registry);  ///< convolution and pooling

}  // namespace gradgraph
