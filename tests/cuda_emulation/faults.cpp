#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "cuda_emulation/address_sanitizer.h"
#include "cuda_emulation/engine.h"

namespace cuda_emulation {
namespace {

/// The lock is taken and memory asked for, which is sound here: it is a kernel's own load, store
/// or check that faults, or the host's.
void on_fault(int signal, siginfo_t* info, void*) {
  char text[200];
  if (signal != SIGSEGV) {
    if (in_kernel)
      refuse("an index out of bounds or a misaligned address, " + source_of(info->si_addr));
    std::signal(signal, SIG_DFL);
    return;
  }
  const bool reserved = is_reserved(info->si_addr);
  if (in_kernel) {
    std::snprintf(text, sizeof text, "touches %p, %s", info->si_addr,
                  reserved ? "memory that is not allocated on its device" : "which is no memory");
    refuse(text);  // leaves this stack for good
  }
  const int length = std::snprintf(
      text, sizeof text, "cuda emulation: host code touches %p, %s\n", info->si_addr,
      reserved ? "which is a device's memory, or was freed" : "which is no memory");
  (void)!write(STDERR_FILENO, text, static_cast<std::size_t>(length));
  std::signal(signal, SIG_DFL);
}

}  // namespace

void watch_faults() {
  if (kAddressSanitizer) return;  // which has its own words for it
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  // How checks that the compiler puts into kernels fail depends on the processor.
  for (const int signal : {SIGSEGV, SIGILL, SIGTRAP}) sigaction(signal, &action, nullptr);
}

}  // namespace cuda_emulation
