#include "plan/memory_order.h"

#include <algorithm>
#include <functional>

namespace gradgraph {
namespace {

constexpr int kBits = 64;

bool overlap(const MemoryOrder::Range& a, const MemoryOrder::Range& b) {
  return std::max(a.begin, b.begin) < std::min(a.end, b.end);
}

}  // namespace

bool MemoryOrder::is_before(int earlier, int later) const {
  const auto word = static_cast<std::size_t>(earlier / kBits);
  const auto& before = before_[static_cast<std::size_t>(later)];
  return word < before.size() && (before[word] >> (earlier % kBits) & 1) != 0;
}

std::span<const int> MemoryOrder::add(std::span<const Range> ranges) {
  const int piece = static_cast<int>(before_.size());
  std::vector<int> earlier;
  for (const Touch& touch : touches_)
    for (const Range& range : ranges)
      if ((touch.range.writes || range.writes) && overlap(touch.range, range))
        earlier.push_back(touch.piece);
  // The latest first: what these wait for need not be waited for again.
  std::ranges::sort(earlier, std::greater<>());
  waits_.clear();
  for (const int other : earlier)
    if (std::ranges::none_of(waits_,
                             [&](int wait) { return wait == other || is_before(other, wait); }))
      waits_.push_back(other);

  auto& before = before_.emplace_back(static_cast<std::size_t>(piece / kBits) + 1, 0);
  for (const int wait : waits_) {
    const auto& implied = before_[static_cast<std::size_t>(wait)];
    for (std::size_t word = 0; word < implied.size(); ++word) before[word] |= implied[word];
    before[static_cast<std::size_t>(wait / kBits)] |= std::uint64_t{1} << (wait % kBits);
  }

  // Whoever waits for this write has waited for what it covers.
  std::erase_if(touches_, [&](const Touch& touch) {
    return std::ranges::any_of(ranges, [&](const Range& range) {
      return range.writes && range.begin <= touch.range.begin && touch.range.end <= range.end;
    });
  });
  for (const Range& range : ranges) touches_.push_back({range, piece});
  return waits_;
}

}  // namespace gradgraph
