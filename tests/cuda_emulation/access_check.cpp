#include "cuda_emulation/access_check.h"

#include <link.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdio>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cuda_emulation/address_sanitizer.h"
#include "cuda_emulation/engine.h"

namespace cuda_emulation {
namespace {

bool checking = false;

// --- What is remembered ----------------------------------------------------------------------

/// Who touched a byte.
struct Touch {
  std::uint64_t block = 0;
  unsigned interval = 0, warp_interval = 0;
  std::uint32_t task = 0;  // 0: nobody
  std::uint16_t thread = 0;
  bool atomic = false;
};
/// The last write of a byte, and its last read with one of another warp or task.
struct Cell {
  Touch write, read, other_read;
};
constexpr std::size_t kPage = 1024;
struct Page {
  std::bitset<kPage> written;
  Cell whole;  // of all bytes, while they have none of their own
  std::unique_ptr<std::array<Cell, kPage>> cells;

  Cell& cell(std::size_t at) {
    if (!cells) {
      cells = std::make_unique<std::array<Cell, kPage>>();
      cells->fill(whole);
    }
    return (*cells)[at];
  }
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

/// Every piece of work so far, from 1.
struct PastTask {
  Stamp stamp;
  const void* kernel = nullptr;
};
std::vector<PastTask> past;
Task now;
std::shared_ptr<const std::vector<Range>> allowed;  // what `now` may touch

std::uint32_t running_task() { return static_cast<std::uint32_t>(past.size() - 1); }
bool is_ordered(std::uint32_t task) {
  static std::uint32_t known = 0, of = 0;
  static bool is_before = false;
  if (task == 0) return true;
  if (task != known || of != running_task()) is_before = now.is_after(past[task].stamp);
  known = task;
  of = running_task();
  return is_before;
}

// --- Races -----------------------------------------------------------------------------------

/// Whether nothing orders two accesses.
bool unordered(const Touch& before, const Touch& after) {
  if (before.task == 0 || (before.atomic && after.atomic)) return false;
  if (before.task != after.task) return !is_ordered(before.task);
  if (before.block != after.block) return true;
  if (before.thread == after.thread) return false;
  return before.thread / 32 == after.thread / 32 ? before.warp_interval == after.warp_interval
                                                 : before.interval == after.interval;
}

struct Fault {
  const char* what = nullptr;  // null: none
  std::uint32_t other = 0;     // the task that made the other access
};

bool holds(const Range& range, std::uintptr_t address, std::size_t bytes) {
  const auto low = reinterpret_cast<std::uintptr_t>(range.low);
  return address >= low && address + bytes <= low + range.bytes;
}
/// Whether work may touch these bytes of an allocation.
bool is_allowed(std::uintptr_t address, std::size_t bytes, const Block& block) {
  if (!allowed) return true;
  bool is_shared = false;  // by operands
  for (const Range& range : *allowed) {
    if (holds(range, address, bytes)) return true;
    const auto low = reinterpret_cast<std::uintptr_t>(range.low);
    is_shared = is_shared || (low >= block.low && low < block.high);
  }
  return !is_shared;
}

/// What is wrong with an access, which is noted otherwise.
Fault touch(Cell& cell, const Touch& touch, bool writes) {
  if (unordered(cell.write, touch))
    return {writes ? "two unordered writes" : "a read beside an unordered write",
            cell.write.task};
  if (writes) {
    for (const Touch& read : {cell.read, cell.other_read})
      if (unordered(read, touch)) return {"a write beside an unordered read", read.task};
    cell.write = touch;
  } else {
    if (cell.read.thread / 32 != touch.thread / 32 || cell.read.block != touch.block)
      cell.other_read = cell.read;
    cell.read = touch;
  }
  return {};
}

std::string text_of(const Fault& fault, std::uintptr_t address) {
  char text[100];
  std::snprintf(text, sizeof text, "%s at %p", fault.what, reinterpret_cast<void*>(address));
  if (fault.other == 0 || fault.other == running_task()) return text;
  const void* const kernel = past[fault.other].kernel;
  return std::string(text) + " by " + (kernel ? source_of(kernel) : "a copy or library");
}
[[noreturn]] void report(const Fault& fault, std::uintptr_t address, const void* code) {
  refuse(text_of(fault, address) + ", " + source_of(static_cast<const char*>(code) - 1));
}

// --- Loads and stores of kernels -------------------------------------------------------------

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

/// The parts of this program's files in memory.
struct Segment {
  std::uintptr_t low, high;
  bool is_writable;
};
const std::vector<Segment>& segments() {
  static const std::vector<Segment> all = [] {
    std::vector<Segment> found;
    const auto add = [](dl_phdr_info* info, std::size_t, void* to) {
      for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& part = info->dlpi_phdr[i];
        const std::uintptr_t low = info->dlpi_addr + part.p_vaddr;
        if (part.p_type == PT_LOAD)
          static_cast<std::vector<Segment>*>(to)->push_back(
              {low, low + part.p_memsz, (part.p_flags & PF_W) != 0});
      }
      return 0;
    };
    dl_iterate_phdr(add, &found);
    return found;
  }();
  return all;
}

/// What memory kernels may touch: the device's and the block's, where reads of what nobody has
/// written are errors; the host's that is pinned, of which nothing more is known; constants of
/// the program; and its variables, which stand for a block's shared memory.
enum class Space { device, pinned, constant, dynamic_shared, static_shared };

Space space_of(std::uintptr_t address, std::size_t bytes, const void* code) {
  const auto* const memory = reinterpret_cast<const void*>(address);
  const SharedPlace shared = shared_place(memory, bytes);
  if (shared == SharedPlace::outside) report({"an access out of bounds"}, address, code);
  if (shared == SharedPlace::inside) return Space::dynamic_shared;
  if (is_reserved(memory)) {
    const Block block = live_block(address);
    if (address + bytes > block.high) report({"an access out of bounds"}, address, code);
    if (!is_allowed(address, bytes, block))
      report({"an access beside the operands"}, address, code);
    return block.of_host ? Space::pinned : Space::device;
  }
  for (const Segment& segment : segments())
    if (address >= segment.low && address < segment.high)
      return segment.is_writable ? Space::static_shared : Space::constant;
  report({"an access of the host's memory"}, address, code);
}

void check_access(const void* memory, std::size_t bytes, const Access& access) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  if ((memory >= position.stack_low && memory < position.stack_high) || is_index(address)) return;
  if (access.aligned && address % bytes != 0)
    report({"a misaligned access"}, address, access.code);
  const Space space = space_of(address, bytes, access.code);
  if (space == Space::pinned || space == Space::constant) return;
  const bool of_block = space != Space::device;
  const Touch own{position.block,
                  position.interval,
                  position.warp_interval,
                  running_task(),
                  static_cast<std::uint16_t>(position.thread),
                  access.atomic};
  for (std::size_t i = 0; i < bytes; ++i) {
    const std::size_t at = (address + i) % kPage;
    Page& page = page_of(address + i);
    Cell& cell = page.cell(at);
    // Another block's shared memory has the same address, and is another.
    const bool stale = of_block && cell.write.block != 0 && cell.write.block != own.block;
    if (stale && !access.writes)
      report({"a read of what this block has not written"}, address, access.code);
    if (of_block && (stale || cell.read.block != own.block)) cell.read = cell.other_read = {};
    if (stale) cell.write = {};
    const bool must_be_written = space != Space::static_shared;
    const bool reads = !access.writes || access.atomic;
    if (const Fault fault = touch(cell, own, access.writes); fault.what)
      report(fault, address, access.code);
    if (must_be_written && reads && !page.written[at])
      report({"a read of what nobody has written"}, address, access.code);
    if (access.writes) page.written[at] = true;
  }
}

// --- Copies ----------------------------------------------------------------------------------

/// What is wrong with an access of `count` bytes of a page from `at` on.
Fault touch_range(Page& page, std::size_t at, std::size_t count, const Touch& own, bool writes) {
  if (!writes)
    for (std::size_t i = at; i < at + count; ++i)
      if (!page.written[i]) return {"a read of what nobody has written"};
  if (count == kPage && !page.cells) return touch(page.whole, own, writes);
  for (std::size_t i = at; i < at + count; ++i)
    if (const Fault fault = touch(page.cell(i), own, writes); fault.what) return fault;
  if (count == kPage && writes) {
    page.whole = (*page.cells)[0];
    page.cells = nullptr;
  }
  return {};
}

std::string check_range(const void* memory, std::size_t bytes, bool writes) {
  if (!checking) return "";
  const Touch own{.task = running_task()};
  const auto low = reinterpret_cast<std::uintptr_t>(memory), high = low + bytes;
  if (bytes > 0 && !is_allowed(low, bytes, reachable_block(memory)))
    return text_of({"an access beside the operands"}, low) + ", by a copy or library";
  for (std::uintptr_t address = low; address < high;) {
    Page& page = page_of(address);
    const std::size_t at = address % kPage;
    const std::size_t count = std::min<std::size_t>(kPage - at, high - address);
    if (const Fault fault = touch_range(page, at, count, own, writes); fault.what)
      return text_of(fault, address) + ", by a copy or library";
    if (writes)
      for (std::size_t i = at; i < at + count; ++i) page.written[i] = true;
    address += count;
  }
  return "";
}

/// Forgets who touched the bytes.
void reset(const void* memory, std::size_t bytes, bool written) {
  if (!checking) return;
  const auto low = reinterpret_cast<std::uintptr_t>(memory), high = low + bytes;
  for (std::uintptr_t address = low; address < high; ++address) {
    Page& page = page_of(address);
    page.written[address % kPage] = written;
    if (page.cells || page.whole.write.task != 0) page.cell(address % kPage) = {};
  }
}

/// Nobody has written it, but who touched it before still counts for races.
void forget_written(const Range& range) {
  const auto low = reinterpret_cast<std::uintptr_t>(range.low);
  for (std::uintptr_t address = low; address < low + range.bytes; ++address)
    page_of(address).written[address % kPage] = false;
}

}  // namespace

