#pragma once

/// What the address sanitizer must be told of fibers and device memory; nothing where it is off.

#include <cstddef>

#ifdef __has_feature  // clang
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_emulation {

#ifdef __SANITIZE_ADDRESS__
inline constexpr bool kAddressSanitizer = true;
inline void forbid(const void* memory, std::size_t bytes) {
  ASAN_POISON_MEMORY_REGION(memory, bytes);
}
inline void permit(const void* memory, std::size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
}
/// Before and after a switch: of the stack that is left, and of the one that is gone to.
inline void start_switch(void** save, const void* low, std::size_t bytes) {
  __sanitizer_start_switch_fiber(save, low, bytes);
}
inline void finish_switch(void* saved, const void** from_low, std::size_t* from_bytes) {
  __sanitizer_finish_switch_fiber(saved, from_low, from_bytes);
}
#else
inline constexpr bool kAddressSanitizer = false;
inline void forbid(const void*, std::size_t) {}
inline void permit(const void*, std::size_t) {}
inline void start_switch(void**, const void*, std::size_t) {}
inline void finish_switch(void*, const void**, std::size_t*) {}
#endif

}  // namespace cuda_emulation
