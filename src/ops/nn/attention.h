#pragma once

#include <cstdint>

#include "gradgraph/graph.h"

namespace gradgraph {

/// A "fused_attention" node or its gradient: for each head, which is what the leading axes count,
/// some queries over some keys.
struct Attention {
  std::int64_t heads = 1, queries, keys;
  /// Those of which rows lie side by side: in [.., rows, heads, depth], where others are
  /// [.., heads, rows, depth].
  std::int64_t inner_heads = 1;
  std::int64_t depth;        ///< of a query and a key
  std::int64_t value_depth;  ///< of a value and a result
  double scale;
  /// The score of what the mask, where it is a boolean one, does not let see.
  double hidden;
  bool keeps_weights;  ///< for the gradient, which otherwise makes them anew
  int mask_input;      ///< -1 where there is none
  Shape mask_shape;
  std::int64_t mask_heads = 1;  ///< that differ in their masks

  /// Elements from the mask of a query to that of the next one, and of all masks of a head. The
  /// last axis of a mask has all keys.
  std::int64_t mask_stride = 0, mask_size = 0;

  explicit Attention(const Node& node);
  /// The axes in front of rows, which count heads.
  const Shape& leading_axes() const { return leading_; }
  /// Which of the masks a head has.
  std::int64_t mask_of(std::int64_t head) const;

 private:
  Attention(const Node& node, const Shape& q, const Shape& k, const Shape& v);
  Shape leading_;
};

/// [.., rows, heads, depth] as [.., heads, rows, depth], or the other way.
Shape with_heads_swapped(Shape shape);

/// Elements that a query's row of scores or weights takes. It ends in some that count for
/// nothing: rows are whole steps of loops, but not whole pages, since rows that all begin at the
/// same place in a page share few lines of the first-level cache. Of fewer keys none is longer.
std::int64_t row_of_scores(std::int64_t keys);

}  // namespace gradgraph
