#include "pass_patterns.h"

#include <map>
#include <utility>

#include "pass_drawing.h"
#include "passes/rewrites.h"

namespace gradgraph::tests {
namespace {

using Fetches = std::vector<Output>;

Output input(Graph& graph, const Shape& shape, DType dtype = float32) {
  return placeholder(graph, dtype, shape);
}

Output number(Graph& graph, double value) {
  return constant(graph, Tensor::full(float32, {}, value));
}

/// A convolution that is pooled, and of the gradients as many as are asked for.
Fetches pooled_convolution(Graph& graph, const Conv2dOptions& options, bool has_gradients,
                           const Pool2dOptions& pairs = {.window = 2, .strides = 2}) {
  const Output x = input(graph, {2, 5, 4, 2}), w = input(graph, {2, 1, 2, 3});
  const Output b = input(graph, {3});
  const Output r = relu(bias_add(conv2d(x, w, options), b));
  const Output p = max_pool2d(r, pairs);
  if (!has_gradients) return {p};
  const Output g = relu_grad(r, max_pool2d_grad(r, input(graph, p.shape()), pairs));
  return {p, conv2d_filter_grad(x, {2, 1, 2, 3}, g, options), sum(g, {0, 1, 2}),
          conv2d_input_grad({2, 5, 4, 2}, w, g, options)};
}

void add_pooling(std::vector<PassPattern>& patterns) {
  const auto add = [&](const char* name, const Conv2dOptions& options, bool has_gradients) {
    patterns.push_back({"fuse_pooling", name, [=](Graph& graph) {
                          return pooled_convolution(graph, options, has_gradients);
                        }});
  };
  add("forward", {}, false);
  add("with gradients", {}, true);
  patterns.push_back({"fuse_pooling", "with gradients, a border of nothing", [](Graph& graph) {
                        return pooled_convolution(
                            graph, {}, true,
                            {.window = 2, .strides = 2, .padding = Padding::explicit_});
                      }});
  add("with gradients, padded", {.padding = Padding::explicit_, .border = {1, 0, 2, 0}}, true);
}

/// The loss and its gradient by the logits.
Fetches with_gradient(Output losses, Output logits) {
  const Output loss = sum(losses);
  return {loss, gradients({loss}, {logits})[0]};
}

void add_cross_entropies(std::vector<PassPattern>& patterns) {
  const auto add = [&](const char* name, Fetches (*build)(Graph&)) {
    patterns.push_back({"fuse_cross_entropy", name, build});
  };
  add("class numbers", [](Graph& graph) {
    const Output x = input(graph, {3, 4}), labels = input(graph, {3}, int64);
    return with_gradient(sparse_softmax_cross_entropy(x, labels) * input(graph, {3}), x);
  });
  add("the gradient alone", [](Graph& graph) {
    const Output x = input(graph, {3, 4}), labels = input(graph, {3}, int32);
    const Output losses = sparse_softmax_cross_entropy(x, labels);
    return Fetches{gradients({mean(losses)}, {x})[0]};
  });
  add("shares", [](Graph& graph) {
    const Output x = input(graph, {3, 4});
    return with_gradient(softmax_cross_entropy(x, input(graph, {3, 4})), x);
  });
  add("written out", [](Graph& graph) {
    const Output x = input(graph, {3, 4});
    return with_gradient(-sum(input(graph, {3, 4}) * log_softmax(x), -1), x);
  });
}

void add_products(std::vector<PassPattern>& patterns) {
  patterns.push_back({"fuse_epilogue", "bias and relu", [](Graph& graph) -> Fetches {
                        const Output a = input(graph, {3, 5}), b = input(graph, {5, 4});
                        return {relu(matmul(a, b) + input(graph, {4}))};
                      }});
  patterns.push_back({"fuse_epilogue", "difference", [](Graph& graph) -> Fetches {
                        const Output a = input(graph, {5, 3}), b = input(graph, {4, 5});
                        return {input(graph, {3, 4}) - matmul(a, b, {true, true})};
                      }});
  patterns.push_back({"fuse_epilogue", "update", [](Graph& graph) -> Fetches {
                        const Output a = input(graph, {3, 5}), b = input(graph, {5, 4});
                        const Output w = variable(graph, Tensor::full(float32, {3, 4}, 2), "w");
                        return {assign_sub(w, matmul(a, b) * 0.5)};
                      }});
}

void add_attentions(std::vector<PassPattern>& patterns) {
  patterns.push_back({"fuse_attention", "with gradients", [](Graph& graph) -> Fetches {
                        const Output q = input(graph, {64, 2}), k = input(graph, {5, 2});
                        const Output v = input(graph, {5, 3});
                        const Output scores = matmul(q, k, {.transpose_b = true}) * 0.5F;
                        const Output seen = greater(input(graph, {64, 5}), 0);
                        const Output y = matmul(softmax(where(seen, scores, -1e9)), v);
                        Fetches fetches = gradients({y}, {q, k, v}, {input(graph, {64, 3})});
                        fetches.push_back(y);
                        return fetches;
                      }});
  patterns.push_back({"fuse_attention", "forward", [](Graph& graph) -> Fetches {
                        const Output q = input(graph, {2, 64, 2}), k = input(graph, {2, 2, 5});
                        const Output scores = matmul(q, k) / number(graph, 3);
                        const Output weights = softmax(scores + input(graph, {2, 1, 5}));
                        return {matmul(weights, input(graph, {2, 5, 3}))};
                      }});
}

void add_sums_of_products(std::vector<PassPattern>& patterns) {
  patterns.push_back({"merge_products", "three", [](Graph& graph) -> Fetches {
                        const Output a = input(graph, {1, 5}), b = input(graph, {1, 6});
                        const Output c = input(graph, {1, 5}), d = input(graph, {1, 6});
                        const MatmulOptions turned = {.transpose_a = true};
                        return {matmul(a, b, turned) + input(graph, {5, 6}) +
                                (matmul(c, d, turned) + matmul(a, d, turned))};
                      }});
  patterns.push_back({"merge_products", "as they are", [](Graph& graph) -> Fetches {
                        const Output a = input(graph, {5, 1}), b = input(graph, {1, 6});
                        return {tanh(matmul(a, b) + matmul(input(graph, {5, 1}), b))};
                      }});
}

void add_elementwise(std::vector<PassPattern>& patterns) {
  patterns.push_back({"fuse_elementwise", "chain", [](Graph& graph) -> Fetches {
                        const Output x = input(graph, {3, 4}), b = input(graph, {4});
                        const Output y = where(less(x, b), tanh(x * b), sqrt(abs(x)) - b);
                        return {maximum(cast(cast(y, float64) / 3.0, float32), x)};
                      }});
  patterns.push_back({"fuse_elementwise", "updates", [](Graph& graph) -> Fetches {
                        const Output v = variable(graph, Tensor{1.f, -2.f, 3.f}, "v");
                        const Output w = variable(graph, Tensor{4.f, 5.f, -6.f}, "w");
                        const Output x = input(graph, {3});
                        const Output first = assign(v, v * 0.5f + x);
                        const Output second = assign_sub(w, x * w);
                        return {group(graph, {first, second}), sum(v) + sum(w)};
                      }});
}

void add_several_results(std::vector<PassPattern>& patterns) {
  patterns.push_back({"merge_elementwise", "siblings", [](Graph& graph) -> Fetches {
                        const Output x = input(graph, {3, 4}), b = input(graph, {4});
                        return {softmax(tanh(x)), softmax(x * b), softmax(x / b)};
                      }});
  patterns.push_back({"merge_elementwise", "a chain that is read", [](Graph& graph) -> Fetches {
                        const Output x = input(graph, {3, 4});
                        const Output y = exp(x), z = y - input(graph, {3, 4});
                        return {softmax(y), softmax(z), softmax(z * y)};
                      }});
  patterns.push_back({"merge_elementwise", "less its mean", [](Graph& graph) -> Fetches {
                        const Output x = input(graph, {3, 4}), y = x * 2.0f;
                        return {softmax(x - max(y)), softmax(abs(y)), softmax(neg(y))};
                      }});
}

void add_parts(std::vector<PassPattern>& patterns) {
  patterns.push_back({"fuse_parts", "a gate", [](Graph& graph) -> Fetches {
                        const auto parts = split(input(graph, {3, 8}), {4, 4}, 1);
                        return {softmax(tanh(parts[0]) * parts[1])};
                      }});
  patterns.push_back({"fuse_parts", "its gradients", [](Graph& graph) -> Fetches {
                        const Output x = input(graph, {3, 4}), y = x * input(graph, {4});
                        return {softmax(concat({y, abs(y)}, 1)), softmax(y)};
                      }});
  patterns.push_back({"fuse_parts", "both, in the middle", [](Graph& graph) -> Fetches {
                        const auto parts = split(input(graph, {3, 4, 2}), {2, 2}, 1);
                        const Output y = parts[0] * parts[1];
                        return {sum(concat({y, y - parts[0]}, 1), 0)};
                      }});
}

void add_reductions(std::vector<PassPattern>& patterns) {
  const auto add = [&](const char* name, Fetches (*build)(Output)) {
    patterns.push_back({"fuse_reductions", name, [build](Graph& graph) {
                          return build(relu(input(graph, {3, 4}) + input(graph, {4})));
                        }});
  };
  add("columns", [](Output y) { return Fetches{sum(y, 0)}; });
  add("rows, elements stay", [](Output y) { return Fetches{mean(y, 1, true), y}; });
  add("all", [](Output y) { return Fetches{sum(y)}; });
  patterns.push_back({"fuse_reductions", "one op", [](Graph& graph) -> Fetches {
                        return {sum(square(input(graph, {3, 4})), 1)};
                      }});
}

void add_layouts(std::vector<PassPattern>& patterns) {
  const Layout nchw = Layout::nchw;
  patterns.push_back(
      {"assign_layout", "layer", [=](Graph& graph) -> Fetches {
         const Output x = input(graph, {2, 2, 5, 4}), w = input(graph, {2, 2, 2, 3});
         const Output b = input(graph, {3});
         const Output y =
             relu(bias_add(conv2d(x, w, {.padding = Padding::same, .layout = nchw}), b, nchw));
         const Output p = avg_pool2d(max_pool2d(y, {.window = {2, 1}, .layout = nchw}),
                                     {.window = 2, .strides = 1, .layout = nchw});
         Fetches fetches = gradients({sum(square(p))}, {x, w, b});
         fetches.push_back(p);
         return fetches;
       }});
  for (const Layout layout : {Layout::nhwc, nchw})
    patterns.push_back(
        {"lower_bias_add", layout == nchw ? "nchw" : "nhwc", [layout](Graph& graph) -> Fetches {
           const Output x = input(graph, {2, 3, 2, 3});
           return {bias_add(x, input(graph, {3}), layout)};
         }});
}

void add_moves(std::vector<PassPattern>& patterns) {
  using Move = Output (*)(Output);
  const auto add = [&](const char* name, const Shape& shape, Move move, DType dtype = float32) {
    patterns.push_back({"eliminate_moves", name, [=](Graph& graph) -> Fetches {
                          return {move(input(graph, shape, dtype))};
                        }});
  };
  add("view of a view", {2, 3}, [](Output x) { return reshape(expand_dims(x, 0), {3, 2}); });
  add("view of itself", {2, 3}, [](Output x) { return relu(identity(stop_gradient(x))); });
  add("transpose twice", {2, 3, 4}, [](Output x) {
    return transpose(transpose(x, {2, 0, 1}), {0, 2, 1});
  });
  add("transpose of one row", {1, 5, 1}, [](Output x) { return transpose(x, {1, 2, 0}); });
  add("product", {3, 3}, [](Output x) { return matmul(transpose(x), x, {false, true}); });
  add("repeated operand", {3}, [](Output x) {
    return exp(broadcast_to(x, {2, 3})) + ones_like(broadcast_to(x, {2, 3}));
  });
  add("broadcast twice", {3}, [](Output x) {
    return broadcast_to(broadcast_to(x, {2, 3}), {2, 2, 3});
  });
  add("broadcast of as many", {3}, [](Output x) { return broadcast_to(x, {1, 3}); });
  add("sum to as many", {1, 3}, [](Output x) { return sum_to(x, {3}); });
  add("sum of one", {3, 1}, [](Output x) { return sum(x, 1); });
  add("mean of one", {3, 1}, [](Output x) { return mean(x, 1, true); });
  add("largest of one", {3, 1}, [](Output x) { return gradgraph::max(x, 1); });
  add(
      "sum of a sum", {2, 3, 2}, [](Output x) { return sum(sum(x, 1), 0); }, int32);
  add(
      "largest of a largest", {2, 3, 2},
      [](Output x) { return gradgraph::max(gradgraph::max(x, 1, true), 0, true); }, int64);
  add("whole slice", {2, 3}, [](Output x) { return slice(x, {0, 0}, {2, 3}); });
  add("no padding", {2, 3}, [](Output x) { return pad(x, {0, 0}, {0, 0}, 7); });
  add("one tile", {2, 3}, [](Output x) { return tile(x, {1, 1}); });
  add("one part", {2, 3}, [](Output x) { return concat({x}, 1); });
  add("one piece", {2, 3}, [](Output x) { return split(x, {3}, 1)[0]; });
  add("custom gradient", {2, 3}, [](Output x) {
    return custom_gradient(
        {x}, [](const Fetches& in) { return Fetches{tanh(in[0])}; },
        [](const Fetches&, const Fetches&, const Fetches& grads) { return grads; })[0];
  });
}

void add_merges(std::vector<PassPattern>& patterns) {
  using Build = Fetches (*)(Graph&, Output, Output);
  const auto add = [&](const char* pass, const char* name, Build build) {
    patterns.push_back({pass, name, [build](Graph& graph) {
                          const Output x = input(graph, {3, 3}), y = input(graph, {3, 3});
                          return build(graph, x, y);
                        }});
  };
  add("eliminate_common", "sums", [](Graph&, Output x, Output y) -> Fetches {
    return {exp(x + y), sum(exp(y + x), 0)};
  });
  add("eliminate_common", "softmax", [](Graph&, Output x, Output) -> Fetches {
    return {softmax(x, 0), softmax(x, 0) * 2.f};
  });
  add("eliminate_common", "products", [](Graph&, Output x, Output y) -> Fetches {
    return {matmul(x, y, {true, false}), exp(matmul(x, y, {true, false}))};
  });
  add("fold_constants", "arithmetic", [](Graph& graph, Output x, Output) -> Fetches {
    const Output choice =
        where(constant(graph, Tensor(true)), number(graph, 2), input(graph, {}));
    return {x * sum(expand_dims(choice * number(graph, 3), 0), 0)};
  });
  add("simplify", "casts", [](Graph&, Output x, Output) -> Fetches {
    return {cast(cast(x, float64), int32), cast(x, float32) * 2.f};
  });
}

/// An expression of the table of rules as a graph.
class RuleWriter {
 public:
  RuleWriter(Graph& graph, const RuleChoice& choice) : graph_(graph), choice_(choice) {}

