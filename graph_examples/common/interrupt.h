#pragma once

namespace examples {

/// While one lives, Ctrl-C (or SIGTERM) is a request that the program looks for at good moments.
/// A second one ends the program at once.
class Interrupt {
 public:
  static constexpr int kExitStatus = 130;  ///< as a shell reports a program that Ctrl-C ended

  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  static bool requested();
};

}  // namespace examples
