#pragma once

#include <cstddef>

namespace gradgraph {

/// Memory of the host, aligned, or null where there is none. More than the machine has is refused
/// at once: systems that overcommit would give addresses, and end the process when it uses them.
void* allocate_host(std::size_t bytes, std::size_t alignment) noexcept;
void free_host(void* memory, std::size_t alignment) noexcept;

}  // namespace gradgraph
