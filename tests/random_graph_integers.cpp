#include <algorithm>
#include <iterator>

#include "random_graph_drawing.h"

namespace gradgraph::tests {
namespace {

const std::vector<DType> kIntegers = {int32, int64, int32, int64, uint8, uint8};

bool is_boolean(const Output& a) { return a.dtype() == boolean; }
bool has_elements(const Output& a) { return a.shape().num_elements() > 0; }

bool broadcast(const Output& a, const Output& b) {
  Shape unused;
  return broadcast_shapes(a.shape(), b.shape(), unused);
}

/// uint8 has neither negative numbers nor sums.
Output with_sign(Output a) { return a.dtype() == uint8 ? cast(a, int32) : a; }
Output as_index(Output a) { return a.dtype() == int32 ? a : cast(a, int64); }

}  // namespace

void RandomIntegers::add_input() {
  const std::vector<Shape> shapes = {{}, {3}, {2, 3}, {2, 1}, {1, 3}, {3, 3}, {2, 3, 4}, {0, 3}};
  const DType dtype = drawing_.chance(6) ? boolean : drawing_.any_of(kIntegers);
  Tensor value = drawing_.noise(drawing_.any_of(shapes), 7);
  for (double& x : value.span<double>()) x = static_cast<double>(static_cast<int>(x));
  if (dtype == uint8 || dtype == boolean)
    for (double& x : value.span<double>()) x = x < 0 ? 0 : x;
  value = value.cast(dtype);
  if (drawing_.options.specials && dtype != boolean && !drawing_.chance(3))
    drawing_.add_specials(value);
  values_.push_back(drawing_.input(value));
  if (values_.back().node().op().name == "variable") variables_.push_back(values_.back());
}

/// The later ones more often, so that rules find what they are about.
Output RandomIntegers::any_value() {
  return drawing_.chance(3) ? values_.back() : drawing_.any_of(values_);
}

Output RandomIntegers::any_number() {
  const Output a = any_value();
  return is_boolean(a) ? cast(a, drawing_.any_of(kIntegers)) : a;
}

Output RandomIntegers::any_boolean() {
  const Output a = any_value();
  return is_boolean(a) ? a : less(a, 2);
}

std::int64_t RandomIntegers::number() {
  return drawing_.any_of(std::vector<std::int64_t>{0, 1, 2, 3, 7, 100, -1, -3});
}

/// A number that `a` can be.
Output RandomIntegers::like(Output a) {
  const std::int64_t some = number();
  const double value = static_cast<double>(a.dtype() == uint8 && some < 0 ? -some : some);
  const bool is_full = drawing_.chance(4);
  return constant(drawing_.graph, Tensor::full(a.dtype(), is_full ? a.shape() : Shape{}, value));
}

/// Of `a`'s elements those that are not 0, and 1 or more instead of the others.
Output RandomIntegers::divisor(Output a) {
  if (drawing_.chance(2)) return maximum(a, 1);
  return where(equal(a, 0), ones_like(a), a);
}

/// Computed, in [0, size), of at most one axis.
Output RandomIntegers::indices(std::int64_t size) {
  Output a = as_index(any_number());
  if (a.rank() > 1) a = reshape(a, {-1});
  return clip(a, 0, size - 1);
}

/// Fed, in [0, size).
Output RandomIntegers::places(const Shape& shape, std::int64_t size) {
  Tensor value(int64, shape);
  for (std::int64_t& place : value.span<std::int64_t>())
    place = static_cast<std::int64_t>(drawing_.pick(to_size(size)));
  return drawing_.input(value);
}

std::int64_t RandomIntegers::any_axis(Output a) {
  return static_cast<std::int64_t>(drawing_.pick(to_size(a.rank())));
}

void RandomIntegers::grow() {
  const Output a = any_value();
  const auto value = [&] {
    switch (drawing_.pick(12)) {
      case 0: return unary(unary(any_number()));
      case 1:
      case 2: return binary(any_number(), any_number());
      case 3:
      case 4: return with_number(any_number());
      case 5: return compared();
      case 6: return logical(any_boolean());
      case 7: return drawing_.moved(a);
      case 8: return of_floats();
      case 9: {
        const Output b = any_number();  // by two ops that may differ in an attribute alone
        values_.push_back(along_axis(b));
        return along_axis(b);
      }
      case 10: return reduced(a);
      default: return special(a);
    }
  };
  if (drawing_.chance(4))
    drawing_.floats.push_back(to_float());
  else
    values_.push_back(value());
}

Output RandomIntegers::unary(Output a) {
  switch (drawing_.pick(8)) {
    case 0: return -a;
    case 1: return gradgraph::abs(a);
    case 2: return sign(a);
    case 3: return square(a);
    case 4: return relu(a);
    case 5: return cast(cast(a, int64), drawing_.any_of(kIntegers));
    case 6: return cast(cast(a, boolean), a.dtype());
    default: return identity(a) - a;
  }
}

Output RandomIntegers::binary(Output a, Output b) {
  if (a.dtype() != b.dtype()) b = cast(b, a.dtype());
  if (!broadcast(a, b)) b = a;
  switch (drawing_.pick(9)) {
    case 0: return a + b;
    case 1: return a - b;
    case 2: return a * b;
    case 3: return maximum(a, b);
    case 4: return minimum(a, b);
    case 5: return a / divisor(b);
    case 6: return a - a / divisor(b) * b;
    case 7: return pow(a, clip(b, 0, 3));
    default: return where(less(a, b), a, b);
  }
}

Output RandomIntegers::with_number(Output a) {
  switch (drawing_.pick(10)) {
    case 0: return a + like(a);
    case 1: return like(a) - a;
    case 2: return a * like(a);
    case 3: return a * like(a) * like(a);
    case 4: return a / divisor(like(a));
    case 5: return pow(a, static_cast<int>(drawing_.pick(4)));
    case 6: return maximum(minimum(a, like(a)), like(a));
    case 7: return clip(a, 1, 5);
    case 8: return a * zeros_like(a) + ones_like(a);
    default: return a + like(a) - like(a);
  }
}

Output RandomIntegers::compared() {
  const Output a = any_number();
  Output b = drawing_.chance(2) ? like(a) : cast(any_number(), a.dtype());
  if (!broadcast(a, b)) b = like(a);
  switch (drawing_.pick(6)) {
    case 0: return equal(a, b);
    case 1: return not_equal(a, b);
    case 2: return less(a, b);
    case 3: return less_equal(b, a);
    case 4: return greater(a, b);
    default: return greater_equal(a, b);
  }
}

Output RandomIntegers::logical(Output a) {
  Output b = any_boolean();
  if (!broadcast(a, b)) b = logical_not(a);
  switch (drawing_.pick(7)) {
    case 0: return logical_and(a, b);
    case 1: return logical_or(b, a);
    case 2: return logical_not(a);
    case 3: return logical_not(logical_and(logical_not(a), b));
    case 4: return where(a, b, logical_not(b));
    case 5: return equal(a, b);
    default: return cast(cast(a, uint8), boolean);
  }
}

/// What rounding rarely changes.
Output RandomIntegers::of_floats() {
  // 0.37 is far from where sums of simple numbers lie.
  const Output a = clip(any_float() * 4 + 0.37, -30, 30);
  const Output x =
      drawing_.differentiable.empty() ? Output() : drawing_.any_of(drawing_.differentiable);
  const bool has_order = x && x.rank() > 0 && has_elements(x);
  switch (drawing_.pick(has_order ? 8 : 4)) {
    case 0: return cast(a, drawing_.any_of(kIntegers));
    case 1: return cast(gradgraph::floor(a), int32);
    case 2: return is_nan(any_float());
    case 3: return shape_of(any_float());
    case 4: return argmax(x, any_axis(x), drawing_.chance(2));
    case 5: return argmin(x, any_axis(x));
    case 6: return argsort(x, any_axis(x), drawing_.chance(2));
    default: return top_k(x, 1, any_axis(x)).indices;
  }
}

Output RandomIntegers::along_axis(Output a) {
  if (a.rank() == 0) return a + a;
  const std::int64_t axis = any_axis(a);
  const CumulativeOptions options{.exclusive = drawing_.chance(2), .reverse = drawing_.chance(2)};
  const bool is_down = drawing_.chance(2);
  switch (drawing_.pick(8)) {
    case 0: return cumsum(a, axis, options);
    case 1: return cumprod(a, axis, options);
    case 2: return sort(a, axis, is_down);
    case 3: return argsort(a, axis, is_down);
    case 4: return flip(a, static_cast<int>(axis));
    case 5: return strided_slice(a, {{.step = is_down ? -1 : 2}});
    case 6: return take_along_axis(a, argsort(a, axis, is_down), axis);
    default: {
      const auto k = static_cast<std::int64_t>(
          drawing_.pick(to_size(a.shape()[static_cast<int>(axis)] + 1)));
      const TopK top = top_k(a, k, axis);
      return is_down ? top.values : top.indices;
    }
  }
}

Output RandomIntegers::reduced(Output a) {
  const int rank = a.rank();
  const bool keep_dims = drawing_.chance(2);
  const Axes some =
      rank > 0 && !drawing_.chance(3) ? Axes(static_cast<int>(any_axis(a))) : Axes();
  if (is_boolean(a))
    return drawing_.chance(2) ? gradgraph::any_of(a, some, keep_dims)
                              : all_of(a, some, keep_dims);
  switch (drawing_.pick(has_elements(a) && rank > 0 ? 6 : 2)) {
    case 0: return sum(with_sign(a), some, keep_dims);
    case 1: return prod(with_sign(a), some, keep_dims);
    case 2: return gradgraph::max(a, some, keep_dims);
    case 3: return gradgraph::min(a, some, keep_dims);
    case 4: return argmax(a, any_axis(a), keep_dims);
    default: return argmin(a, any_axis(a), keep_dims);
  }
}

Output RandomIntegers::special(Output a) {
  const int rank = a.rank();
  if (rank == 0 || !has_elements(a)) return branch(a);
  const std::int64_t axis = any_axis(a), size = a.shape()[static_cast<int>(axis)];
  const Output b = is_boolean(a) ? cast(a, int32) : with_sign(a);
  switch (drawing_.pick(10)) {
    case 0:
    case 1: return rank < 4 ? gather(a, indices(size), axis) : flip(a);
    case 2: {
      const Output along = range(drawing_.graph, {size}, int64, size - 1, -1);
      return scatter_add(IntVector{size + 1}, clip(along, 1, size),
                         range(drawing_.graph, {size}, b.dtype()));
    }
    case 3: return one_hot(clip(b, 0, 3), 4, drawing_.any_of(kIntegers));
    case 4: return rank == 2 ? matmul(b, b, {.transpose_b = true}) : b * b;
    case 5: return bias_add(b, cast(range(drawing_.graph, {a.shape()[rank - 1]}), b.dtype()));
    case 6: return check_indices(clip(b, 0, 5), 6);
    case 7: return stack({a, flip(a)}, rank < 4 ? 0 : rank);
    case 8: return split(a, {1, size - 1}, axis)[drawing_.pick(2)];
    default: return branch(a);
  }
}

Output RandomIntegers::branch(Output a) {
  const Output predicate = all_of(any_boolean());
  if (is_boolean(a))
    return cond(
        predicate, [&] { return logical_not(a); }, [&] { return a; });
  return cond(
      predicate, [&] { return a + a; }, [&] { return a - like(a); });
}

Output RandomIntegers::to_float() {
  const Output a = any_float(), i = any_number(), b = any_boolean();
  const bool has_axis = a.rank() > 0 && has_elements(a);
  switch (drawing_.pick(has_axis ? 11 : 6)) {
    case 0: return cast(clip(i, 0, 9), drawing_.dtype) * 0.25;
    case 1: return cast(clip(with_sign(i), -9, 9), drawing_.dtype);
    case 2: return cast(b, drawing_.dtype);
    case 3: return broadcast(a, b) ? where(b, a, 0.5 * a) : where(all_of(b), -a, a);
    case 4: {
      const Output predicate = gradgraph::any_of(b);
      return cond(
          predicate, [&] { return gradgraph::tanh(a); }, [&] { return a * 0.5; });
    }
    case 5:
      return i.rank() < 4 ? one_hot(clip(i, 0, 2), 3, drawing_.dtype) : cast(b, drawing_.dtype);
    case 6:
    case 7: {
      const std::int64_t axis = any_axis(a);
      if (a.rank() > 3) return sort(a, axis);
      return gather(a, indices(a.shape()[static_cast<int>(axis)]), axis);
    }
    case 8: {
      const std::int64_t size = a.shape()[0];
      return scatter_add(a.shape(), places({size}, size), a);
    }
    case 9: {
      if (std::ranges::find(drawing_.differentiable, a) == drawing_.differentiable.end())
        return top_k(a, 1).values;
      return sparse_softmax_cross_entropy(0.5 * a, argmax(a, -1));
    }
    default: {
      const std::int64_t axis = any_axis(a);
      const std::int64_t size = a.shape()[static_cast<int>(axis)];
      if (drawing_.chance(2)) return take_along_axis(a, places(a.shape(), size), axis);
      return add_along_axis(a.shape(), places(a.shape(), size), a, axis);
    }
  }
}

}  // namespace gradgraph::tests