  Output write(const Expression& expression, DType dtype) {
    if (expression.kind == Expression::Kind::number) {
      const bool replaces = choice_.number && choice_.number.dtype() == dtype;
      return constant(graph_,
                      replaces ? choice_.number : Tensor::full(dtype, {}, expression.number));
    }
    if (expression.kind != Expression::Kind::op) return letter(expression, dtype);
    Fetches inputs;
    for (std::size_t i = 0; i < expression.operands.size(); ++i)
      inputs.push_back(operand(expression, i, dtype));
    Attributes attributes;
    for (const std::string_view name : expression.attributes) {
      if (name == "axis") attributes.set("axis", choice_.axis);
      if (name == "dtype") attributes.set("dtype", dtype);
      if (name == "rate") attributes.set("rate", 0.5);
    }
    return graph_.add(*expression.op, inputs, attributes, {}).output();
  }

 private:
  Output operand(const Expression& expression, std::size_t i, DType dtype) {
    const std::string& name = expression.op->name;
    const Expression& part = expression.operands[i];
    if (name == "dropout_mask" && i == 0)
      return constant(graph_, Tensor{std::int64_t{2}, std::int64_t{3}});
    const bool is_condition = (name == "where" && i == 0) || name == "dropout_mask" ||
                              (name.starts_with("logical") && part.kind != Expression::Kind::op);
    return write(part, is_condition ? boolean : dtype);
  }

