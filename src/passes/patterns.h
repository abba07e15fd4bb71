#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gradgraph/op.h"

namespace gradgraph {

/// "add(x, neg(y))": an op of expressions. Small letters stand for any value, capital ones for
/// constants, numbers for constants with that number in every element.
struct Expression {
  enum class Kind : std::uint8_t { op, variable, constant, number } kind = Kind::op;
  const OpDef* op = nullptr;
  std::size_t variable = 0;  ///< which letter, of either kind
  double number = 0;
  std::vector<Expression> operands;

  static constexpr std::size_t kLetters = 26;
};

/// Throws BuildError for text that is no expression.
Expression parse_expression(std::string_view text);

/// What the letters of a pattern stand for.
struct Match {
  std::array<Output, Expression::kLetters> values;
  /// Of the last matched op that has some: "log(softmax(x))" gives those of the softmax.
  const Attributes* attributes = nullptr;

  const Output& value(char letter) const;
};

/// The first element of a tensor that has some, as a scalar.
Tensor first_element(const Tensor& tensor);

/// Matches expressions, and remembers which constants are one number throughout.
class Matcher {
 public:
  std::optional<Match> match(const Expression& pattern, const Node& node);
  /// The number in every element of a constant; nullopt for everything else.
  std::optional<double> uniform_value(const Output& value);

 private:
  bool matches(const Expression& pattern, const Output& value, Match& match);
  bool matches_operands(const Expression& pattern, const Node& node, Match& match);

  std::unordered_map<const Node*, std::optional<double>> uniform_;
};

}  // namespace gradgraph
