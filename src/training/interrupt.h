#pragma once

#include <csignal>

namespace gradgraph::training {

/// While one lives, Ctrl-C (or SIGTERM) is a request that the loop looks for at good moments. A
/// second one ends the program at once. A signal that the program handles itself, or ignores, is
/// left to it.
class Interrupt {
 public:
  explicit Interrupt(bool wanted);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;

 private:
  bool handles_interrupt_ = false, handles_termination_ = false;
};

}  // namespace gradgraph::training
