#include "cuda_emulation/access_check.h"

#include <link.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdio>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cuda_emulation/engine.h"

namespace cuda_emulation {
namespace {

bool checking = false;

struct Access {
  std::uint64_t block = 0;  // 0: none
  unsigned interval = 0, warp_interval = 0;
  std::uint16_t thread = 0;
  bool atomic = false;
};
/// What is remembered of a byte: its last write, and its last read with one of another warp.
struct Cell {
  Access write, read, other_read;
};
constexpr std::size_t kPage = 1024;
struct Page {
  std::bitset<kPage> written;
  std::unique_ptr<std::array<Cell, kPage>> cells;  // of pages that kernels touched
};

std::unordered_map<std::uintptr_t, Page> pages;
std::uintptr_t last_number = ~std::uintptr_t{};
Page* last_page = nullptr;

Page& page_of(std::uintptr_t address) {
  const std::uintptr_t number = address / kPage;
  if (number != last_number) {
    last_page = &pages[number];
    last_number = number;
  }
  return *last_page;
}

[[noreturn]] void report(const char* what, std::uintptr_t address, const void* code) {
  char text[100];
  std::snprintf(text, sizeof text, "%s at %p, ", what, reinterpret_cast<void*>(address));
  refuse(text + source_of(static_cast<const char*>(code) - 1));
}

/// Whether nothing orders two accesses of the launch that runs.
bool unordered(const Access& before, const Access& now) {
  if (before.block < position.first_block || (before.atomic && now.atomic)) return false;
  if (before.block != now.block) return true;
  if (before.thread == now.thread) return false;
  return before.thread / 32 == now.thread / 32 ? before.warp_interval == now.warp_interval
                                               : before.interval == now.interval;
}

/// threadIdx and its neighbours, which kernels read all the time.
bool is_index(std::uintptr_t address) {
  for (const void* const index :
       {static_cast<const void*>(&threadIdx), static_cast<const void*>(&blockIdx),
        static_cast<const void*>(&blockDim), static_cast<const void*>(&gridDim)})
    if (address - reinterpret_cast<std::uintptr_t>(index) < sizeof(dim3)) return true;
  return false;
}

/// The live block that holds an address: the same few answer for a whole launch.
Block live_block(std::uintptr_t address) {
  static std::uint64_t launch = 0;
  static std::array<Block, 4> known;
  static std::size_t next = 0;
  if (launch != position.first_block) known = {};
  launch = position.first_block;
  for (const Block& block : known)
    if (address >= block.low && address < block.high) return block;
  return known[next++ % known.size()] = reachable_block(reinterpret_cast<const void*>(address));
}

struct Hook {
  bool writes = false, atomic = false, aligned = false;
  const void* code = nullptr;
};

/// What memory kernels share is: the device's and the block's, where reads of what nobody has
/// written are errors; the host's, of which nothing more is known; and the static variables that
/// stand for a block's shared memory. All else is the emulator's own.
enum class Space { device, host, dynamic_shared, static_shared, other };

/// Whether the address is that of a variable of this program.
bool is_static(std::uintptr_t address) {
  static const std::vector<std::pair<std::uintptr_t, std::uintptr_t>> segments = [] {
    std::vector<std::pair<std::uintptr_t, std::uintptr_t>> found;
    const auto add = [](dl_phdr_info* info, std::size_t, void* to) {
      for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& segment = info->dlpi_phdr[i];
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) == 0) continue;
        const std::uintptr_t low = info->dlpi_addr + segment.p_vaddr;
        static_cast<decltype(found)*>(to)->emplace_back(low, low + segment.p_memsz);
      }
      return 0;
    };
    dl_iterate_phdr(add, &found);
    return found;
  }();
  return std::any_of(segments.begin(), segments.end(), [=](const auto& segment) {
    return address >= segment.first && address < segment.second;
  });
}

Space space_of(std::uintptr_t address, std::size_t bytes, const void* code) {
  const auto* const memory = reinterpret_cast<const void*>(address);
  const SharedPlace shared = shared_place(memory, bytes);
  if (shared == SharedPlace::outside) report("an access out of bounds", address, code);
  if (shared == SharedPlace::inside) return Space::dynamic_shared;
  if (is_static(address)) return Space::static_shared;
  if (!is_reserved(memory)) return Space::other;
  const Block block = live_block(address);
  if (address + bytes > block.high) report("an access out of bounds", address, code);
  return block.of_host ? Space::host : Space::device;
}

