#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "device/cpu/isa/vector_of.h"

/// Float vectors of one level of the instruction set, for code that is compiled once per level:
/// everything is in a namespace of the level's name.
namespace gradgraph::GRADGRAPH_ISA {

#if defined(__AVX512F__)

using Vector = __m512;
using Mask = __mmask16;
inline constexpr int kLanes = 16, kRegisters = 32;
// Intrinsics with a mask, since g++ 12 warns of uninitialised values inside those without.
inline constexpr Mask kAll = 0xffff;

/// The first `count` lanes.
inline Mask first_lanes(std::int64_t count) {
  return static_cast<Mask>(count >= kLanes ? 0xffff : (1 << count) - 1);
}
inline Vector broadcast(float x) { return _mm512_set1_ps(x); }
inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
inline Vector load(const float* p, Mask lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
inline void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
inline void store(float* p, Vector x, Mask lanes) { _mm512_mask_storeu_ps(p, lanes, x); }
/// a * b + c, rounded once.
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
/// x < 0 ? 0 : x
inline Vector relu(Vector x) { return _mm512_maskz_max_ps(kAll, _mm512_setzero_ps(), x); }

/// A condition for each lane.
using Condition = __mmask16;
inline Vector choose(Condition condition, Vector yes, Vector no) {
  return _mm512_mask_blend_ps(condition, no, yes);
}
inline Condition equal(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
inline Condition less_equal(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
/// Whether `value` takes the place of the largest so far: ties go to the first, NaN wins.
inline Condition beats(Vector value, Vector best) {
  return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(value, best, _CMP_NLE_UQ), best, best,
                                 _CMP_ORD_Q);
}

/// `count` bytes as floats, and back.
inline Vector load_bytes(const std::uint8_t* p, std::int64_t count) {
  const __m128i bytes = _mm_maskz_loadu_epi8(first_lanes(count), p);
  return _mm512_maskz_cvtepi32_ps(kAll, _mm512_maskz_cvtepu8_epi32(kAll, bytes));
}
inline void store_bytes(std::uint8_t* p, Vector x, std::int64_t count) {
  _mm512_mask_cvtepi32_storeu_epi8(p, first_lanes(count), _mm512_maskz_cvtps_epi32(kAll, x));
}

#elif defined(__AVX2__)

using Vector = __m256;
struct Mask {
  __m256i lanes;
  int count;
};
inline constexpr int kLanes = 8, kRegisters = 16;

inline Mask first_lanes(std::int64_t count) {
  const int lanes = count >= kLanes ? kLanes : static_cast<int>(count);
  return {_mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
          lanes};
}
inline Vector broadcast(float x) { return _mm256_set1_ps(x); }
inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
inline Vector load(const float* p, Mask mask) { return _mm256_maskload_ps(p, mask.lanes); }
inline void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
/// By halves: AMD's processors take more than ten cycles to store with a mask.
inline void store(float* p, Vector x, Mask mask) {
  if (mask.count == kLanes) return store(p, x);
  __m128 half = _mm256_castps256_ps128(x);
  if (mask.count & 4) {
    _mm_storeu_ps(p, half);
    half = _mm256_extractf128_ps(x, 1);
    p += 4;
  }
  if (mask.count & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), half);
    half = _mm_movehl_ps(half, half);
    p += 2;
  }
  if (mask.count & 1) _mm_store_ss(p, half);
}
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector relu(Vector x) { return _mm256_max_ps(_mm256_setzero_ps(), x); }

using Condition = __m256;
inline Vector choose(Condition condition, Vector yes, Vector no) {
  return _mm256_blendv_ps(no, yes, condition);
}
inline Condition equal(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
inline Condition less_equal(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
inline Condition beats(Vector value, Vector best) {
  return _mm256_and_ps(_mm256_cmp_ps(value, best, _CMP_NLE_UQ),
                       _mm256_cmp_ps(best, best, _CMP_ORD_Q));
}

#else

using Vector = VectorOf<float>::Type;
using Mask = int;  ///< how many lanes
inline constexpr int kLanes = 4, kRegisters = 16;

inline Mask first_lanes(std::int64_t count) {
  return count >= kLanes ? kLanes : static_cast<Mask>(count);
}
inline Vector broadcast(float x) { return Vector{x, x, x, x}; }
inline Vector load(const float* p) { return Vector{p[0], p[1], p[2], p[3]}; }
inline Vector load(const float* p, Mask lanes) {
  Vector x{};
  for (int i = 0; i < lanes; ++i) x[i] = p[i];
  return x;
}
inline void store(float* p, Vector x) {
  for (int i = 0; i < kLanes; ++i) p[i] = x[i];
}
inline void store(float* p, Vector x, Mask lanes) {
  for (int i = 0; i < lanes; ++i) p[i] = x[i];
}
inline Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
inline Vector relu(Vector x) { return x < Vector{} ? Vector{} : x; }

using Condition = std::int32_t __attribute__((vector_size(16)));
inline Vector choose(Condition condition, Vector yes, Vector no) { return condition ? yes : no; }
inline Condition equal(Vector a, Vector b) { return a == b; }
inline Condition less_equal(Vector a, Vector b) { return a <= b; }
inline Condition beats(Vector value, Vector best) { return ~(value <= best) & (best == best); }

#endif

#ifndef __AVX512F__
inline Vector load_bytes(const std::uint8_t* p, std::int64_t count) {
#ifdef __AVX2__
  if (count >= kLanes)
    return _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#endif
  float values[kLanes] = {};
  for (std::int64_t i = 0; i < kLanes && i < count; ++i) values[i] = p[i];
  return load(values);
}
inline void store_bytes(std::uint8_t* p, Vector x, std::int64_t count) {
#ifdef __AVX2__
  if (count >= kLanes) {
    const __m256i whole = _mm256_cvtps_epi32(x);
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    return _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
  }
#endif
  float values[kLanes];
  store(values, x);
  for (std::int64_t i = 0; i < kLanes && i < count; ++i)
    p[i] = static_cast<std::uint8_t>(values[i]);
}
#endif

/// In place of a mask where there is a whole vector.
struct AllLanes {};
inline Vector load(const float* p, AllLanes) { return load(p); }
inline void store(float* p, Vector x, AllLanes) { store(p, x); }

}  // namespace gradgraph::GRADGRAPH_ISA
