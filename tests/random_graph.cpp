#include "random_graph.h"

#include <iterator>

#include "random_graph_drawing.h"

namespace gradgraph::tests {
namespace {

class Builder {
 public:
  Builder(RandomGraph& result, unsigned seed, RandomGraphOptions options)
      : drawing_(result, seed, options),
        integers_(drawing_),
        images_(drawing_),
        fetches_(result.fetches) {
    const std::size_t inputs = 2 + drawing_.pick(3);
    if (options.images) images_.add_input();
    for (std::size_t i = 0; i < inputs; ++i) add_input();
    const std::size_t count = inputs + 4 + drawing_.pick(12);
    while (drawing_.floats.size() < count) grow();
    if (options.images && !drawing_.chance(3)) keep(images_.logits());
    const Output last = drawing_.floats.back();
    if (drawing_.chance(6) && last.rank() > 0 && last.shape().num_elements() > 0)
      keep(cross_entropy(last));
    fetch(drawing_.floats.back());
    fetch(any_value());
    if (options.integers)
      for (int i = 0; i < 5; ++i) fetch(integers_.any_value());
    if (drawing_.chance(2)) add_gradients();
    if (options.variables) add_updates();
  }

 private:
  std::size_t pick(std::size_t count) { return drawing_.pick(count); }
  bool chance(std::size_t one_in) { return drawing_.chance(one_in); }
  Output any_value() { return drawing_.any_of(drawing_.floats); }
  /// One of the numbers that rules are about, or an ordinary one.
  double number() {
    constexpr double kNumbers[] = {0, 1, -1, 2, 0.5, 3, -0.25, 1.7, 0.3};
    if (drawing_.options.specials && chance(3)) return drawing_.special_number(drawing_.dtype);
    return kNumbers[pick(std::size(kNumbers))];
  }
  void fetch(Output value) { fetches_.push_back(value); }
  void keep(Output value) { drawing_.floats.push_back(value); }

  void add_input() {
    if (drawing_.options.integers) integers_.add_input();
    if (drawing_.options.images && !chance(4)) return images_.add_input();
    static const Shape shapes[] = {{},     {3},    {1},       {2, 3}, {2, 1},
                                   {1, 3}, {3, 3}, {2, 3, 4}, {0, 3}};
    const Shape& shape = shapes[pick(std::size(shapes))];
    Tensor value = drawing_.noise(shape, 2);
    if (drawing_.options.specials && !chance(3)) drawing_.add_specials(value);
    keep(drawing_.input(value));
  }

  void grow() {
    if (drawing_.options.images && chance(2)) return images_.grow();
    if (drawing_.options.integers && !chance(3)) return integers_.grow();
    const Output a = any_value();
    switch (pick(8)) {
      case 0:
      case 1: keep(unary(a)); break;
      case 2:
      case 3: keep(binary(a, any_value())); break;
      case 4: keep(with_number(a)); break;
      case 5: keep(drawing_.moved(a)); break;
      case 6: keep(reduced(a)); break;
      default: keep(special(a)); break;
    }
  }

  /// What differs at zero, at infinity or where there is no value.
  Output sharp(Output a) {
    switch (pick(10)) {
      case 0: return 1 / a;
      case 1: return gradgraph::log(a);
      case 2: return gradgraph::sqrt(a);
      case 3: return maximum(a, number());
      case 4: return minimum(number(), a);
      case 5: return sign(a);
      case 6: return -(a - number());
      case 7: return pow(a, -1);
      case 8: return a - number() * a;
      default: return maximum(-a, 0) / a;
    }
  }

  Output unary(Output a) {
    if (drawing_.options.specials && chance(4)) return sharp(a);
    switch (pick(16)) {
      case 0: return -a;
      case 1: return relu(a);
      case 2: return gradgraph::tanh(a);
      case 3: return sigmoid(a);
      case 4: return square(a);
      case 5: return gradgraph::abs(a);
      case 6: return gradgraph::exp(minimum(a, 2));
      case 7: return gradgraph::log(gradgraph::abs(a) + 0.3);
      case 8: return gradgraph::sqrt(square(a) + 0.2);
      case 9: return 1 / gradgraph::sqrt(gradgraph::abs(a) + 0.5);
      case 10: return gradgraph::sin(a);
      case 11: return gradgraph::cos(-a);
      case 12: return identity(a);
      case 13: return stop_gradient(-(-a));
      case 14: return cast(cast(a, float64), drawing_.dtype);
      default: return where(logical_not(less(a, 0.37)), a, 0.5 * a);
    }
  }

