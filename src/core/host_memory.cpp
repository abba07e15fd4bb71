#include "core/host_memory.h"

#ifdef __linux__
#include <sys/sysinfo.h>
#endif

#include <limits>
#include <new>

namespace gradgraph {
namespace {

/// Memory and swap of this machine; what a system does not tell is no limit.
std::size_t machine_bytes() {
#ifdef __linux__
  struct sysinfo info {};
  if (sysinfo(&info) == 0 && info.totalram > 0)
    return (static_cast<std::size_t>(info.totalram) + info.totalswap) * info.mem_unit;
#endif
  return std::numeric_limits<std::ptrdiff_t>::max();
}

}  // namespace

void* allocate_host(std::size_t bytes, std::size_t alignment) noexcept {
  static const std::size_t most = machine_bytes();
  if (bytes > most) return nullptr;
  return ::operator new (bytes, std::align_val_t{alignment}, std::nothrow);
}

void free_host(void* memory, std::size_t alignment) noexcept {
  ::operator delete (memory, std::align_val_t{alignment});
}

}  // namespace gradgraph
