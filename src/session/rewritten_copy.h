#pragma once

#include <string_view>
#include <vector>

#include "gradgraph/session.h"
#include "passes/pass_list.h"
#include "passes/specialize.h"

namespace gradgraph {

/// The session's own copy of what `fetches` need, and of the subgraphs in it, as the passes leave
/// them. `options` name a device that is there.
SpecializedGraph rewritten_copy(const Graph& graph, const std::vector<FedValue>& feeds,
                                const std::vector<Output>& fetches, const SessionOptions& options,
                                RewriteLog& log);

/// Whether a device of this kind can have the node: for placement.
bool has_kernel_for(const Node& node, std::string_view device_kind);

}  // namespace gradgraph
