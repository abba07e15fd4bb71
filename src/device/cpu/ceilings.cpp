#include "device/ceilings.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "device/cpu/isa/isa.h"
#include "device/parallel.h"

namespace gradgraph {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kChains = 12;  // independent sums: enough to hide the latency of each
constexpr int kRepeats = 7;

/// Returns the sums, so that they are computed.
template <class Vector>
[[gnu::always_inline]] inline float multiply_and_add(std::int64_t rounds) {
  Vector sums[kChains];  // all different, lest the compiler makes one of them
  for (int i = 0; i < kChains; ++i) sums[i] = Vector{} + static_cast<float>(i);
  const Vector factor = Vector{} + 0.5f, term = Vector{} + 1.0f;
  for (std::int64_t round = 0; round < rounds; ++round)
    for (Vector& sum : sums) sum = sum * factor + term;
  float total = 0;
  for (const Vector& sum : sums) total += sum[0];
  return total;
}

struct Level {
  float (*run)(std::int64_t rounds);
  int lanes;
};

typedef float Vector4 __attribute__((vector_size(16)));
float run_baseline(std::int64_t rounds) { return multiply_and_add<Vector4>(rounds); }

#ifdef __x86_64__
typedef float Vector8 __attribute__((vector_size(32)));
typedef float Vector16 __attribute__((vector_size(64)));
__attribute__((target("avx2,fma"))) float run_avx2(std::int64_t rounds) {
  return multiply_and_add<Vector8>(rounds);
}
__attribute__((target("avx512f"))) float run_avx512(std::int64_t rounds) {
  return multiply_and_add<Vector16>(rounds);
}
#endif

Level best_level() {
#ifdef __x86_64__
  if (processor_isa() == Isa::avx512) return {run_avx512, 16};
  if (processor_isa() == Isa::avx2) return {run_avx2, 8};
#endif
  return {run_baseline, 4};
}

/// The least of several times: what is measured is the machine at its best.
template <class Body>
double least_seconds(const Body& body) {
  double least = 1e9;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto start = Clock::now();
    body();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return least;
}

}  // namespace

double measure_peak_flops(int threads) {
  constexpr std::int64_t kRounds = 2'000'000;
  const Level level = best_level();
  std::vector<float> results(static_cast<std::size_t>(threads));
  const double seconds = least_seconds([&] {
    parallel_for(threads, 1, threads, [&](std::int64_t begin, std::int64_t end) {
      for (; begin < end; ++begin) results[static_cast<std::size_t>(begin)] = level.run(kRounds);
    });
  });
  return 2.0 * kChains * level.lanes * static_cast<double>(kRounds) * threads / seconds;
}

double measure_triad_bandwidth(int threads) {
  constexpr std::int64_t kElements = 16 << 20;  // 64 MB an array
  // Each thread's part is first touched by that thread.
  const std::unique_ptr<float[]> a(new float[kElements]), b(new float[kElements]),
      c(new float[kElements]);
  const auto sweep = [&](float* out, const float* x, const float* y, float factor) {
    parallel_for(kElements, 1, threads, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = x[i] + factor * y[i];
    });
  };
  for (float* array : {a.get(), b.get(), c.get()})
    parallel_for(kElements, 1, threads, [=](std::int64_t begin, std::int64_t end) {
      std::fill(array + begin, array + end, 1.0f);
    });
  const double seconds = least_seconds([&] { sweep(a.get(), b.get(), c.get(), 0.5f); });
  return 3.0 * sizeof(float) * static_cast<double>(kElements) / seconds;
}

}  // namespace gradgraph