  Output binary(Output a, Output b) {
    Shape unused;
    if (!broadcast_shapes(a.shape(), b.shape(), unused)) return a * 0.5;
    switch (pick(9)) {
      case 0: return a + b;
      case 1: return a - b;
      case 2: return a * b;
      case 3: return a / (gradgraph::abs(b) + 0.5);
      case 4: return maximum(a, b);
      case 5: return a + (-b);
      case 6: return (-a) * (-b);
      case 7: return where(logical_or(less(a, b), greater(a, b)), a, b);
      default: return minimum(a, b) + a * b;
    }
  }

  Output with_number(Output a) {
    switch (pick(9)) {
      case 0: return a + number();
      case 1: return a - number();
      case 2: return number() - a;
      case 3: return a * number();
      case 4: return a * number() * number();
      case 5: return a / (number() + 4) / 2;
      case 6: return pow(a, static_cast<double>(1 + pick(3)));
      case 7: return a + Tensor::full(drawing_.dtype, a.shape(), number());
      default: return a * zeros_like(a) + number() * ones_like(a);
    }
  }

  Output reduced(Output a) {
    const int rank = a.rank();
    const bool keep_dims = chance(2);
    const Axes some =
        rank > 0 && !chance(3) ? Axes(static_cast<int>(pick(to_size(rank)))) : Axes();
    switch (pick(5)) {
      case 0: return sum(a, some, keep_dims);
      case 1: return a.shape().num_elements() > 0 ? mean(a, some, keep_dims) : a;
      case 2: return a.shape().num_elements() > 0 ? gradgraph::max(a, some, keep_dims) : a;
      case 3: return sum(sum(a, some, keep_dims));
      default: return rank > 0 ? sum_to(a + a, {}) : a;
    }
  }

  Output special(Output a) {
    const int rank = a.rank();
    const bool has_elements = a.shape().num_elements() > 0;
    if (rank == 0 || !has_elements) return gradgraph::tanh(a) * gradgraph::tanh(a);
    switch (pick(17)) {
      case 0: return softmax(a);
      case 1: return gradgraph::log(softmax(a));
      case 2: return log_softmax(a) * 0.5;
      case 3: return gather(a, constant(drawing_.graph, Tensor{std::int64_t{0}}));
      case 4:
        return bias_add(a, constant(drawing_.graph,
                                    Tensor::full(drawing_.dtype, {a.shape()[rank - 1]}, 0.7)));
      case 5: return dropout(a, 0.5, constant(drawing_.graph, Tensor(false)));
      case 6: return rank == 2 ? matmul(transpose(a), a) : square(a) + square(a);
      case 7: return rank == 2 ? transpose(matmul(a, transpose(a))) : a + a;
      case 8:
      case 9: return a.shape().num_elements() < 30 ? sum_of_products(a) : a * a;
      case 10:
      case 11:
      case 12: return a.shape().num_elements() < 30 ? attention(a) : softmax(-a);
      case 13: return gate(a);
      default: return cross_entropy(a);
    }
  }

  /// Of a row with others, mostly of one kind; now and then one product has a second reader.
  Output sum_of_products(Output a) {
    Output row = reshape(a, {1, -1}), total;
    const std::size_t count = 2 + pick(4);
    for (std::size_t i = 0; i < count; ++i) {
      const Output other = gradgraph::tanh(row);
      const Output product = chance(5) ? matmul(reshape(row, {-1, 1}), other)
                                       : matmul(row, other, {.transpose_a = true});
      if (chance(8)) keep(product);
      total = i == 0 ? product : chance(2) ? total + product : product + total;
      row = row * 0.5;
    }
    return total;
  }

  /// Of columns that lie side by side, which one or two others do likewise.
  Output gate(Output a) {
    const Output row = reshape(a, {1, -1}), x = concat({row * 0.5, gradgraph::tanh(row)}, 0);
    const std::vector<Output> parts =
        split(concat({x, sigmoid(x)}, 1), {row.shape()[1], row.shape()[1]}, 1);
    const Output y = sigmoid(parts[0]) * gradgraph::tanh(parts[1]);
    if (chance(8)) keep(mean(chance(2) ? parts[1] : y, 0));
    return mean(chance(3) ? y : concat({y, y - parts[0]}, 1), 0);
  }

