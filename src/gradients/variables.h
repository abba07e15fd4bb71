#pragma once

#include <string_view>

#include "gradgraph/graph.h"

namespace gradgraph {

/// Whether the variable's name fits a pattern, in which "*" stands for any text and "?" for a
/// character.
bool fits(std::string_view pattern, const Output& variable);

/// Whether running `op` can change variables, as a train op does: it is an update, or nothing but
/// what it waits for.
bool may_train(const Output& op);

}  // namespace gradgraph
