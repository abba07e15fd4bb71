#pragma once

#include <algorithm>
#include <cstdint>

namespace gradgraph {

/// Elements of a convolution's operands that should stay in the second-level cache.
inline constexpr std::int64_t kElementsInCache = 1 << 16;

/// A matrix [inner, columns] that lines of an image are multiplied with one after the other. One
/// that is too large for the cache is cut into blocks of columns that are not, each of them gone
/// through for several lines, and contiguous: rows a power of two apart would share few places
/// in the cache.
struct FilterBlocks {
  FilterBlocks(std::int64_t inner, std::int64_t columns);

  /// Of what `packed` gives, beyond the matrix itself.
  std::int64_t packed_elements() const { return is_whole() ? 0 : inner * columns; }
  /// `matrix` in blocks, in `buffer` where there are several.
  const float* packed(const float* matrix, float* buffer, int threads) const;
  /// Lines of `size` elements, at most `most`, that blocks should be gone through for together.
  std::int64_t lines_together(std::int64_t size, std::int64_t most) const;

  /// Calls `visit(block, column, width)` for each block of what is packed: rows of `width`
  /// elements, the matrix's from `column` on.
  template <class Pointer, class Visit>
  void for_each(Pointer packed, const Visit& visit) const {
    for (std::int64_t column = 0; column < columns; column += block)
      visit(packed + column * inner, column, std::min(block, columns - column));
  }

 private:
  bool is_whole() const { return block == columns; }

  std::int64_t inner, columns;
  std::int64_t block;  ///< columns of one, but for the last
};

}  // namespace gradgraph
