#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "passes/rewriting/node_sweep.h"
#include "passes/rewriting/patterns.h"

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

/// What a rule may change of a value.
enum class Effect : std::uint8_t {
  exact,     ///< no bit, but for the kind of a NaN
  rounds,    ///< its last digits
  improves,  ///< more, for the better: left out where SessionOptions::exact_rewrites asks for it
};

/// A rule of simplify, in the words of parse_expression.
struct Rule {
  const char* pattern;
  const char* result;
  /// For which dtypes and constants it holds; null: always.
  bool (*holds)(const Node& node, const Match& match, Matcher& matcher) = nullptr;
  Effect effect = Effect::exact;
};

/// All of them, for tests.
std::span<const Rule> simplify_rules();

}  // namespace gradgraph
