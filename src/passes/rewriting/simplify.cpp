#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "ops/builders.h"
#include "passes/rewrites.h"
#include "passes/rewriting/known_op.h"

/// Replaces expressions by cheaper ones of the same value: to the bit, but for the few rules
/// whose effect says otherwise. x * 0 stays, since x may be infinite or negative, and so does
/// x + 0, as -0 + 0 is 0.
namespace gradgraph {
namespace {

bool is_float(const Node& node, const Match&, Matcher&) { return is_floating(node.dtype()); }
bool is_integer(const Node& node, const Match&, Matcher&) { return !is_floating(node.dtype()); }

/// Dividing by it is multiplying by its reciprocal, to the bit.
bool is_power_of_two(const Node& node, const Match& match, Matcher& matcher) {
  const auto number = matcher.uniform_value(match.value('C'));
  int exponent = 0;
  return number && !constant_value(match.value('x')) && is_floating(node.dtype()) &&
         std::fabs(std::frexp(*number, &exponent)) == 0.5 && std::abs(exponent) < 100;
}

constexpr Rule kRules[] = {
    {"add(x, 0)", "x", is_integer},
    {"add(x, -0)", "x"},
    {"sub(x, 0)", "x"},
    {"sub(0, x)", "neg(x)", is_integer},
    {"sub(-0, x)", "neg(x)"},
    {"sub(x, x)", "0", is_integer},
    {"add(x, neg(y))", "sub(x, y)"},
    {"sub(x, neg(y))", "add(x, y)"},
    {"sub(neg(x), C)", "sub(neg(C), x)"},
    {"neg(sub(x, y))", "sub(y, x)", is_integer},
    {"neg(neg(x))", "x"},
    {"add(add(x, C), D)", "add(x, add(C, D))", is_integer},

    {"mul(x, 1)", "x"},
    {"mul(x, -1)", "neg(x)", is_float},
    {"mul(x, 0)", "0", is_integer},
    {"mul(x, x)", "square(x)"},
    {"mul(neg(x), neg(y))", "mul(x, y)"},
    {"mul(neg(x), C)", "mul(x, neg(C))"},
    {"neg(mul(x, C))", "mul(x, neg(C))"},
    {"mul(mul(x, C), D)", "mul(x, mul(C, D))", is_integer},

    {"div(x, 1)", "x"},
    {"div(x, -1)", "neg(x)", is_float},
    {"div(x, C)", "mul(x, div(1, C))", is_power_of_two},
    {"div(neg(x), neg(y))", "div(x, y)", is_float},
    {"div(neg(x), C)", "div(x, neg(C))", is_float},
    {"div(1, sqrt(x))", "rsqrt(x)"},

    {"pow(x, 1)", "x", nullptr, Effect::rounds},
    {"pow(x, 2)", "square(x)", nullptr, Effect::rounds},
    {"pow(x, 3)", "mul(x, square(x))", nullptr, Effect::rounds},
    {"pow(x, -1)", "div(1, x)", is_float, Effect::rounds},
    {"square(neg(x))", "square(x)"},
    {"square(abs(x))", "square(x)"},
    {"abs(neg(x))", "abs(x)", is_float},
    {"abs(abs(x))", "abs(x)"},
    {"cos(neg(x))", "cos(x)"},
    {"sign(sign(x))", "sign(x)"},
    {"relu(relu(x))", "relu(x)"},
    // Of two zeros "maximum" gives the second, and relu its operand.
    {"maximum(0, x)", "relu(x)"},
    {"maximum(x, 0)", "relu(x)", is_integer},
    {"maximum(x, x)", "x"},
    {"minimum(x, x)", "x"},
    {"log(softmax[axis](x))", "log_softmax[axis](x)", nullptr, Effect::improves},

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
    {"dropout_mask[dtype,rate](s, 0)", "1"},
};

/// A rule ready for use.
struct ParsedRule {
  Expression pattern, result;
  const Rule* rule;
  std::string text;
  std::vector<std::size_t> dropped = {};  ///< what the pattern reads and the result does not
};

void mark_letters(const Expression& expression, std::array<bool, Expression::kLetters>& seen) {
  if (expression.kind == Expression::Kind::variable) seen[expression.variable] = true;
  for (const Expression& operand : expression.operands) mark_letters(operand, seen);
}

std::vector<std::size_t> find_dropped(const Expression& pattern, const Expression& result) {
  std::array<bool, Expression::kLetters> before{}, after{};
  mark_letters(pattern, before);
  mark_letters(result, after);
  std::vector<std::size_t> dropped;
  for (std::size_t letter = 0; letter < Expression::kLetters; ++letter)
    if (before[letter] && !after[letter]) dropped.push_back(letter);
  return dropped;
}

using Rules = std::unordered_map<const OpDef*, std::vector<ParsedRule>>;

/// By the op that the pattern begins with.
const Rules& rules() {
  static const Rules parsed = [] {
    Rules by_op;
    for (const Rule& rule : kRules) {
      Expression pattern = parse_expression(rule.pattern);
      const OpDef* op = pattern.op;
      by_op[op].push_back({std::move(pattern), parse_expression(rule.result), &rule,
                           std::string(rule.pattern) + " -> " + rule.result});
      ParsedRule& parsed_rule = by_op[op].back();
      parsed_rule.dropped = find_dropped(parsed_rule.pattern, parsed_rule.result);
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
    case float16:
    case bfloat16: return to == from || to == float32 || to == float64;
  }
  return false;
}

/// A cast from `from` to `to` gives what one through `between` does. Integers wrap around in
/// smaller ones, where floats end at the largest.
bool skips(DType from, DType between, DType to) {
  const bool goes_around = !is_floating(from) && is_floating(between) && !is_floating(to);
  return loses_nothing(from, between) &&
         (!goes_around || to == boolean || loses_nothing(from, to));
}

class Simplify : public NodePass {
 public:
  NodeRewrite rewrite(Node& node, NodeSweep& sweep) override {
    if (&node.op() == &cast_.op()) return rewrite_cast(node, sweep);
    const auto candidates = rules_.find(&node.op());
    if (candidates == rules_.end()) return {};
    for (const ParsedRule& parsed : candidates->second) {
      const Rule& rule = *parsed.rule;
      if (rule.effect == Effect::improves && sweep.context().exact) continue;
      const auto match = matcher_.match(parsed.pattern, node);
      if (!match || (rule.holds && !rule.holds(node, *match, matcher_))) continue;
      const auto can_drop = [&](std::size_t letter) {
        return sweep.can_drop(match->values[letter]);
      };
      if (!std::ranges::all_of(parsed.dropped, can_drop)) continue;
      const Output value = build(parsed.result, node, *match, sweep);
      return {sweep.broadcast(node, value, node.shape()), parsed.text};
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
    Attributes attributes;
    for (const std::string_view name : result.attributes)
      attributes.set(name, *match.attributes.find(name));
    return sweep.make(node, *result.op, inputs, std::move(attributes));
  }

  NodeRewrite rewrite_cast(Node& node, NodeSweep& sweep) const {
    const Output x = node.input(0);
    if (!cast_.matches(node)) return {};
    if (x.dtype() == node.dtype()) return {x, "a cast to the same dtype"};
    if (!cast_.matches(x.node())) return {};
    const Output from = x.node().input(0);
    if (!skips(from.dtype(), x.dtype(), node.dtype())) return {};
    constexpr std::string_view kRule = "a cast of a cast that loses nothing";
    if (from.dtype() == node.dtype()) return {from, kRule};
    return {sweep.make(node, cast_.op(), {from}, node.attributes()), kRule};
  }

  const Rules& rules_ = rules();
  const KnownOp cast_{"cast", {"dtype"}};
  Matcher matcher_;
};

}  // namespace

std::span<const Rule> simplify_rules() { return kRules; }

std::unique_ptr<NodePass> make_simplify() { return std::make_unique<Simplify>(); }

}  // namespace gradgraph
