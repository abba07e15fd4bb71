#pragma once

#include <string_view>

#include "device/kernel.h"
#include "passes/specialize.h"

namespace gradgraph {

/// A kernel for `node` on a kind of device that has one; the reference where that is asked for. A
/// value that the kernel refuses while it is made is a RunError that names the node.
Kernel make_kernel(const Node& node, std::string_view device_kind, int threads,
                   bool reference = false, const Device* device = nullptr,
                   std::span<const Kernel> subgraphs = {});

/// Runs nodes of constants on the host, for folding.
Evaluator host_evaluator();

}  // namespace gradgraph
