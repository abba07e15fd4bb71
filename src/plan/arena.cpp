#include "plan/arena.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "core/checked.h"

namespace gradgraph {
namespace {

/// Up to so many lifetimes are packed in every way there is; the better ones take quadratic time.
constexpr std::size_t kFew = 2048;

/// Free memory of a running program: best fit, neighbours merged.
class FreeList {
 public:
  std::size_t allocate(std::size_t size) {
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

  void release(std::size_t offset, std::size_t size) {
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

  std::size_t end() const { return end_; }

 private:
  void insert(std::size_t offset, std::size_t size) {
    by_offset_.emplace(offset, size);
    by_size_.emplace(size, offset);
  }
  void erase(std::map<std::size_t, std::size_t>::iterator block) {
    by_size_.erase({block->second, block->first});
    by_offset_.erase(block);
  }

  std::map<std::size_t, std::size_t> by_offset_;
  std::set<std::pair<std::size_t, std::size_t>> by_size_;  ///< the same as (size, offset)
  std::size_t end_ = 0;
};

/// As a running program allocates: step by step. Any number of lifetimes.
std::size_t pack_by_time(std::span<Lifetime> lifetimes) {
  std::vector<std::size_t> by_end(lifetimes.size());
  std::iota(by_end.begin(), by_end.end(), std::size_t{0});
  std::ranges::stable_sort(by_end, {}, [&](std::size_t i) { return lifetimes[i].last; });
  FreeList memory;
  auto dead = by_end.begin();
  for (Lifetime& lifetime : lifetimes) {
    for (; dead != by_end.end() && lifetimes[*dead].last < lifetime.first; ++dead)
      if (lifetimes[*dead].bytes > 0)
        memory.release(lifetimes[*dead].offset, rounded(lifetimes[*dead].bytes));
    if (lifetime.bytes > 0) lifetime.offset = memory.allocate(rounded(lifetime.bytes));
  }
  return memory.end();
}

/// The largest first, each into the smallest gap that it fits in between those that it may not
/// share memory with. Source: Pisarchyk and Lee, "Efficient memory management for deep neural net
/// inference", 2020.
template <class Share>
std::size_t pack_by_size(std::span<Lifetime> lifetimes, const Share& share) {
  std::vector<Lifetime*> order;
  for (Lifetime& lifetime : lifetimes)
    if (lifetime.bytes > 0) order.push_back(&lifetime);
  std::ranges::stable_sort(order, std::greater{}, &Lifetime::bytes);
  std::vector<const Lifetime*> placed;  // by offset
  std::size_t size = 0;
  for (Lifetime* lifetime : order) {
    const std::size_t bytes = rounded(lifetime->bytes);
    std::size_t best_gap = 0, end = 0;
    bool found = false;
    for (const Lifetime* other : placed) {
      if (share(*lifetime, *other)) continue;
      const std::size_t gap = other->offset > end ? other->offset - end : 0;
      if (gap >= bytes && (!found || gap < best_gap)) {
        found = true;
        best_gap = gap;
        lifetime->offset = end;
      }
      end = std::max(end, other->offset + rounded(other->bytes));
    }
    if (!found) lifetime->offset = end;
    size = std::max(size, lifetime->offset + bytes);
    placed.insert(std::ranges::upper_bound(placed, lifetime->offset, {}, &Lifetime::offset),
                  lifetime);
  }
  return size;
}

/// Nothing adds up more than all of them, rounded.
void check_sum(std::span<const Lifetime> lifetimes) {
  std::size_t all = 0;
  for (const Lifetime& lifetime : lifetimes)
    all = checked_add(all, checked_add(lifetime.bytes, kArenaAlignment));
}

}  // namespace

std::size_t pack(std::span<Lifetime> lifetimes) {
  check_sum(lifetimes);
  if (lifetimes.size() > kFew) return pack_by_time(lifetimes);
  std::vector<Lifetime> by_size(lifetimes.begin(), lifetimes.end());
  const std::size_t bytes_by_size = pack_by_size(
      by_size,
      [](const Lifetime& a, const Lifetime& b) { return a.last < b.first || b.last < a.first; });
  const std::size_t bytes_by_time = pack_by_time(lifetimes);
  if (bytes_by_time <= bytes_by_size) return bytes_by_time;
  std::ranges::copy(by_size, lifetimes.begin());
  return bytes_by_size;
}

std::size_t pack(std::span<Lifetime> lifetimes,
                 const std::function<bool(std::size_t, std::size_t)>& share) {
  check_sum(lifetimes);
  const auto number = [&](const Lifetime& lifetime) {
    return static_cast<std::size_t>(&lifetime - lifetimes.data());
  };
  return pack_by_size(lifetimes, [&](const Lifetime& a, const Lifetime& b) {
    return share(number(a), number(b));
  });
}

}  // namespace gradgraph
