#include "settings.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::uint64_t> allocations = 0;

void* counted(void* memory) {
  if (!memory) throw std::bad_alloc();
  ++allocations;
  return memory;
}
}  // namespace

// All other forms end in these.
void* operator new(std::size_t bytes) { return counted(std::malloc(bytes)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace gradgraph::tests {

void in_every_setting(const std::function<void()>& body) { body(); }
void in_every_order(const std::function<void()>& body) { body(); }

std::uint64_t allocations_in(const std::function<void()>& body) {
  const std::uint64_t before = allocations;
  body();
  return allocations - before;
}

}  // namespace gradgraph::tests
