#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <exception>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "device/float_mode.h"

namespace gradgraph {

/// Calls `body(begin, end)` for parts of [0, count) on up to `threads` threads of the OpenMP
/// pool, each part at least `grain` long. Where parts end depends on the number of threads: what
/// `body` makes of an element must not depend on the part that it is in. Every thread computes in
/// the caller's FloatMode. `body` must not throw: kernels report bad values after the loop.
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
/// by its number a part finds its workspace. As with `parallel_for`, no result may depend on
/// where parts end.
template <class Body>
void parallel_parts(std::int64_t count, std::int64_t parts, const Body& body) {
  parallel_for(parts, 1, static_cast<int>(parts), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t part = begin; part < end; ++part)
      body(part, count * part / parts, count * (part + 1) / parts);
  });
}

/// Sums of much are cut into at most so many parts, which are added in their order. Their number
/// depends on shapes alone, so that results are the same for any number of threads; as many
/// threads have work.
inline constexpr std::int64_t kMaxParts = 16;

/// The number of parts where `most` are possible: a power of two, which most numbers of threads
/// share evenly.
inline std::int64_t parts_for(std::int64_t most) {
  const auto parts = static_cast<std::uint64_t>(std::clamp<std::int64_t>(most, 1, kMaxParts));
  return static_cast<std::int64_t>(std::bit_floor(parts));
}

/// The threads that share `tasks`, of up to `threads`.
inline std::int64_t workers_for(std::int64_t tasks, int threads) {
  return std::clamp<std::int64_t>(tasks, 1, std::max(threads, 1));
}

/// Calls `body(task, worker)` for each of `tasks` pieces of work that do not depend on the number
/// of threads; `worker` in [0, workers) tells which workspace is free.
template <class Body>
void parallel_tasks(std::int64_t tasks, std::int64_t workers, const Body& body) {
  parallel_parts(tasks, workers, [&](std::int64_t worker, std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) body(task, worker);
  });
}

/// Elements that one thread should at least have before a second one pays for itself.
inline constexpr std::int64_t kParallelGrain = 16384;

/// Adds `parts` partial sums of `size` elements each to `total`, one after the other.
template <class T>
void add_parts(const T* partial, std::int64_t parts, std::int64_t size, int threads, T* total) {
  constexpr std::int64_t kBlock = 2048;  // stays in the first-level cache
  if (parts == 0) return;
  parallel_for(size, kParallelGrain, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += kBlock) {
      const std::int64_t last = std::min(first + kBlock, end);
      for (std::int64_t part = 0; part < parts; ++part)
        for (std::int64_t i = first; i < last; ++i) total[i] += partial[part * size + i];
    }
  });
}

}  // namespace gradgraph
