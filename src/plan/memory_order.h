#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace gradgraph {

/// Which earlier pieces of work a new one must wait for, when they may run side by side: of two
/// that touch the same bytes, and one of which writes them, the later waits for the earlier.
class MemoryOrder {
 public:
  struct Range {
    std::uintptr_t begin = 0, end = 0;
    bool writes = false;
  };
  /// Adds a piece, whose number is how many there were before. Returns, until the next call, the
  /// pieces that it waits for, but for those that these wait for anyway.
  std::span<const int> add(std::span<const Range> ranges);

 private:
  struct Touch {
    Range range;
    int piece = 0;
  };
  bool is_before(int earlier, int later) const;

  std::vector<Touch> touches_;  ///< but for those that a later write has covered
  std::vector<std::vector<std::uint64_t>> before_;  ///< by piece: all that is done by then
  std::vector<int> waits_;
};

}  // namespace gradgraph
