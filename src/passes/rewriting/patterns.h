#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gradgraph/op.h"

namespace gradgraph {

/// "add(x, neg(y))": an op of expressions. Small letters stand for any value, capital ones for
/// constants, numbers for constants with that number in every element; 0 and -0 are two numbers.
/// "softmax[axis](x)" names all attributes of a softmax: a node with others does not match.
struct Expression {
  enum class Kind : std::uint8_t { op, variable, constant, number } kind = Kind::op;
  const OpDef* op = nullptr;
  std::size_t variable = 0;  ///< which letter, of either kind
  double number = 0;
  std::vector<std::string_view> attributes;  ///< parts of the text that was parsed
  std::vector<Expression> operands;

  static constexpr std::size_t kLetters = 26;
};

/// Throws BuildError for text that is no expression. The text must live on.
Expression parse_expression(std::string_view text);

/// What the letters of a pattern stand for, and the attributes that it names.
struct Match {
  std::array<Output, Expression::kLetters> values;
  Attributes attributes;

  const Output& value(char letter) const;
};

/// The first element of a tensor that has some, as a scalar.
Tensor first_element(const Tensor& tensor);

/// Matches expressions, and remembers which constants are one number throughout. Nodes with
/// control inputs match nothing but a letter.
class Matcher {
 public:
  std::optional<Match> match(const Expression& pattern, const Node& node);
  /// The number in every element of a constant; nullopt for everything else.
  std::optional<double> uniform_value(const Output& value);

 private:
  bool matches(const Expression& pattern, const Output& value, Match& match);
  bool matches_node(const Expression& pattern, const Node& node, Match& match);
  bool matches_operands(const Expression& pattern, const Node& node, Match& match);

  std::unordered_map<const Node*, std::optional<double>> uniform_;
};

}  // namespace gradgraph
