#include "cuda_emulation/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "cuda_emulation/address_sanitizer.h"

namespace cuda_emulation {
namespace {

/// Larger allocations are not filled: work memory of cuBLAS, which ours does without. Pages that
/// nobody has touched cost nothing when memory is opened and closed, which is done all the time.
constexpr std::size_t kMostFilled = std::size_t{16} << 20;
/// The alignment of cudaMalloc.
constexpr std::size_t kAlignment = 256;

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}
std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

/// The pages that an allocation lies in: it ends where they do, but for its padding.
std::pair<std::byte*, std::size_t> pages_of(std::byte* memory, std::size_t bytes) {
  const std::size_t pages = round_up(round_up(bytes, kAlignment), page_bytes());
  return {memory + round_up(bytes, kAlignment) - pages, pages};
}

}  // namespace

Memory::Memory(bool open)
    : low_(static_cast<std::byte*>(mmap(nullptr, kReserved, PROT_NONE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))),
      open_(open) {
  if (low_ == MAP_FAILED) throw std::bad_alloc();
  next_ = low_ + page_bytes();
}

void* Memory::allocate(std::size_t bytes) {
  if (bytes == 0 || bytes > limit_ - used_) return nullptr;
  const std::size_t padded = round_up(bytes, kAlignment), pages = round_up(padded, page_bytes());
  if (pages + page_bytes() > static_cast<std::size_t>(low_ + kReserved - next_)) return nullptr;
  if (mprotect(next_, pages, PROT_READ | PROT_WRITE) != 0) return nullptr;
  std::byte* const memory = next_ + pages - padded;
  if (pages <= kMostFilled) std::memset(next_, 0xCD, pages);
  if (!open_) mprotect(next_, pages, PROT_NONE);
  forbid(next_, pages);
  permit(memory, bytes);
  live_.emplace(memory, bytes);
  used_ += bytes;
  next_ += pages + page_bytes();
  return memory;
}

bool Memory::free(void* memory) {
  const auto found = live_.find(static_cast<std::byte*>(memory));
  if (found == live_.end()) return false;
  const auto [first, bytes] = pages_of(found->first, found->second);
  forbid(first, bytes);
  madvise(first, bytes, MADV_DONTNEED);
  mprotect(first, bytes, PROT_NONE);
  used_ -= found->second;
  live_.erase(found);
  return true;
}

void Memory::open() {
  if (!open_) protect(PROT_READ | PROT_WRITE);
  open_ = true;
}
void Memory::close() {
  if (open_) protect(PROT_NONE);
  open_ = false;
}
void Memory::protect(int protection) {
  for (const auto& [memory, size] : live_) {
    const auto [first, bytes] = pages_of(memory, size);
    mprotect(first, bytes, protection);
  }
}

std::pair<std::uintptr_t, std::uintptr_t> Memory::block(const void* address) const {
  auto* const at = static_cast<std::byte*>(const_cast<void*>(address));
  auto found = live_.upper_bound(at);
  if (found == live_.begin() || (--found, at >= found->first + found->second)) return {0, 0};
  const auto low = reinterpret_cast<std::uintptr_t>(found->first);
  return {low, low + found->second};
}

}  // namespace cuda_emulation
