#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "device/thread_pool.h"

namespace gradgraph {

/// Chunks for each thread where there is work enough: so whoever is ahead takes over some of the
/// others', and who has lost their core has little in hand.
inline constexpr std::int64_t kChunksPerThread = 4;

/// Calls `body(worker, begin, end)` for `chunks` parts of [0, count) on up to `workers` threads;
/// by `worker`, in [0, workers), a part finds work memory that no other thread uses meanwhile.
template <class Body>
void parallel_chunks(std::int64_t count, std::int64_t chunks, std::int64_t workers,
                     const Body& body) {
  if (chunks <= 1 || workers <= 1) {
    if (count > 0) body(std::int64_t{0}, std::int64_t{0}, count);
    return;
  }
  const auto run = [&](std::int64_t chunk, int worker) {
    body(std::int64_t{worker}, count * chunk / chunks, count * (chunk + 1) / chunks);
  };
  run_chunks(
      chunks, static_cast<int>(workers),
      [](const void* called, std::int64_t chunk, int worker) {
        (*static_cast<const decltype(run)*>(called))(chunk, worker);
      },
      &run);
}

/// Elements that one thread should at least have before a second one pays for itself.
inline constexpr std::int64_t kParallelGrain = 16384;

/// As many tasks of a loop, of about so many additions each, as pay for a second thread.
inline std::int64_t grain_of(std::int64_t additions_each) {
  return std::max<std::int64_t>(kParallelGrain / std::max<std::int64_t>(additions_each, 1), 1);
}

/// Calls `body(begin, end)` for parts of [0, count) on up to `threads` threads, each part at
/// least `grain` long. Where parts end depends on the number of threads: what `body` makes of an
/// element must not depend on the part that it is in. Every thread computes in the caller's
/// FloatMode. `body` must not throw: kernels report bad values after the loop.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t grain, int threads, const Body& body) {
  const std::int64_t most = count / std::max<std::int64_t>(grain, 1);
  const std::int64_t workers = std::clamp<std::int64_t>(most, 1, std::max(threads, 1));
  parallel_chunks(count, std::min(most, workers * kChunksPerThread), workers,
                  [&](std::int64_t, std::int64_t begin, std::int64_t end) { body(begin, end); });
}

/// Calls `body(worker, begin, end)` for parts of [0, count) on `workers` threads, as
/// `parallel_chunks`. As with `parallel_for`, no result may depend on where parts end.
template <class Body>
void parallel_parts(std::int64_t count, std::int64_t workers, const Body& body) {
  parallel_chunks(count, std::min(count, workers * kChunksPerThread), workers, body);
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
/// of threads; `worker` in [0, workers) tells which work memory is free.
template <class Body>
void parallel_tasks(std::int64_t tasks, std::int64_t workers, const Body& body) {
  parallel_parts(tasks, workers, [&](std::int64_t worker, std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) body(task, worker);
  });
}

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
