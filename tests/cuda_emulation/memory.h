#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

namespace cuda_emulation {

/// The memory of a device, or the host's that devices reach. Every allocation ends where a page
/// does that faults, is filled with 0xCD, and has addresses that are never given again, so what
/// is freed faults too. While it is closed all of it faults. The engine's lock guards it.
class Memory {
 public:
  explicit Memory(bool open);
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Null where this would be more than the limit.
  void* allocate(std::size_t bytes);
  /// False when there is no such allocation.
  bool free(void* memory);
  void open();
  void close();

  void limit(std::size_t bytes) { limit_ = bytes; }
  std::size_t limit() const { return limit_; }
  std::size_t used() const { return used_; }
  /// Sizes of the live allocations.
  const std::map<std::byte*, std::size_t>& live() const { return live_; }
  /// Whether the address is one that this memory may give.
  bool has(const void* address) const { return address >= low_ && address < low_ + kReserved; }
  /// First and last address, plus one, of the live allocation that holds an address; else {0, 0}.
  std::pair<std::uintptr_t, std::uintptr_t> block(const void* address) const;

 private:
  static constexpr std::size_t kReserved = std::size_t{256} << 30;

  void protect(int protection);

  std::byte *low_, *next_;
  std::size_t limit_ = std::size_t{16} << 30, used_ = 0;
  bool open_;
  std::map<std::byte*, std::size_t> live_;
};

}  // namespace cuda_emulation
