#pragma once

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace gradgraph {

/// How a thread rounds: its processor's control word, or 0 where that is not known here.
using FloatMode = unsigned;

inline FloatMode float_mode() {
#ifdef __SSE2__
  return _mm_getcsr();
#else
  return 0;
#endif
}

/// The same mode, but denormal operands and results count as zero.
inline FloatMode flushing_denormals(FloatMode mode) {
  constexpr FloatMode kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  return mode | kFlushToZero | kDenormalsAreZero;
}

/// The calling thread computes in a mode until the end of the scope.
class FloatModeScope {
 public:
  explicit FloatModeScope([[maybe_unused]] FloatMode mode) : before_(float_mode()) {
#ifdef __SSE2__
    if (mode != before_) _mm_setcsr(mode);
#endif
  }
  ~FloatModeScope() {
#ifdef __SSE2__
    if (float_mode() != before_) _mm_setcsr(before_);
#endif
  }
  FloatModeScope(const FloatModeScope&) = delete;
  FloatModeScope& operator=(const FloatModeScope&) = delete;

 private:
  FloatMode before_;
};

}  // namespace gradgraph
