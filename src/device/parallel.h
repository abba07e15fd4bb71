#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "device/float_mode.h"

namespace gradgraph {

/// Calls `body(begin, end)` for parts of [0, count) on up to `threads` threads of the OpenMP
/// pool, each part at least `grain` long. Parts depend on `count`, `grain` and `threads` alone,
/// so results repeat. Every thread computes in the caller's FloatMode. `body` must not throw:
/// kernels report bad values after the loop.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t grain, int threads, const Body& body) {
  const std::int64_t parts =
      std::clamp<std::int64_t>(count / std::max<std::int64_t>(grain, 1), 1, std::max(threads, 1));
  if (parts == 1) {
    if (count > 0) body(std::int64_t{0}, count);
    return;
  }
  const auto run = [&](std::int64_t first, std::int64_t step) {
    for (std::int64_t part = first; part < parts; part += step)
      body(count * part / parts, count * (part + 1) / parts);
  };
#ifdef _OPENMP
  // No "omp for": clang's library allocates in it.
  const int team = static_cast<int>(parts);
  const FloatMode mode = float_mode();
#pragma omp parallel num_threads(team)
  {
    const FloatModeScope scope(mode);
    run(omp_get_thread_num(), omp_get_num_threads());
  }
#else
  run(0, 1);
#endif
}

/// Calls `body(part, begin, end)` for `parts` parts of [0, count), each on a thread of its own;
/// by its number a part finds its workspace.
template <class Body>
void parallel_parts(std::int64_t count, std::int64_t parts, const Body& body) {
  parallel_for(parts, 1, static_cast<int>(parts), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t part = begin; part < end; ++part)
      body(part, count * part / parts, count * (part + 1) / parts);
  });
}

/// Elements that one thread should at least have before a second one pays for itself.
inline constexpr std::int64_t kParallelGrain = 16384;

}  // namespace gradgraph
