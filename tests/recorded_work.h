#pragma once

#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "device/device.h"

/// What a run issues to devices, and whether all that touches the same memory is in order.
namespace gradgraph::tests {

struct MemoryRange {
  std::uintptr_t begin = 0, end = 0;
  bool writes = false;
};

/// One thing that was issued, in the order of issue. `event` was recorded, or is waited for.
struct WorkItem {
  enum class Kind : std::uint8_t { launch, copy, record, wait, host_waits } kind;
  const Stream* stream = nullptr;  ///< of host_waits: the one waited for, or null
  const Event* event = nullptr;
  CopyKind copy_kind = CopyKind::within;
  std::string what = {};
  std::vector<MemoryRange> ranges = {};
};

class WorkRecord {
 public:
  void add(WorkItem item) {
    const std::scoped_lock lock(mutex_);
    items_.push_back(std::move(item));
  }
  const std::vector<WorkItem>& items() const { return items_; }
  void clear() { items_.clear(); }

  /// Work on the ranges that a launch of `node` reads and writes.
  static WorkItem of(const Stream& stream, const Launch& launch);

 private:
  std::mutex mutex_;
  std::vector<WorkItem> items_;
};

inline constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

/// The first two items that touch the same memory, one to write it, of which nothing says that
/// the first is done when the second begins, or the first that is not done when the host has
/// waited last; in words. Empty where there are none. As if item `without` were missing.
std::string find_race(const std::vector<WorkItem>& items, std::size_t without = kNone);

}  // namespace gradgraph::tests
