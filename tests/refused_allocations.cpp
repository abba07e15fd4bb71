#include "refused_allocations.h"

#include <cstddef>
#include <cstdlib>
#include <new>

// Every operator new of the process comes here; the other forms call these.
namespace {

/// Allocations up to the one to refuse; 0 where none is.
thread_local int left = 0;
thread_local bool refused = false;

void* allocate(std::size_t size) {
  if (left > 0 && --left == 0) {
    refused = true;
    return nullptr;
  }
  return std::malloc(size == 0 ? 1 : size);
}
void* allocate(std::size_t size, std::align_val_t alignment) {
  if (left > 0 && --left == 0) {
    refused = true;
    return nullptr;
  }
  const auto unit = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(unit, (size / unit + 1) * unit);
}
void* required(void* memory) {
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return required(allocate(size)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return required(allocate(size, alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, alignment);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace gradgraph::tests {

RefusedAllocation::RefusedAllocation(int n) {
  refused = false;
  left = n;
}
RefusedAllocation::~RefusedAllocation() { left = 0; }
bool RefusedAllocation::end() {
  left = 0;
  return refused;
}

}  // namespace gradgraph::tests
