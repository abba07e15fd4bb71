#include "plan/arena.h"

#include <iterator>

namespace gradgraph {

std::size_t ArenaLayout::allocate(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  if (size == 0) return 0;
  const auto fit = by_size_.lower_bound({size, 0});
  if (fit != by_size_.end()) {
    const auto [block_size, offset] = *fit;
    erase(by_offset_.find(offset));
    if (block_size > size) insert(offset + size, block_size - size);
    return offset;
  }
  // Nothing fits: grow, from the free block at the end where there is one.
  std::size_t offset = end_;
  if (!by_offset_.empty()) {
    const auto last = std::prev(by_offset_.end());
    if (last->first + last->second == end_) {
      offset = last->first;
      erase(last);
    }
  }
  end_ = offset + size;
  return offset;
}

void ArenaLayout::release(std::size_t offset, std::size_t bytes) {
  std::size_t size = rounded(bytes);
  if (size == 0) return;
  auto next = by_offset_.lower_bound(offset);
  if (next != by_offset_.end() && offset + size == next->first) {
    size += next->second;
    const auto merged = next++;
    erase(merged);
  }
  if (next != by_offset_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      offset = before->first;
      size += before->second;
      erase(before);
    }
  }
  insert(offset, size);
}

void ArenaLayout::insert(std::size_t offset, std::size_t bytes) {
  by_offset_.emplace(offset, bytes);
  by_size_.emplace(bytes, offset);
}

void ArenaLayout::erase(std::map<std::size_t, std::size_t>::iterator block) {
  by_size_.erase({block->second, block->first});
  by_offset_.erase(block);
}

}  // namespace gradgraph
