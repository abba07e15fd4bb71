#pragma once

#include <cstdint>

#include "gradgraph/gradgraph.h"

/// A hash of the bits of every variable (FNV-1a).
inline std::uint64_t weights_hash(gradgraph::Graph& graph, gradgraph::Session& session) {
  std::uint64_t hash = 14695981039346656037U;
  for (gradgraph::Node& node : graph.nodes()) {
    if (node.op().name != "variable") continue;
    const gradgraph::Tensor value = session.value(node.output());
    const auto* bytes = static_cast<const unsigned char*>(value.raw());
    for (std::size_t i = 0; i < value.bytes(); ++i) hash = (hash ^ bytes[i]) * 1099511628211U;
  }
  return hash;
}
