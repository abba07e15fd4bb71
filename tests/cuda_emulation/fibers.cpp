#include "cuda_emulation/fibers.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <new>

#include "cuda_emulation/address_sanitizer.h"

namespace cuda_emulation {
namespace {

constexpr std::size_t kGuardBytes = 4096;

/// Whoever resumed the fiber that runs.
struct Resumer {
  void* pointer = nullptr;
  void* sanitizer = nullptr;
  const void* low = nullptr;
  std::size_t bytes = 0;
};
Resumer resumer;

#ifdef __x86_64__
/// Saves the registers that a call must keep on the stack, and the stack's pointer at `save`;
/// goes on where `load` was saved.
extern "C" void cuda_emulation_switch(void** save, void* load);
asm(R"(
.text
.globl cuda_emulation_switch
.type cuda_emulation_switch, @function
cuda_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_emulation_switch, .-cuda_emulation_switch
)");

/// Six registers, the function's address, and the word that a call would have left above it.
void* start_of(void (*function)(), std::byte* low, std::size_t bytes) {
  auto* const top = reinterpret_cast<void**>(low + bytes);
  std::fill(top - 8, top, nullptr);
  top[-2] = reinterpret_cast<void*>(function);
  return top - 8;
}
#else
/// For other processors: two system calls make it 15 times as slow.
void cuda_emulation_switch(void** save, void* load) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(load));
}
/// The context lies at the low end of the stack that it is of.
void* start_of(void (*function)(), std::byte* low, std::size_t bytes) {
  constexpr std::size_t kContext = (sizeof(ucontext_t) + 63) / 64 * 64;
  auto* const context = reinterpret_cast<ucontext_t*>(low);
  getcontext(context);
  context->uc_stack.ss_sp = low + kContext;
  context->uc_stack.ss_size = bytes - kContext;
  makecontext(context, function, 0);
  return context;
}
#endif

}  // namespace

/// Stacks end at different places of a page: the same place of each would share few cache lines.
Fiber::Fiber(void (*function)(), std::size_t number)
    : function_(function), bytes_(kBytes - number % 32 * 128) {
  auto* const all =
      static_cast<std::byte*>(mmap(nullptr, kGuardBytes + kBytes, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (all == MAP_FAILED) throw std::bad_alloc();
  mprotect(all, kGuardBytes, PROT_NONE);
  low_ = all + kGuardBytes;
  restart();
}

void Fiber::restart() {
  permit(low_, kBytes);
  pointer_ = start_of(function_, low_, bytes_);
  sanitizer_ = nullptr;
}

void Fiber::resume() {
  start_switch(&resumer.sanitizer, low_, kBytes);
  cuda_emulation_switch(&resumer.pointer, pointer_);
  finish_switch(resumer.sanitizer, nullptr, nullptr);
}

void Fiber::leave() {
  start_switch(&sanitizer_, resumer.low, resumer.bytes);
  cuda_emulation_switch(&pointer_, resumer.pointer);
  finish_switch(sanitizer_, nullptr, nullptr);
}

void Fiber::entered() { finish_switch(nullptr, &resumer.low, &resumer.bytes); }

}  // namespace cuda_emulation
