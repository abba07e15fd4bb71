#pragma once

#include <memory>

#include "passes/node_sweep.h"

/// The passes that look at one node at a time, each in a file of its own.
namespace gradgraph {

/// A bias is added by an op that broadcasts, and that fuses.
std::unique_ptr<NodePass> make_lower_bias_add();
/// Arithmetic: x * 1, -(-x), log(softmax(x)), ...
std::unique_ptr<NodePass> make_simplify();
/// Reshapes, transposes, broadcasts and casts that can go, or be part of their reader.
std::unique_ptr<NodePass> make_eliminate_moves();
/// Nodes of constants become constants.
std::unique_ptr<NodePass> make_fold_constants();
/// Equal nodes of equal inputs become one.
std::unique_ptr<NodePass> make_eliminate_common();

}  // namespace gradgraph
