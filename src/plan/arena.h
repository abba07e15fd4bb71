#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>

namespace gradgraph {

/// Offsets for buffers that come and go in a known order: best fit, neighbours merged. Its peak
/// is the size of the arena.
class ArenaLayout {
 public:
  static constexpr std::size_t kAlignment = 64;

  /// The offset of `bytes` free bytes.
  std::size_t allocate(std::size_t bytes);
  /// `bytes` as they were asked for.
  void release(std::size_t offset, std::size_t bytes);
  std::size_t peak() const { return end_; }
  static std::size_t rounded(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

 private:
  void insert(std::size_t offset, std::size_t bytes);
  void erase(std::map<std::size_t, std::size_t>::iterator block);

  std::map<std::size_t, std::size_t> by_offset_;           ///< free blocks
  std::set<std::pair<std::size_t, std::size_t>> by_size_;  ///< the same as (bytes, offset)
  std::size_t end_ = 0;
};

}  // namespace gradgraph
