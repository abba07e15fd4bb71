#pragma once

#include <string>
#include <string_view>

#include "gradgraph/dot.h"
#include "messages.h"

namespace gradgraph::tests {

/// The picture of a graph as text.
std::string dot(const Graph& graph, const DotOptions& options = {});

/// How often `part` is in `text`.
std::size_t count(const std::string& text, std::string_view part);

/// Draws with Graphviz, which must have nothing to complain of, and returns the SVG; empty, with
/// a message, where there is no Graphviz.
std::string draw(const std::string& text);

}  // namespace gradgraph::tests
