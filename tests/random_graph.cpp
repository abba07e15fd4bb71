#include "random_graph.h"

#include <iterator>
#include <random>

#include "special_values.h"

namespace gradgraph::tests {
namespace {

class Builder {
 public:
  Builder(RandomGraph& result, unsigned seed, bool has_specials, bool has_variables)
      : graph_(result.graph),
        feeds_(result.feeds),
        fetches_(result.fetches),
        random_(seed * 7919 + 1),
        has_specials_(has_specials),
        has_variables_(has_variables),
        dtype_(chance(4) ? float32 : float64) {
    result.tolerance = dtype_ == float64 ? 1e-9 : 1e-3;
    const std::size_t inputs = 2 + pick(3);
    for (std::size_t i = 0; i < inputs; ++i) add_input();
    const std::size_t count = inputs + 4 + pick(12);
    while (values_.size() < count) grow();
    const Output last = values_.back();
    if (chance(6) && last.rank() > 0 && last.shape().num_elements() > 0)
      keep(cross_entropy(last));
    fetch(values_.back());
    fetch(any_value());
    if (chance(2)) add_gradients();
    if (has_variables) add_updates();
  }

 private:
  using Ints = std::vector<std::int64_t>;

  std::size_t pick(std::size_t count) { return static_cast<std::size_t>(random_()) % count; }
  bool chance(std::size_t one_in) { return pick(one_in) == 0; }
  Output any_value() { return values_[pick(values_.size())]; }
  /// One of the numbers that rules are about, or an ordinary one.
  double number() {
    constexpr double kNumbers[] = {0, 1, -1, 2, 0.5, 3, -0.25, 1.7, 0.3};
    if (has_specials_ && chance(3)) return special_number();
    return kNumbers[pick(std::size(kNumbers))];
  }
  void fetch(Output value) { fetches_.push_back(value); }
  void keep(Output value) { values_.push_back(value); }

  void add_input() {
    static const Shape shapes[] = {{},     {3},    {1},       {2, 3}, {2, 1},
                                   {1, 3}, {3, 3}, {2, 3, 4}, {0, 3}};
    const Shape& shape = shapes[pick(std::size(shapes))];
    Tensor value(float64, shape);
    std::uniform_real_distribution<double> uniform(-2, 2);
    for (double& x : value.span<double>()) x = uniform(random_);
    if (has_specials_ && !chance(3)) add_specials(value);
    if (chance(5)) {
      keep(constant(graph_, value.cast(dtype_)));
      return;
    }
    if (has_variables_ && chance(2)) {
      keep(variable(graph_, value.cast(dtype_)));
      variables_.push_back(values_.back());
      inputs_.push_back(values_.back());
      return;
    }
    keep(placeholder(graph_, dtype_, shape));
    inputs_.push_back(values_.back());
    feeds_.emplace_back(values_.back(), value.cast(dtype_));
  }

  double special_number() {
    const Tensor specials = special_values(dtype_).cast(float64);
    return specials.span<double>()[pick(specials.span<double>().size())];
  }
  void add_specials(Tensor& value) {
    const double some = special_number();
    const std::size_t share = 1 + pick(6);
    for (double& x : value.span<double>())
      if (chance(share)) x = some;
  }

  void grow() {
    const Output a = any_value();
    switch (pick(8)) {
      case 0:
      case 1: keep(unary(a)); break;
      case 2:
      case 3: keep(binary(a, any_value())); break;
      case 4: keep(with_number(a)); break;
      case 5: keep(moved(a)); break;
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
    if (has_specials_ && chance(4)) return sharp(a);
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
      case 14: return cast(cast(a, float64), dtype_);
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
      case 7: return a + Tensor::full(dtype_, a.shape(), number());
      default: return a * zeros_like(a) + number() * ones_like(a);
    }
  }

