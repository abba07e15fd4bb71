#pragma once

#include <string_view>

#include "device/kernel.h"
#include "passes/specialize.h"

namespace gradgraph {

/// A kernel for the site's node on a kind of device that has one; the reference where that is
/// asked for. A value that the kernel refuses while it is made is a RunError that names the node.
Kernel make_kernel(const KernelSite& site, std::string_view device_kind, bool reference = false);

/// Runs nodes of constants on the host, for folding.
Evaluator host_evaluator();

}  // namespace gradgraph
