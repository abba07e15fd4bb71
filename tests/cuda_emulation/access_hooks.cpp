/// What compilers call before loads and stores, with -fsanitize=thread, and for larger values.

#include <cstddef>

#include "cuda_emulation/access_check.h"
#include "cuda_emulation/device_code.h"

namespace cuda_emulation {

void note_atomic(const void* memory, std::size_t bytes, bool writes) {
  note_access(memory, bytes, {writes, true, true, __builtin_return_address(0)});
}

}  // namespace cuda_emulation

#define NOTE(memory, bytes, writes, aligned) \
  cuda_emulation::note_access(memory, bytes, \
                              {writes, false, aligned, __builtin_return_address(0)})

extern "C" {

#define HOOK(name, size, writes, aligned) \
  void name##size(void* memory) { NOTE(memory, size, writes, aligned); }
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
void __tsan_read_range(void* memory, std::size_t bytes) { NOTE(memory, bytes, false, false); }
void __tsan_write_range(void* memory, std::size_t bytes) { NOTE(memory, bytes, true, false); }

// Programs are linked with --wrap for these.
void* __real_memcpy(void*, const void*, std::size_t);
void* __real_memmove(void*, const void*, std::size_t);
void* __real_memset(void*, int, std::size_t);
#define HOOK_COPY(prefix, name)                                       \
  void* prefix##name(void* to, const void* from, std::size_t bytes) { \
    NOTE(from, bytes, false, false);                                  \
    NOTE(to, bytes, true, false);                                     \
    return __real_##name(to, from, bytes);                            \
  }
#define HOOK_FILL(prefix)                                        \
  void* prefix##memset(void* to, int value, std::size_t bytes) { \
    NOTE(to, bytes, true, false);                                \
    return __real_memset(to, value, bytes);                      \
  }
HOOK_COPY(__wrap_, memcpy)
HOOK_COPY(__wrap_, memmove)
HOOK_FILL(__wrap_)
HOOK_COPY(__tsan_, memcpy)
HOOK_COPY(__tsan_, memmove)
HOOK_FILL(__tsan_)

void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}

}  // extern "C"
