#include "passes/rewriting/patterns.h"

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/convert.h"
#include "core/text.h"
#include "ops/builders.h"
#include "passes/rewriting/known_op.h"

namespace gradgraph {
namespace {

std::size_t letter_index(char letter) {
  return static_cast<std::size_t>(std::tolower(static_cast<unsigned char>(letter)) - 'a');
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Expression parse_all() {
    Expression expression = parse();
    if (position_ != text_.size()) fail();
    return expression;
  }

 private:
  Expression parse() {
    const std::string word(take_word());
    Expression expression;
    const auto first = static_cast<unsigned char>(word[0]);
    if (std::isdigit(first) != 0 || first == '-') {
      expression.kind = Expression::Kind::number;
      expression.number = std::strtod(word.c_str(), nullptr);
    } else if (word.size() == 1) {
      expression.kind =
          std::isupper(first) != 0 ? Expression::Kind::constant : Expression::Kind::variable;
      expression.variable = letter_index(word[0]);
    } else {
      expression.op = &op_registry().at(word);
      parse_attributes(expression);
      parse_operands(expression);
    }
    return expression;
  }

  std::string_view take_word() {
    const std::size_t begin = position_;
    while (position_ < text_.size() && std::strchr("()[], ", text_[position_]) == nullptr)
      ++position_;
    if (position_ == begin) fail();
    return text_.substr(begin, position_ - begin);
  }

  void parse_attributes(Expression& expression) {
    if (peek() != '[') return;
    do {
      ++position_;
      expression.attributes.push_back(take_word());
    } while (peek() == ',');
    take(']');
  }

  void parse_operands(Expression& expression) {
    take('(');
    while (true) {
      expression.operands.push_back(parse());
      if (peek() != ',') break;
      take(',');
      take(' ');
    }
    take(')');
  }

  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  void take(char wanted) {
    if (peek() != wanted) fail();
    ++position_;
  }
  [[noreturn]] void fail() const {
    throw BuildError(fmt::format("'{}' is no expression, from character {}", text_, position_));
  }

  std::string_view text_;
  std::size_t position_ = 0;
};

}  // namespace

Expression parse_expression(std::string_view text) { return Parser(text).parse_all(); }

const Output& Match::value(char letter) const { return values[letter_index(letter)]; }

Tensor first_element(const Tensor& tensor) {
  Tensor first(tensor.dtype(), {});
  std::memcpy(first.raw(), tensor.raw(), size_of(tensor.dtype()));
  return first;
}

namespace {
double first_number(const Tensor& tensor) {
  return visit_dtype(tensor.dtype(), [&]<class T>() {
    return convert<double>(*static_cast<const T*>(tensor.raw()));
  });
}
}  // namespace

std::optional<double> Matcher::uniform_value(const Output& value) {
  const Tensor* tensor = constant_value(value);
  if (!tensor || tensor->num_elements() == 0) return std::nullopt;
  if (tensor->num_elements() == 1) return first_number(*tensor);
  const auto [known, is_new] = uniform_.try_emplace(&value.node());
  if (is_new) {
    const auto* bytes = static_cast<const char*>(tensor->raw());
    const std::size_t size = size_of(tensor->dtype());
    // Equal to itself one element further on: all elements are equal.
    if (std::memcmp(bytes, bytes + size, tensor->bytes() - size) == 0)
      known->second = first_number(*tensor);
  }
  return known->second;
}

std::optional<Match> Matcher::match(const Expression& pattern, const Node& node) {
  Match match;
  if (!matches_node(pattern, node, match)) return std::nullopt;
  return match;
}

bool Matcher::matches(const Expression& pattern, const Output& value, Match& match) {
  switch (pattern.kind) {
    case Expression::Kind::number: {
      const auto number = uniform_value(value);
      return number == pattern.number && std::signbit(*number) == std::signbit(pattern.number);
    }
    case Expression::Kind::constant:
      if (!constant_value(value)) return false;
      [[fallthrough]];
    case Expression::Kind::variable: {
      Output& known = match.values[pattern.variable];
      if (!known) known = value;
      return known == value;
    }
    case Expression::Kind::op: return matches_node(pattern, value.node(), match);
  }
  __builtin_unreachable();
}

bool Matcher::matches_node(const Expression& pattern, const Node& node, Match& match) {
  if (&node.op() != pattern.op || !node.control_inputs().empty() ||
      !has_exactly(node.attributes(), pattern.attributes) ||
      !matches_operands(pattern, node, match))
    return false;
  for (const auto& [name, value] : node.attributes()) {
    const Attribute* known = match.attributes.find(name);
    if (known && !same_value(*known, value)) return false;
    if (!known) match.attributes.set(name, value);
  }
  return true;
}

bool Matcher::matches_operands(const Expression& pattern, const Node& node, Match& match) {
  const auto match_in_order = [&](bool swapped) {
    const Match before = match;
    const auto count = static_cast<int>(pattern.operands.size());
    for (int i = 0; i < count; ++i) {
      const Output& input = node.input(swapped ? count - 1 - i : i);
      if (matches(pattern.operands[static_cast<std::size_t>(i)], input, match)) continue;
      match = before;
      return false;
    }
    return true;
  };
  if (node.num_inputs() != static_cast<int>(pattern.operands.size())) return false;
  return match_in_order(false) || (node.op().traits.commutative && match_in_order(true));
}

}  // namespace gradgraph
