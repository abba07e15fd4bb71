#pragma once

#include <string_view>

#include "gradgraph/graph.h"

namespace gradgraph {

/// Whether the variable's name fits a pattern, in which "*" stands for any text and "?" for a
/// character.
bool fits(std::string_view pattern, const Output& variable);

}  // namespace gradgraph
