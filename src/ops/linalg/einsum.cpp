#include <algorithm>
#include <cctype>
#include <iterator>
#include <map>
#include <string>
#include <utility>

#include "core/text.h"
#include "ops/builders.h"

/// einsum: the equation is read once, then operands are multiplied one by one, each product as a
/// matrix product of what the two have in common.
namespace gradgraph {
namespace {

/// The axes of a value: letters, and from kEllipsis on those of "...", counted from the end.
using Labels = std::vector<int>;
constexpr int kEllipsis = 256;

bool has(const Labels& labels, int label) { return std::ranges::count(labels, label) > 0; }

Labels only(const Labels& labels, const auto& condition) {
  Labels chosen;
  std::ranges::copy_if(labels, std::back_inserter(chosen), condition);
  return chosen;
}

Labels joined(std::initializer_list<Labels> lists) {
  Labels all;
  for (const Labels& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

/// A value whose axes have names.
struct Named {
  Output value;
  Labels labels;

  std::int64_t axis(int label) const { return std::ranges::find(labels, label) - labels.begin(); }
  std::int64_t extent(int label) const { return value.shape()[static_cast<int>(axis(label))]; }
};

struct Equation {
  std::vector<Labels> operands;
  Labels result;
};

class EquationReader {
 public:
  EquationReader(std::string_view text, const std::vector<Output>& operands, Graph& graph,
                 Where where)
      : text_(text), operands_(operands), graph_(graph), where_(where) {}

  Equation read() {
    std::string text(text_);
    std::erase_if(text, [](unsigned char c) { return std::isspace(c) != 0; });
    const std::size_t arrow = text.find("->");
    std::string_view left = std::string_view(text).substr(0, arrow);
    Equation equation;
    for (std::size_t i = 0;; ++i) {
      const std::size_t comma = left.find(',');
      const int rank = i < operands_.size() ? operands_[i].rank() : 0;
      equation.operands.push_back(labels(left.substr(0, comma), rank));
      if (comma == left.npos) break;
      left.remove_prefix(comma + 1);
    }
    if (equation.operands.size() != operands_.size())
      fail(fmt::format("the equation is of {} operands, not of {}", equation.operands.size(),
                       operands_.size()));
    for (std::size_t i = 0; i < operands_.size(); ++i)
      if (std::ssize(equation.operands[i]) != operands_[i].rank())
        fail(fmt::format("operand {} has {} axes, its part of the equation {}", i,
                         operands_[i].rank(), equation.operands[i].size()));
    equation.result = arrow == text.npos ? once(equation.operands)
                                         : labels(std::string_view(text).substr(arrow + 2), -1);
    check_result(equation);
    return equation;
  }

  [[noreturn]] void fail(const std::string& message) const {
    fail_to_build("einsum", graph_, fmt::format("'{}': {}", text_, message), where_);
  }

 private:
  /// Of an operand of `rank` axes, or, where that is -1, of the result.
  Labels labels(std::string_view text, int rank) {
    Labels labels;
    bool has_ellipsis = false;
    while (!text.empty()) {
      if (text.starts_with("...")) {
        if (std::exchange(has_ellipsis, true))
          fail("'...' stands twice among the axes of one value");
        const auto letters = static_cast<int>(std::ssize(text) - 3 + std::ssize(labels));
        int axes = rank < 0 ? ellipsis_ : std::max(rank - letters, 0);
        ellipsis_ = std::max(ellipsis_, axes);
        while (axes-- > 0) labels.push_back(kEllipsis + axes);
        text.remove_prefix(3);
      } else if (std::isalpha(static_cast<unsigned char>(text.front())) != 0) {
        labels.push_back(static_cast<unsigned char>(text.front()));
        text.remove_prefix(1);
      } else {
        fail(fmt::format("'{}' is no axis: letters are, and '...'", text));
      }
    }
    return labels;
  }

  /// What the result has where the equation does not say it.
  Labels once(const std::vector<Labels>& operands) const {
    Labels all, result;
    for (const Labels& labels : operands) all.insert(all.end(), labels.begin(), labels.end());
    for (int axis = ellipsis_; axis-- > 0;) result.push_back(kEllipsis + axis);
    for (int letter = 0; letter < kEllipsis; ++letter)
      if (std::ranges::count(all, letter) == 1) result.push_back(letter);
    return result;
  }

  void check_result(const Equation& equation) const {
    for (const int label : equation.result) {
      if (std::ranges::count(equation.result, label) > 1)
        fail(fmt::format("the result has axis '{}' twice", static_cast<char>(label)));
      if (std::ranges::none_of(equation.operands,
                               [&](const Labels& labels) { return has(labels, label); }))
        fail(fmt::format("no operand has the result's axis '{}'", static_cast<char>(label)));
    }
    for (int axis = 0; axis < ellipsis_; ++axis)
      if (!has(equation.result, kEllipsis + axis)) fail("the result lacks '...'");
  }

  std::string_view text_;
  const std::vector<Output>& operands_;
  Graph& graph_;
  Where where_;
  int ellipsis_ = 0;  ///< axes that "..." stands for, at most
};

/// Multiplies operands; what remains of their axes is left to say.
class Contraction {
 public:
  Contraction(const EquationReader& reader, Where where) : reader_(reader), where_(where) {}

  /// The product of all `operands` with the axes `wanted`, in this order.
  Output multiply(std::vector<Named> operands, const Labels& wanted) const {
    for (Named& operand : operands) operand = with_each_axis_once(std::move(operand));
    require_extents(operands);
    Named product = operands.front();
    for (std::size_t i = 1; i < operands.size(); ++i) {
      Labels kept = wanted;  // behind this product
      for (std::size_t j = i + 1; j < operands.size(); ++j)
        kept = joined({kept, operands[j].labels});
      product = summed(product, joined({kept, operands[i].labels}));
      const Named other = summed(operands[i], joined({kept, product.labels}));
      product = multiply_pair(product, other, kept);
    }
    return in_order(summed(product, wanted), wanted).value;
  }

 private:
  void require_extents(const std::vector<Named>& operands) const {
    std::map<int, std::int64_t> known;
    for (const Named& operand : operands)
      for (const int label : operand.labels) {
        const std::int64_t extent = operand.extent(label);
        if (extent == any || label >= kEllipsis) continue;
        const auto [entry, is_new] = known.emplace(label, extent);
        if (!is_new && entry->second != extent)
          reader_.fail(fmt::format("axis '{}' has {} elements and {}", static_cast<char>(label),
                                   entry->second, extent));
      }
  }

  /// The diagonal of axes that have one name.
  Named with_each_axis_once(Named x) const {
    for (std::size_t i = 0; i < x.labels.size(); ++i) {
      const int label = x.labels[i];
      const auto again = std::ranges::find(x.labels.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                           x.labels.end(), label);
      if (again == x.labels.end()) continue;
      const auto j = static_cast<std::size_t>(again - x.labels.begin());
      const Shape& shape = x.value.shape();
      const std::int64_t extent = shape[static_cast<int>(i)];
      if (extent == any || extent != shape[static_cast<int>(j)])
        reader_.fail(
            fmt::format("the diagonal of '{0}{0}' needs two axes of one known size, not "
                        "those of {1}",
                        static_cast<char>(label), shape));
      std::vector<std::int64_t> order;
      Labels rest;
      for (std::size_t axis = 0; axis < x.labels.size(); ++axis)
        if (axis != i && axis != j) {
          order.push_back(static_cast<std::int64_t>(axis));
          rest.push_back(x.labels[axis]);
        }
      order.push_back(static_cast<std::int64_t>(i));
      order.push_back(static_cast<std::int64_t>(j));
      rest.push_back(label);
      x = {diagonal(transpose(x.value, order, where_), 0, where_), rest};
      i = static_cast<std::size_t>(-1);  // axes moved
    }
    return x;
  }

  Named summed(const Named& x, const Labels& kept) const {
    std::vector<std::int64_t> axes;
    for (const int label : x.labels)
      if (!has(kept, label)) axes.push_back(x.axis(label));
    if (axes.empty()) return x;
    return {sum(x.value, axes, false, where_),
            only(x.labels, [&](int label) { return has(kept, label); })};
  }

  Named in_order(const Named& x, const Labels& order) const {
    if (x.labels == order) return x;
    std::vector<std::int64_t> permutation;
    for (const int label : order) permutation.push_back(x.axis(label));
    return {transpose(x.value, permutation, where_), order};
  }

  /// x with axes of size 1 for those of `order` that it lacks.
  Output spread(const Named& x, const Labels& order) const {
    const Labels own = only(order, [&](int label) { return has(x.labels, label); });
    Output value = in_order(x, own).value;
    for (std::size_t axis = 0; axis < order.size(); ++axis)
      if (!has(x.labels, order[axis]))
        value = expand_dims(value, static_cast<std::int64_t>(axis), where_);
    return value;
  }

  Named multiply_pair(const Named& a, const Named& b, const Labels& kept) const {
    const auto in = [](const Labels& labels, bool is_in = true) {
      return [&labels, is_in](int label) { return has(labels, label) == is_in; };
    };
    const Labels common = only(a.labels, in(b.labels)), batch = only(common, in(kept)),
                 summed_over = only(common, in(kept, false)),
                 rows = only(a.labels, in(b.labels, false)),
                 columns = only(b.labels, in(a.labels, false));
    // A dot product; of 16 bits it is left to matmul, which adds up in float32.
    const bool is_dot = rows.empty() && columns.empty() && !is_half(a.value.dtype());
    if (summed_over.empty() || is_dot) {
      const Labels all = joined({batch, rows, columns, summed_over});
      return summed({mul(spread(a, all), spread(b, all), where_), all}, kept);
    }
    const Output product = matmul(as_matrices(a, batch, rows, summed_over),
                                  as_matrices(b, batch, summed_over, columns), {}, where_);
    const Labels labels = joined({batch, rows, columns});
    if (rows.size() == 1 && columns.size() == 1) return {product, labels};
    std::vector<Group> shape;
    for (std::size_t axis = 0; axis < batch.size(); ++axis)
      shape.push_back({product, {static_cast<std::int64_t>(axis)}});
    for (const int label : rows) shape.push_back({a.value, {a.axis(label)}});
    for (const int label : columns) shape.push_back({b.value, {b.axis(label)}});
    return {with_shape(product, shape), labels};
  }

  /// x as [batch, all of `rows`, all of `columns`].
  Output as_matrices(const Named& x, const Labels& batch, const Labels& rows,
                     const Labels& columns) const {
    const Named ordered = in_order(x, joined({batch, rows, columns}));
    if (rows.size() == 1 && columns.size() == 1) return ordered.value;
    std::vector<Group> shape;
    for (const int label : batch) shape.push_back({ordered.value, {ordered.axis(label)}});
    for (const Labels& labels : {rows, columns}) {
      shape.push_back({ordered.value, {}});
      for (const int label : labels) shape.back().axes.push_back(ordered.axis(label));
    }
    return with_shape(ordered.value, shape);
  }

  /// Axes of a value that become one of a shape.
  struct Group {
    Output value;
    std::vector<std::int64_t> axes;

    std::int64_t extent() const {
      std::int64_t extent = 1;
      for (const std::int64_t axis : axes) {
        const std::int64_t own = value.shape()[static_cast<int>(axis)];
        if (own == any) return any;
        extent *= own;
      }
      return extent;
    }
  };

  Output with_shape(Output x, const std::vector<Group>& groups) const {
    std::vector<std::int64_t> extents;
    for (const Group& group : groups) extents.push_back(group.extent());
    const auto unknown = std::ranges::count(extents, any);
    if (unknown == 0 || (unknown == 1 && std::ranges::count(extents, 0) == 0))
      return reshape(x, extents, where_);
    std::vector<Output> shape;
    for (const Group& group : groups) {
      const Output dims = gather(shape_of(group.value, where_),
                                 int_vector(x.graph(), group.axes, where_), 0, where_);
      shape.push_back(prod(dims, 0, true, where_));
    }
    return reshape(x, concat(shape, 0, where_), where_);
  }

  const EquationReader& reader_;
  Where where_;
};

}  // namespace

Output einsum(std::string_view equation, const std::vector<Output>& operands, Where where) {
  Graph& graph = graph_of("einsum", operands, where);
  BuildTransaction transaction(graph);
  EquationReader reader(equation, operands, graph, where);
  for (const Output& operand : operands)
    if (!operand) reader.fail("an operand is empty");
  const Equation read = reader.read();
  std::vector<Named> named;
  for (std::size_t i = 0; i < operands.size(); ++i)
    named.push_back({operands[i], read.operands[i]});
  return transaction.commit(Contraction(reader, where).multiply(std::move(named), read.result));
}

}  // namespace gradgraph