void check_access(const void* memory, std::size_t bytes, const Hook& hook) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  if ((memory >= position.stack_low && memory < position.stack_high) || is_index(address)) return;
  if (hook.aligned && address % bytes != 0) report("a misaligned access", address, hook.code);
  const Space space = space_of(address, bytes, hook.code);
  if (space == Space::other) return;
  const bool of_block = space == Space::dynamic_shared || space == Space::static_shared;
  const bool must_be_written = space == Space::device || space == Space::dynamic_shared;
  const Access now{position.block, position.interval, position.warp_interval,
                   static_cast<std::uint16_t>(position.thread), hook.atomic};
  for (std::size_t i = 0; i < bytes; ++i) {
    const std::size_t at = (address + i) % kPage;
    Page& page = page_of(address + i);
    if (!page.cells) page.cells = std::make_unique<std::array<Cell, kPage>>();
    Cell& cell = (*page.cells)[at];
    // Another block's static shared memory has the same address, and is another.
    const bool stale = of_block && cell.write.block != 0 && cell.write.block != now.block;
    if (stale && !hook.writes)
      report("a read of what this block has not written", address, hook.code);
    if (of_block && (stale || cell.read.block != now.block)) cell.read = cell.other_read = {};
    if (stale) cell.write = {};
    if (unordered(cell.write, now))
      report(hook.writes ? "two unordered writes" : "a read beside an unordered write", address,
             hook.code);
    if (must_be_written && !page.written[at] && (!hook.writes || hook.atomic))
      report("a read of what nobody has written", address, hook.code);
    if (hook.writes) {
      if (unordered(cell.read, now) || unordered(cell.other_read, now))
        report("a write beside an unordered read", address, hook.code);
      cell.write = now;
      page.written[at] = true;
    } else {
      if (cell.read.thread / 32 != now.thread / 32 || cell.read.block != now.block)
        cell.other_read = cell.read;
      cell.read = now;
    }
  }
}

void access(const void* memory, std::size_t bytes, const Hook& hook) {
  if (!checking || !in_kernel) return;
  in_kernel = false;  // what is done here is not the kernel's
  check_access(memory, bytes, hook);
  in_kernel = true;
}

void mark(const void* memory, std::size_t bytes, bool written) {
  if (!checking) return;
  const auto low = reinterpret_cast<std::uintptr_t>(memory), high = low + bytes;
  for (std::uintptr_t address = low; address < high; ++address) {
    Page& page = page_of(address);
    page.written[address % kPage] = written;
    if (page.cells) (*page.cells)[address % kPage] = {};
  }
}

}  // namespace

void check_accesses(bool on) {
  checking = on;
  pages.clear();
  last_number = ~std::uintptr_t{};
}
void note_atomic(const void* memory, std::size_t bytes) {
  access(memory, bytes, {true, true, true, __builtin_return_address(0)});
}
void note_written(const void* memory, std::size_t bytes) { mark(memory, bytes, true); }
void note_unwritten(const void* memory, std::size_t bytes) { mark(memory, bytes, false); }
void note_freed(const void* memory, std::size_t bytes) {
  const auto low = reinterpret_cast<std::uintptr_t>(memory);
  for (std::uintptr_t number = low / kPage; number <= (low + bytes) / kPage; ++number)
    pages.erase(number);
  last_number = ~std::uintptr_t{};
}

}  // namespace cuda_emulation

// --- What compilers call ---------------------------------------------------------------------

extern "C" {
#define HOOK(name, size, writes, aligned)                                                        \
  void name##size(void* memory) {                                                                \
    cuda_emulation::access(memory, size, {writes, false, aligned, __builtin_return_address(0)}); \
  }
#define HOOKS(size)                               \
  HOOK(__tsan_read, size, false, true)            \
  HOOK(__tsan_write, size, true, true)            \
  HOOK(__tsan_unaligned_read, size, false, false) \
  HOOK(__tsan_unaligned_write, size, true, false)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void* memory, std::size_t bytes) {
  cuda_emulation::access(memory, bytes, {false, false, false, __builtin_return_address(0)});
}
void __tsan_write_range(void* memory, std::size_t bytes) {
  cuda_emulation::access(memory, bytes, {true, false, false, __builtin_return_address(0)});
}
// Programs are linked with --wrap for these: compilers call them for larger values.
#define CUDA_EMULATION_COPY(prefix, name)                                                    \
  void* prefix##name(void* to, const void* from, std::size_t bytes) {                        \
    cuda_emulation::access(from, bytes, {false, false, false, __builtin_return_address(0)}); \
    cuda_emulation::access(to, bytes, {true, false, false, __builtin_return_address(0)});    \
    return __real_##name(to, from, bytes);                                                   \
  }
#define CUDA_EMULATION_FILL(prefix)                                                       \
  void* prefix##memset(void* to, int value, std::size_t bytes) {                          \
    cuda_emulation::access(to, bytes, {true, false, false, __builtin_return_address(0)}); \
    return __real_memset(to, value, bytes);                                               \
  }
void* __real_memcpy(void*, const void*, std::size_t);
void* __real_memmove(void*, const void*, std::size_t);
void* __real_memset(void*, int, std::size_t);
CUDA_EMULATION_COPY(__wrap_, memcpy)
CUDA_EMULATION_COPY(__wrap_, memmove)
CUDA_EMULATION_FILL(__wrap_)
CUDA_EMULATION_COPY(__tsan_, memcpy)
CUDA_EMULATION_COPY(__tsan_, memmove)
CUDA_EMULATION_FILL(__tsan_)
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
}
