#pragma once

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include <utility>

#include "device/cpu/isa/vector_of.h"
#include "device/cpu/random/random_words.h"
#include "device/shared/philox.h"

/// Included by one file per level of the instruction set, as loops_table.h is.
namespace gradgraph::GRADGRAPH_ISA {

/// Counters in a vector, and vectors of them that registers have room for.
#if defined(__AVX512F__)
inline constexpr int kGroups = 4;
#else
inline constexpr int kGroups = 2;
#endif
inline constexpr int kCounters = VectorOf<std::uint64_t>::kLanes;

/// A word of each of some counters, in the low half of a lane; anything may be in the high one.
using Words = VectorOf<std::uint64_t>::Type;

inline Words all(std::uint64_t x) { return x - Words{}; }

/// The products of low halves.
inline Words multiply(Words a, Words b) {
#if defined(__AVX512F__)
  // With a mask of ones: GCC 12 warns of its own header for the plain form.
  return reinterpret_cast<Words>(
      _mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Words>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__)
  return reinterpret_cast<Words>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  return (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
#endif
}

template <int... I>
inline void store(std::uint32_t* to, Words a, Words b, Words c, Words d,
                  std::integer_sequence<int, I...>) {
  const Words first = (a & 0xFFFFFFFF) | b << 32, second = (c & 0xFFFFFFFF) | d << 32;
  const Words blocks[2] = {
      __builtin_shufflevector(first, second, (I / 2 + I % 2 * kCounters)...),
      __builtin_shufflevector(first, second, (kCounters / 2 + I / 2 + I % 2 * kCounters)...)};
  __builtin_memcpy(to, blocks, sizeof blocks);
}

inline void random_words(std::uint64_t key, std::int64_t step, std::int64_t first,
                         std::uint32_t* words) {
  Words lane{};
  for (int i = 0; i < kCounters; ++i) lane[i] = static_cast<std::uint64_t>(i);
  const PhiloxBlock start = philox_counter(step, first);
  std::uint64_t index = std::uint64_t{start.word[1]} << 32 | start.word[0];
  for (std::int64_t at = 0; at < kWordBlocks; at += kGroups * kCounters) {
    Words a[kGroups], b[kGroups], c[kGroups], d[kGroups];
    for (int i = 0; i < kGroups; ++i, index += kCounters) {
      a[i] = index + lane, b[i] = a[i] >> 32;
      c[i] = all(start.word[2]), d[i] = all(start.word[3]);
    }
    std::uint64_t keys = key;
    for (int round = 0; round < kPhiloxRounds; ++round, keys = philox_next_key(keys)) {
      const Words low = all(keys), high = all(keys >> 32);
      for (int i = 0; i < kGroups; ++i) {
        const Words from_a = multiply(a[i], all(kPhiloxFactor0));
        const Words from_c = multiply(c[i], all(kPhiloxFactor1));
        a[i] = from_c >> 32 ^ b[i] ^ low, b[i] = from_c;
        c[i] = from_a >> 32 ^ d[i] ^ high, d[i] = from_a;
      }
    }
    for (int i = 0; i < kGroups; ++i, words += 4 * kCounters)
      store(words, a[i], b[i], c[i], d[i], std::make_integer_sequence<int, kCounters>{});
  }
}

}  // namespace gradgraph::GRADGRAPH_ISA
