#include <array>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "ops/builders.h"
#include "passes/patterns.h"
#include "passes/rewrites.h"

/// Replaces expressions by cheaper ones of the same value. What may overflow, vanish or be NaN
/// in one form does so in the other; x * 0 stays, since x may be infinite.
namespace gradgraph {
namespace {

/// When a rule holds: for which dtypes and constants.
using Condition = bool (*)(const Node& node, const Match& match, Matcher& matcher);

bool is_float(const Node& node, const Match&, Matcher&) { return is_floating(node.dtype()); }
bool is_integer(const Node& node, const Match&, Matcher&) { return !is_floating(node.dtype()); }

/// The constants are so far from the ends of the range that products of two of them, and what
/// they are multiplied with, lose nothing but a rounding. Integers wrap around in any order.
bool is_moderate(const Node& node, const Match& match, Matcher& matcher) {
  if (!is_floating(node.dtype())) return true;
  for (const char letter : {'C', 'D'}) {
    const auto number = matcher.uniform_value(match.value(letter));
    if (!number || !(std::fabs(*number) >= 0x1p-24 && std::fabs(*number) <= 0x1p24)) return false;
  }
  return true;
}
bool is_moderate_float(const Node& node, const Match& match, Matcher& matcher) {
  return is_floating(node.dtype()) && is_moderate(node, match, matcher);
}

/// Dividing by it is multiplying by its reciprocal, to the bit.
bool is_power_of_two(const Node& node, const Match& match, Matcher& matcher) {
  const auto number = matcher.uniform_value(match.value('C'));
  int exponent = 0;
  return number && !constant_value(match.value('x')) && is_floating(node.dtype()) &&
         std::fabs(std::frexp(*number, &exponent)) == 0.5 && std::abs(exponent) < 100;
}

struct Rule {
  const char* pattern;
  const char* result;
  Condition holds = nullptr;  ///< null: always
};

constexpr Rule kRules[] = {
    {"add(x, 0)", "x"},
    {"sub(x, 0)", "x"},
    {"sub(0, x)", "neg(x)"},
    {"sub(x, x)", "0", is_integer},
    {"add(x, neg(y))", "sub(x, y)"},
    {"sub(x, neg(y))", "add(x, y)"},
    {"sub(neg(x), C)", "sub(neg(C), x)"},
    {"neg(sub(x, y))", "sub(y, x)"},
    {"neg(neg(x))", "x"},
    {"add(add(x, C), D)", "add(x, add(C, D))", is_integer},

    {"mul(x, 1)", "x"},
    {"mul(x, -1)", "neg(x)", is_float},
    {"mul(x, 0)", "0", is_integer},
    {"mul(x, x)", "square(x)"},
    {"mul(neg(x), neg(y))", "mul(x, y)"},
    {"mul(neg(x), C)", "mul(x, neg(C))"},
    {"neg(mul(x, C))", "mul(x, neg(C))"},
    {"mul(mul(x, C), D)", "mul(x, mul(C, D))", is_moderate},
    {"mul(div(x, C), D)", "mul(x, div(D, C))", is_moderate_float},

    {"div(x, 1)", "x"},
    {"div(x, -1)", "neg(x)", is_float},
    {"div(x, C)", "mul(x, div(1, C))", is_power_of_two},
    {"div(neg(x), neg(y))", "div(x, y)", is_float},
    {"div(neg(x), C)", "div(x, neg(C))", is_float},
    {"div(mul(x, C), D)", "mul(x, div(C, D))", is_moderate_float},
    {"div(div(x, C), D)", "div(x, mul(C, D))", is_moderate_float},
    {"div(1, sqrt(x))", "rsqrt(x)"},

    {"pow(x, 1)", "x"},
    {"pow(x, 2)", "square(x)"},
    {"pow(x, 3)", "mul(x, square(x))"},
    {"pow(x, -1)", "div(1, x)", is_float},
    {"square(neg(x))", "square(x)"},
    {"square(abs(x))", "square(x)"},
    {"abs(neg(x))", "abs(x)", is_float},
    {"abs(abs(x))", "abs(x)"},
    {"cos(neg(x))", "cos(x)"},
    {"sign(sign(x))", "sign(x)"},
    {"relu(relu(x))", "relu(x)"},
    {"maximum(x, 0)", "relu(x)"},
    {"maximum(x, x)", "x"},
    {"minimum(x, x)", "x"},
    {"log(softmax(x))", "log_softmax(x)"},

    {"logical_not(logical_not(x))", "x"},
    {"logical_not(equal(x, y))", "not_equal(x, y)"},
    {"logical_not(not_equal(x, y))", "equal(x, y)"},
    {"logical_and(x, x)", "x"},
    {"logical_and(x, 1)", "x"},
    {"logical_and(x, 0)", "0"},
    {"logical_or(x, x)", "x"},
    {"logical_or(x, 0)", "x"},
    {"logical_or(x, 1)", "1"},
    {"where(logical_not(c), x, y)", "where(c, y, x)"},
    {"where(c, x, x)", "x"},
    {"where(1, x, y)", "x"},
    {"where(0, x, y)", "y"},
    // Without training nothing is dropped.
    {"dropout_mask(s, 0)", "1"},
};

/// A rule ready for use.
struct ParsedRule {
  Expression pattern, result;
  Condition holds;
  std::string text;
};

using Rules = std::unordered_map<const OpDef*, std::vector<ParsedRule>>;

/// By the op that the pattern begins with.
const Rules& rules() {
  static const Rules parsed = [] {
    Rules by_op;
    for (const Rule& rule : kRules) {
      Expression pattern = parse_expression(rule.pattern);
      const OpDef* op = pattern.op;
      by_op[op].push_back({std::move(pattern), parse_expression(rule.result), rule.holds,
                           std::string(rule.pattern) + " -> " + rule.result});
    }
    return by_op;
  }();
  return parsed;
}

/// Every value of `from` is one of `to` as well.
bool loses_nothing(DType from, DType to) {
  switch (from) {
    case boolean: return true;
    case uint8: return to != boolean;
    case int32: return to == int32 || to == int64 || to == float64;
    case int64: return to == int64;
    case float32: return to == float32 || to == float64;
    case float64: return to == float64;
  }
  return false;
}

class Simplify : public NodePass {
 public:
  NodeRewrite rewrite(Node& node, NodeSweep& sweep) override {
    if (&node.op() == cast_) return rewrite_cast(node, sweep);
    const auto candidates = rules_.find(&node.op());
    if (candidates == rules_.end()) return {};
    for (const ParsedRule& rule : candidates->second) {
      const auto match = matcher_.match(rule.pattern, node);
      if (!match || (rule.holds && !rule.holds(node, *match, matcher_))) continue;
      const Output value = build(rule.result, node, *match, sweep);
      return {sweep.broadcast(node, value, node.shape()), rule.text};
    }
    return {};
  }

