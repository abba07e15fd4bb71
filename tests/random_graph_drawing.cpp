#include "random_graph_drawing.h"
#include "special_values.h"

namespace gradgraph::tests {
namespace {

using Ints = std::vector<std::int64_t>;

/// `shape` with an axis of 2 in front.
Shape doubled(const Shape& shape) {
  Shape result{2};
  for (const std::int64_t dim : shape) result.append(dim);
  return result;
}

}  // namespace

Drawing::Drawing(RandomGraph& result, unsigned seed, RandomGraphOptions chosen)
    : random_(seed * 7919 + 1),
      graph(result.graph),
      feeds(result.feeds),
      options(chosen),
      // What passes look for in images is mostly of float32.
      dtype(chance(4) != chosen.images ? float32 : float64) {
  result.tolerance = dtype == float64 ? 1e-9 : 1e-3;
}

Tensor Drawing::noise(const Shape& shape, double limit) {
  Tensor value(float64, shape);
  std::uniform_real_distribution<double> uniform(-limit, limit);
  for (double& x : value.span<double>()) x = uniform(random_);
  return value;
}

double Drawing::special_number(DType of) {
  const Tensor specials = special_values(of).cast(float64);
  return specials.span<double>()[pick(specials.span<double>().size())];
}

void Drawing::add_specials(Tensor& value) {
  const double some = special_number(is_floating(value.dtype()) ? dtype : value.dtype());
  const std::size_t share = 1 + pick(6);
  Tensor numbers = value.cast(float64);
  for (double& x : numbers.span<double>())
    if (chance(share)) x = some;
  value = numbers.cast(value.dtype());
}

Output Drawing::input(const Tensor& value) {
  const bool is_float = is_floating(value.dtype());
  const Tensor typed = is_float ? value.cast(dtype) : value;
  if (chance(5)) return constant(graph, typed);
  Output made;
  if (options.variables && chance(2)) {
    made = variable(graph, typed);
    if (is_float) variables.push_back(made);
  } else {
    made = placeholder(graph, typed.dtype(), typed.shape());
    feeds.emplace_back(made, typed);
  }
  if (is_float) differentiable.push_back(made);
  return made;
}

Output Drawing::moved(Output a) {
  const int rank = a.rank();
  switch (pick(10)) {
    case 0: return reshape(reshape(a, {-1}), a.shape());
    case 1: return rank > 0 ? transpose(a) : expand_dims(a, 0);
    case 2: return rank > 1 ? transpose(transpose(a)) : identity(a);
    case 3: return rank < 4 ? expand_dims(a, -1) : a;
    case 4: return squeeze(a);
    case 5: return rank > 0 ? slice(a, Ints(to_size(rank), 0), a.shape()) : a;
    case 6:
      return rank > 0 ? pad(a, Ints(to_size(rank), 0),
                            Ints(to_size(rank), static_cast<std::int64_t>(pick(2))))
                      : a;
    case 7: return rank > 0 ? tile(a, Ints(to_size(rank), 1)) : a;
    case 8: return rank > 0 ? concat({a, a}, 0) : a;
    default: return rank < 4 ? broadcast_to(a, doubled(a.shape())) : a;
  }
}

}  // namespace gradgraph::tests
