#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "device/kernel.h"

namespace gradgraph {

/// Where the matrices of each batch begin in a and b, worked out when asked for: a list would be
/// memory that no plan counts.
class Batches {
 public:
  Batches() = default;
  Batches(const Shape& a, const Shape& b, const Shape& c);
  std::size_t size() const { return count_; }
  std::pair<std::int64_t, std::int64_t> operator[](std::size_t index) const;

 private:
  Shape a_, b_, c_;
  std::size_t count_ = 1;
};

/// A batched product: its batches, and how their matrices lie in memory.
struct Products {
  std::int64_t rows, inner, columns;
  bool transpose_a, transpose_b;
  Batches batches;  ///< c's matrices follow each other
};

/// Those of a "matmul" node, or of one that begins like it, with matrices whose dimensions fit an
/// int32 as far as can be. Throws BuildError where an int64 cannot count the multiplications.
Products products_of(const KernelSite& site);

}  // namespace gradgraph
