#pragma once

#include <cstddef>

namespace cuda_emulation {

/// A stack that functions run on until they switch to another, as threads of a block do. Only
/// the thread that runs kernels uses them.
class Fiber {
 public:
  static constexpr std::size_t kBytes = std::size_t{256} << 10;

  /// Will run `function`, which must not return. `number` tells fibers apart.
  Fiber(void (*function)(), std::size_t number);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Forgets what ran on it: `function` starts anew.
  void restart();
  /// Runs it until it leaves.
  void resume();
  /// From a fiber to whoever resumed it.
  void leave();
  /// The first thing that `function` does.
  static void entered();

  const std::byte* low() const { return low_; }
  const std::byte* high() const { return low_ + kBytes; }

 private:
  void (*function_)();
  std::byte* low_ = nullptr;
  std::size_t bytes_;
  void* pointer_ = nullptr;
  void* sanitizer_ = nullptr;
};

}  // namespace cuda_emulation