  Output moved(Output a) {
    const int rank = a.rank();
    switch (pick(10)) {
      case 0: return reshape(reshape(a, {-1}), a.shape());
      case 1: return rank > 0 ? transpose(a) : expand_dims(a, 0);
      case 2: return rank > 1 ? transpose(transpose(a)) : identity(a);
      case 3: return rank < 4 ? expand_dims(a, -1) : a;
      case 4: return squeeze(a);
      case 5: return rank > 0 ? slice(a, Ints(size(rank), 0), a.shape()) : a;
      case 6:
        return rank > 0 ? pad(a, Ints(size(rank), 0),
                              Ints(size(rank), static_cast<std::int64_t>(pick(2))))
                        : a;
      case 7: return rank > 0 ? tile(a, Ints(size(rank), 1)) : a;
      case 8: return rank > 0 ? concat({a, a}, 0) : a;
      default: return rank < 4 ? broadcast_to(a, doubled(a.shape())) : a;
    }
  }

  /// `shape` with an axis of 2 in front.
  static Shape doubled(const Shape& shape) {
    Shape result{2};
    for (const std::int64_t dim : shape) result.append(dim);
    return result;
  }
  static std::size_t size(int count) { return static_cast<std::size_t>(count); }

  Output reduced(Output a) {
    const int rank = a.rank();
    const bool keep_dims = chance(2);
    const Axes some = rank > 0 && !chance(3) ? Axes(static_cast<int>(pick(size(rank)))) : Axes();
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
    switch (pick(12)) {
      case 0: return softmax(a);
      case 1: return gradgraph::log(softmax(a));
      case 2: return log_softmax(a) * 0.5;
      case 3: return gather(a, constant(graph_, Tensor{std::int64_t{0}}));
      case 4:
        return bias_add(a, constant(graph_, Tensor::full(dtype_, {a.shape()[rank - 1]}, 0.7)));
      case 5: return dropout(a, 0.5, constant(graph_, Tensor(false)));
      case 6: return rank == 2 ? matmul(transpose(a), a) : square(a) + square(a);
      case 7: return rank == 2 ? transpose(matmul(a, transpose(a))) : a + a;
      default: return cross_entropy(a);
    }
  }

  Output cross_entropy(Output logits) {
    const int rank = logits.rank();
    const std::int64_t classes = logits.shape()[rank - 1];
    const Shape rows(logits.shape().dims().first(size(rank - 1)));
    const Output labels = placeholder(graph_, int64, rows);
    const auto label = static_cast<double>(pick(static_cast<std::size_t>(classes)));
    feeds_.emplace_back(labels, Tensor::full(int64, rows, label));
    switch (pick(3)) {
      case 0: return sparse_softmax_cross_entropy(logits, labels);
      case 1: return softmax_cross_entropy(logits, one_hot(labels, classes, dtype_));
      default: return -sum(one_hot(labels, classes, dtype_) * log_softmax(logits), -1);
    }
  }

  void add_gradients() {
    if (inputs_.empty()) return;
    for (const Output& gradient : gradients({sum(values_.back())}, inputs_)) fetch(gradient);
  }

  /// Of all variables by an optimiser, or of some by values that fit.
  void add_updates() {
    if (variables_.empty()) return;
    const std::vector<Output> grads = gradients({mean(values_.back())}, variables_);
    std::vector<GradientPair> pairs;
    for (std::size_t i = 0; i < grads.size(); ++i)
      if (grads[i]) pairs.emplace_back(variables_[i], grads[i]);
    if (!pairs.empty() && chance(2)) {
      fetch(chance(2) ? Adam{}.apply(pairs) : GradientDescent{.momentum = 0.9}.apply(pairs));
      return;
    }
    std::vector<Output> updates;
    for (const Output& variable : variables_) {
      Output value = any_value();
      if (value.shape() != variable.shape() || value.dtype() != dtype_) value = variable * 0.5;
      updates.push_back(chance(2) ? assign(variable, value) : assign_sub(variable, 0.1 * value));
    }
    fetch(chance(2) ? updates.front() : group(graph_, updates));
  }

  Graph& graph_;
  Feeds& feeds_;
  std::vector<Output>& fetches_;
  std::mt19937 random_;
  bool has_specials_, has_variables_;
  DType dtype_;
  std::vector<Output> values_, inputs_, variables_;
};

}  // namespace

RandomGraph::RandomGraph(unsigned seed, bool has_specials, bool has_variables) {
  Builder(*this, seed, has_specials, has_variables);
}

}  // namespace gradgraph::tests