 private:
  static Output build(const Expression& result, const Node& node, const Match& match,
                      NodeSweep& sweep) {
    switch (result.kind) {
      case Expression::Kind::variable:
      case Expression::Kind::constant: return match.values[result.variable];
      case Expression::Kind::number:
        return sweep.constant(node, Tensor::full(node.dtype(), {}, result.number));
      case Expression::Kind::op: break;
    }
    std::vector<Output> inputs;
    for (const Expression& operand : result.operands)
      inputs.push_back(build(operand, node, match, sweep));
    return sweep.make(node, *result.op, inputs,
                      match.attributes ? *match.attributes : Attributes());
  }

  NodeRewrite rewrite_cast(Node& node, NodeSweep& sweep) const {
    const Output x = node.input(0);
    if (x.dtype() == node.dtype()) return {x, "a cast to the same dtype"};
    if (&x.node().op() != cast_ || !is_transparent(x.node())) return {};
    const Output from = x.node().input(0);
    if (!loses_nothing(from.dtype(), x.dtype())) return {};
    constexpr std::string_view kRule = "a cast of a cast that loses nothing";
    if (from.dtype() == node.dtype()) return {from, kRule};
    return {sweep.make(node, *cast_, {from}, node.attributes()), kRule};
  }

  const Rules& rules_ = rules();
  const OpDef* cast_ = &op_registry().at("cast");
  Matcher matcher_;
};

}  // namespace

std::unique_ptr<NodePass> make_simplify() { return std::make_unique<Simplify>(); }

}  // namespace gradgraph
