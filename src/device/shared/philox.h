#pragma once

#include <cstdint>

#include "device/shared/host_device.h"

namespace gradgraph {

struct PhiloxBlock {
  std::uint32_t word[4];
};

/// Philox 4x32-10: four random words for every 128-bit counter under a 64-bit key.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
inline constexpr int kPhiloxRounds = 10;
inline constexpr std::uint64_t kPhiloxFactor0 = 0xD2511F53, kPhiloxFactor1 = 0xCD9E8D57;

HOST_DEVICE inline PhiloxBlock philox_round(PhiloxBlock counter, std::uint64_t key) {
  const std::uint64_t product0 = kPhiloxFactor0 * counter.word[0];
  const std::uint64_t product1 = kPhiloxFactor1 * counter.word[2];
  const auto key0 = static_cast<std::uint32_t>(key), key1 = static_cast<std::uint32_t>(key >> 32);
  return {{static_cast<std::uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0,
           static_cast<std::uint32_t>(product1),
           static_cast<std::uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1,
           static_cast<std::uint32_t>(product0)}};
}
/// Both halves of the key move on by a constant, each modulo 2^32.
HOST_DEVICE inline std::uint64_t philox_next_key(std::uint64_t key) {
  const std::uint32_t low = static_cast<std::uint32_t>(key) + 0x9E3779B9;
  const std::uint32_t high = static_cast<std::uint32_t>(key >> 32) + 0xBB67AE85;
  return std::uint64_t{high} << 32 | low;
}
HOST_DEVICE inline PhiloxBlock philox(PhiloxBlock counter, std::uint64_t key) {
  for (int round = 0; round < kPhiloxRounds; ++round, key = philox_next_key(key))
    counter = philox_round(counter, key);
  return counter;
}

/// The counter of block number `index` of what a node draws in one step.
HOST_DEVICE inline PhiloxBlock philox_counter(std::int64_t step, std::int64_t index) {
  const auto at = static_cast<std::uint64_t>(index), in = static_cast<std::uint64_t>(step);
  return {{static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at >> 32),
           static_cast<std::uint32_t>(in), static_cast<std::uint32_t>(in >> 32)}};
}

/// SplitMix64's finaliser, which keeps neighbouring numbers apart, and 0 as it is.
HOST_DEVICE inline std::uint64_t scattered(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

/// The key of a node under a session's seed, in an iteration of the loops around it. `node` is a
/// hash of its name.
HOST_DEVICE inline std::uint64_t philox_key(std::uint64_t seed, std::uint64_t node,
                                            std::uint64_t iteration = 0) {
  return scattered(seed + 0x9E3779B97F4A7C15) ^ node ^ scattered(iteration);
}

}  // namespace gradgraph