void check_accesses(bool on) {
  checking = on && !kAddressSanitizer;  // which compiles kernels without calls of the hooks
  pages.clear();
  last_number = ~std::uintptr_t{};
  past.assign(1, {});
}
void begin_task(const Task& task, const void* kernel, const Operands& operands) {
  if (!checking) return;
  now = task;
  allowed = operands.allowed;
  for (const Range& range : operands.fresh) forget_written(range);
  past.push_back({task.stamp, kernel});
}
void note_access(const void* memory, std::size_t bytes, const Access& access) {
  if (!checking || !in_kernel) return;
  in_kernel = false;  // what is done here is not the kernel's
  check_access(memory, bytes, access);
  in_kernel = true;
}
std::string note_read(const void* memory, std::size_t bytes) {
  return check_range(memory, bytes, false);
}
std::string note_written(const void* memory, std::size_t bytes) {
  return check_range(memory, bytes, true);
}
void note_known(const void* memory, std::size_t bytes) { reset(memory, bytes, true); }
void note_unwritten(const void* memory, std::size_t bytes) { reset(memory, bytes, false); }
void note_freed(const void* memory, std::size_t bytes) {
  const auto low = reinterpret_cast<std::uintptr_t>(memory);
  for (std::uintptr_t number = low / kPage; number <= (low + bytes) / kPage; ++number)
    pages.erase(number);
  last_number = ~std::uintptr_t{};
}

}  // namespace cuda_emulation