  Output letter(const Expression& expression, DType dtype) {
    Output& known = letters_[expression.variable];
    if (known) return known;
    return known = expression.kind == Expression::Kind::constant
                       ? constant(graph_, choice_.constants.at(num_constants_++))
                       : placeholder(graph_, dtype, choice_.shape);
  }

  Graph& graph_;
  const RuleChoice& choice_;
  std::map<std::size_t, Output> letters_;
  std::size_t num_constants_ = 0;
};

/// Every rule of simplify, for the first dtype that it is meant for.
void add_rules(std::vector<PassPattern>& patterns) {
  for (const Rule& rule : simplify_rules())
    for (const DType dtype : {float32, int32, boolean}) {
      const RuleChoice choice{
          .dtype = dtype, .constants = {Tensor::full(dtype, {}, 2), Tensor::full(dtype, {}, 3)}};
      const auto build = [&rule, choice](Graph& graph) -> Fetches {
        return {write_rule(graph, parse_expression(rule.pattern), choice)};
      };
      Graph graph;
      try {
        if (rewrites(graph, build(graph), {"simplify"}).find(rule.pattern) == std::string::npos)
          continue;
      } catch (const BuildError&) {
        continue;
      }
      patterns.push_back({"simplify", rule.pattern, build});
      break;
    }
}

}  // namespace

Output write_rule(Graph& graph, const Expression& pattern, const RuleChoice& choice) {
  return RuleWriter(graph, choice).write(pattern, choice.dtype);
}

const std::vector<PassPattern>& pass_patterns() {
  static const std::vector<PassPattern> patterns = [] {
    std::vector<PassPattern> all;
    add_pooling(all);
    add_cross_entropies(all);
    add_products(all);
    add_attentions(all);
    add_sums_of_products(all);
    add_elementwise(all);
    add_several_results(all);
    add_parts(all);
    add_reductions(all);
    add_layouts(all);
    add_moves(all);
    add_merges(all);
    add_rules(all);
    return all;
  }();
  return patterns;
}

}  // namespace gradgraph::tests
