#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "plan/memory_order.h"

/// What waits for what when only memory tells.
using gradgraph::MemoryOrder;
using Range = MemoryOrder::Range;

namespace {

std::vector<int> added(MemoryOrder& order, std::vector<Range> ranges) {
  const auto waits = order.add(ranges);
  return {waits.begin(), waits.end()};
}
constexpr bool kReads = false, kWrites = true;

}  // namespace

TEST_SUITE("memory order") {
  TEST_CASE("readers wait for the writer, the next writer for both") {
    MemoryOrder order;
    CHECK(added(order, {{0, 8, kWrites}}).empty());
    CHECK(added(order, {{0, 8, kReads}, {8, 16, kWrites}}) == std::vector{0});
    CHECK(added(order, {{4, 6, kReads}}) == std::vector{0});
    // Of the writer it knows through the readers.
    CHECK(added(order, {{0, 8, kWrites}}) == std::vector{2, 1});
    CHECK(added(order, {{7, 9, kReads}}) == std::vector{3});
  }
  TEST_CASE("neighbours, what is empty and other readers are not waited for") {
    MemoryOrder order;
    CHECK(added(order, {{0, 8, kWrites}}).empty());
    CHECK(added(order, {{8, 16, kWrites}}).empty());
    CHECK(added(order, {{4, 4, kWrites}}).empty());
    CHECK(added(order, {{20, 30, kReads}}).empty());
    CHECK(added(order, {{20, 30, kReads}}).empty());
  }
  TEST_CASE("a part that is written over leaves the rest as it was") {
    MemoryOrder order;
    CHECK(added(order, {{0, 16, kWrites}}).empty());
    CHECK(added(order, {{0, 8, kWrites}}) == std::vector{0});
    CHECK(added(order, {{8, 16, kReads}}) == std::vector{0});
    CHECK(added(order, {{0, 16, kWrites}}) == std::vector{2, 1});
  }
  TEST_CASE("of random work all that conflicts is ordered, and nothing else is waited for") {
    std::mt19937_64 random(7);
    for (int round = 0; round < 20; ++round) {
      MemoryOrder order;
      std::vector<std::vector<Range>> pieces;
      std::vector<std::vector<bool>> before;  // all that is done when the piece begins
      for (int piece = 0; piece < 150; ++piece) {
        std::vector<Range> ranges(1 + random() % 3);
        for (Range& range : ranges) {
          range.begin = random() % 40;
          range.end = range.begin + random() % 10;
          range.writes = random() % 3 == 0;
        }
        std::vector<bool> done(pieces.size());
        const auto conflicts = [&](std::size_t other) {
          for (const Range& a : pieces[other])
            for (const Range& b : ranges)
              if ((a.writes || b.writes) && std::max(a.begin, b.begin) < std::min(a.end, b.end))
                return true;
          return false;
        };
        for (const int wait : added(order, ranges)) {
          CHECK(conflicts(static_cast<std::size_t>(wait)));
          CHECK_FALSE(done[static_cast<std::size_t>(wait)]);  // one that others imply
          done[static_cast<std::size_t>(wait)] = true;
          for (std::size_t i = 0; i < before[static_cast<std::size_t>(wait)].size(); ++i)
            if (before[static_cast<std::size_t>(wait)][i]) done[i] = true;
        }
        for (std::size_t other = 0; other < pieces.size(); ++other)
          if (conflicts(other)) CHECK(done[other]);
        pieces.push_back(ranges);
        before.push_back(done);
      }
    }
  }
}
