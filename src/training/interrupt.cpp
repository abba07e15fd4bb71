#include "training/interrupt.h"

#include <atomic>

namespace gradgraph::training {
namespace {

std::atomic<bool> interrupt_requested = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not lock");

void handle(int signal) {
  interrupt_requested = true;
  std::signal(signal, SIG_DFL);
}

/// Whether the signal was nobody's and now is ours.
bool take(int signal) {
  struct sigaction current {};
  if (sigaction(signal, nullptr, &current) != 0 || (current.sa_flags & SA_SIGINFO) != 0 ||
      current.sa_handler != SIG_DFL)
    return false;
  return std::signal(signal, handle) != SIG_ERR;
}

}  // namespace

Interrupt::Interrupt(bool wanted) {
  interrupt_requested = false;
  if (!wanted) return;
  handles_interrupt_ = take(SIGINT);
  handles_termination_ = take(SIGTERM);
}

Interrupt::~Interrupt() {
  if (handles_interrupt_) std::signal(SIGINT, SIG_DFL);
  if (handles_termination_) std::signal(SIGTERM, SIG_DFL);
}

bool Interrupt::requested() const {
  return (handles_interrupt_ || handles_termination_) && interrupt_requested;
}

}  // namespace gradgraph::training