  /// Of a sequence that is long enough, made of a row: its mean.
  Output attention(Output a) {
    const std::int64_t steps = 64 + 10 * static_cast<std::int64_t>(pick(3));
    const Tensor places = drawing_.noise({steps, 1}, 1);
    const Output x = matmul(constant(drawing_.graph, places.cast(drawing_.dtype)),
                            gradgraph::tanh(reshape(a, {1, -1})));
    Output scores = chance(2) ? matmul(x, x, {.transpose_b = true}) : matmul(x, transpose(x));
    if (!chance(3)) scores = chance(2) ? scores / 1.7 : 0.6 * scores;
    const Output seen = constant(drawing_.graph, drawing_.noise({steps, steps}, 1).cast(float32));
    if (chance(3)) scores = scores + cast(seen, drawing_.dtype);
    if (chance(2)) scores = where(greater(seen, -0.3F), scores, chance(2) ? -9.0 : -1e30);
    const Output result = matmul(softmax(scores), chance(4) ? x : 0.5 * x);
    return mean(chance(8) ? result * x : result, 0);
  }

  Output cross_entropy(Output logits) {
    const int rank = logits.rank();
    const std::int64_t classes = logits.shape()[rank - 1];
    const Shape rows(logits.shape().dims().first(to_size(rank - 1)));
    const Output labels = placeholder(drawing_.graph, int64, rows);
    const auto label = static_cast<double>(pick(static_cast<std::size_t>(classes)));
    drawing_.feeds.emplace_back(labels, Tensor::full(int64, rows, label));
    switch (pick(3)) {
      case 0: return sparse_softmax_cross_entropy(logits, labels);
      case 1: return softmax_cross_entropy(logits, one_hot(labels, classes, drawing_.dtype));
      default: return -sum(one_hot(labels, classes, drawing_.dtype) * log_softmax(logits), -1);
    }
  }

  void add_gradients() {
    if (drawing_.differentiable.empty()) return;
    const auto grads = gradients({sum(drawing_.floats.back())}, drawing_.differentiable);
    for (const Output& gradient : grads) fetch(gradient);
    if (!drawing_.options.images || !chance(4) || !grads.front()) return;
    for (const Output& second : gradients({sum(square(grads.front()))}, drawing_.differentiable))
      fetch(second);
  }

  /// Of all variables by an optimiser, or of some by values that fit.
  void add_updates() {
    std::vector<Output> updates;
    for (const Output& variable : integers_.variables()) {
      const Output value = integers_.any_value();
      const bool fits = value.shape() == variable.shape() && value.dtype() == variable.dtype();
      const Output next = fits ? value : variable;
      if (variable.dtype() == boolean || chance(2))
        updates.push_back(assign(variable, next));
      else
        updates.push_back(assign_sub(variable, next));
    }
    add_float_updates(updates);
    if (updates.empty()) return;
    fetch(chance(2) ? updates.front() : group(drawing_.graph, updates));
  }

  void add_float_updates(std::vector<Output>& updates) {
    if (drawing_.variables.empty()) return;
    const std::vector<Output> grads =
        gradients({mean(drawing_.floats.back())}, drawing_.variables);
    std::vector<GradientPair> pairs;
    for (std::size_t i = 0; i < grads.size(); ++i)
      if (grads[i]) pairs.emplace_back(drawing_.variables[i], grads[i]);
    if (!pairs.empty() && chance(2)) return fetch(optimized(pairs));
    for (const Output& variable : drawing_.variables) {
      Output value = any_value();
      if (value.shape() != variable.shape() || value.dtype() != drawing_.dtype)
        value = variable * 0.5;
      updates.push_back(chance(2) ? assign(variable, value) : assign_sub(variable, 0.1 * value));
    }
  }

  /// Epsilon keeps an optimiser from turning what rounding left of 0 into a step.
  Output optimized(const std::vector<GradientPair>& pairs) {
    const Clipping clip{.by_global_norm = chance(3) ? 0.5 : 0};
    switch (pick(5)) {
      case 0: return Adam{.epsilon = 1e-2, .clip = clip}.apply(pairs);
      case 1: return AdamW{.epsilon = 1e-2, .clip = clip}.apply(pairs);
      case 2: return RmsProp{.epsilon = 1e-2, .momentum = 0.5, .clip = clip}.apply(pairs);
      case 3:
        return GradientDescent{.momentum = 0.9, .nesterov = true, .clip = clip}.apply(pairs);
      default: return GradientDescent{.momentum = 0.9, .clip = clip}.apply(pairs);
    }
  }

  Drawing drawing_;
  RandomIntegers integers_;
  RandomImages images_;
  std::vector<Output>& fetches_;
};

}  // namespace

RandomGraph::RandomGraph(unsigned seed, RandomGraphOptions options) {
  Builder(*this, seed, options);
}

std::vector<Tensor> RandomGraph::run(Session& session, int steps) {
  std::vector<Tensor> results;
  for (int step = 0; step < steps; ++step) {
    for (Tensor& result : session.run(feeds, fetches)) results.push_back(std::move(result));
    for (const Output& variable : variables(graph)) results.push_back(session.value(variable));
  }
  return results;
}

}  // namespace gradgraph::tests
